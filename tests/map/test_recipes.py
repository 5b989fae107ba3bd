"""The recipes for other platforms: in their platform's form and true to the image."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jsonschema
import pydicom
import pytest
import yaml

from app.gateway.assembler import ours
from app.gateway.settings import Receiver
from app.packaging.checkout import this_checkout
from app.packaging.layout import APPLICATION, VARIABLES
from app.packaging.manifests import TOOLS
from app.settings import Settings
from operators.domain import ResultProfile
from operators.results import codes
from operators.study.part10 import IMAGE_CLASSES
from tests.servers import LOOPBACK, phantom_study

ROOT = this_checkout().root
RECIPES = ROOT / "map" / "recipes"
EXPRESS, MERCURE, KAAPANA, ORTHANC = (
    RECIPES / name for name in ("monai-deploy-express", "mercure", "kaapana", "orthanc")
)
VERSION = this_checkout().version
AE_TITLE = "THERAMAP"
BIN = Path(sys.executable).parent


def text(*names: str) -> dict[str, Any]:
    """The schema of an object that has these texts, and nothing else."""
    return closed({name: {"type": "string"} for name in names})


def closed(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """The schema of an object that has these members, and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(properties) if required is None else required,
    }


def each(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of, "minProperties": 1}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


# ---- all ---------------------------------------------------------------------------------------


def test_every_recipe_names_the_image_of_this_version() -> None:
    files = [path for path in RECIPES.rglob("*") if path.is_file() and path.suffix != ".md"]
    named = {
        tag for path in files for tag in re.findall(r"theramap(?:-kaapana)?:([\w.-]+)", path.read_text())
    }
    assert named == {f"{VERSION}-cpu"}


@pytest.mark.parametrize("folder", [EXPRESS, MERCURE, KAAPANA, ORTHANC], ids=lambda path: path.name)
def test_its_readme_names_every_file_the_source_of_the_format_and_what_was_not_run(folder: Path) -> None:
    readme = (folder / "README.md").read_text()
    assert [path.name for path in folder.rglob("*") if path.is_file() and path.name not in readme] == [
        "README.md"
    ]
    assert re.search(r"https://\S+", readme)
    assert "ot run" in readme


# ---- MONAI Deploy Express ----------------------------------------------------------------------

ARTIFACT = closed(
    {"name": {"type": "string"}, "value": {"type": "string"}, "mandatory": {"type": "boolean"}}, ["name"]
)
TASK = closed(
    {
        "id": {"type": "string", "pattern": "^[a-zA-Z0-9-_]{1,50}$"},
        "description": {"type": "string", "maxLength": 2000},
        "type": {"enum": ["router", "export", "docker"]},
        "timeout_minutes": {"type": "number"},
        "args": {"type": "object", "additionalProperties": {"type": "string"}},
        "artifacts": closed({side: {"type": "array", "items": ARTIFACT} for side in ("input", "output")}),
        "task_destinations": {
            "type": "array",
            "items": closed({"name": {"type": "string"}, "conditions": {"type": "array"}}, ["name"]),
        },
        "export_destinations": {"type": "array", "items": text("name")},
    },
    ["id", "description", "type"],
)
WORKFLOW = closed(
    {
        "name": {"type": "string", "maxLength": 15},
        "version": {"const": VERSION},
        "description": {"type": "string", "maxLength": 200},
        "informatics_gateway": closed(
            {
                "ae_title": {"type": "string", "maxLength": 15},
                "data_origins": {"type": "array"},
                "export_destinations": {"type": "array"},
            }
        ),
        "tasks": {"type": "array", "items": TASK, "minItems": 1},
    }
)
"""mwm-workflow-spec.md and TaskObject.cs of the Workflow Manager."""


@pytest.fixture
def workflow() -> Any:
    return read(EXPRESS / "workflow.json")


def test_the_workflow_passes_the_workflow_managers_rules(workflow: Any) -> None:
    """WorkflowValidator.cs: one way to each task but the first, destinations that are there, inputs."""
    jsonschema.validate(workflow, WORKFLOW)
    tasks = {task["id"]: task for task in workflow["tasks"]}
    assert len(tasks) == len(workflow["tasks"])
    first = workflow["tasks"][0]["id"]
    destinations = [one["name"] for task in tasks.values() for one in task.get("task_destinations", [])]
    assert sorted(destinations) == sorted(tasks.keys() - {first})
    gateway = workflow["informatics_gateway"]
    for task in tasks.values():
        assert {one["name"] for one in task.get("export_destinations", [])} <= set(
            gateway["export_destinations"]
        )
        if task["type"] != "router":
            assert all(one["name"] and one["value"] for one in task["artifacts"]["input"])
        if task["type"] == "export":
            (given,) = task["artifacts"]["input"]
            _, _, source, _, name = given["value"].strip("{ }").split(".")
            assert name in [one["name"] for one in tasks[source]["artifacts"]["output"]]


def test_the_docker_task_is_the_image(workflow: Any) -> None:
    (task,) = [task for task in workflow["tasks"] if task["type"] == "docker"]
    arguments = task["args"]
    required = {"server_url", "entrypoint", "command", "container_image", "temp_storage_container_path"}
    assert required <= arguments.keys()
    assert (arguments["entrypoint"], arguments["command"]) == (TOOLS, "run")
    containerfile = (ROOT / "map" / "Containerfile.in").read_text()
    assert re.findall("^USER (.*)$", containerfile, re.M) == [arguments["user"]]
    for side, variable in (("input", "HOLOSCAN_INPUT_PATH"), ("output", "HOLOSCAN_OUTPUT_PATH")):
        (artifact,) = task["artifacts"][side]
        assert artifact["name"] == f"env_{variable}"
        assert arguments[artifact["name"]] == VARIABLES[variable]
    # this variable would have an empty folder mounted over the image's working directory
    assert "env_MONAI_WORKDIR" not in arguments
    assert int(arguments["task_timeout_minutes"]) < task["timeout_minutes"]


@pytest.mark.parametrize(("first_modality", "runs"), [("PT", True), ("CT", True), ("MR", False), ("", False)])
def test_the_router_lets_pass_what_begins_with_pet_or_ct(
    workflow: Any, first_modality: str, runs: bool
) -> None:
    (destination,) = workflow["tasks"][0]["task_destinations"]
    (condition,) = destination["conditions"]
    stated = condition.replace("{{ context.dicom.series.any('0008','0060') }}", repr(first_modality))
    assert eval(stated.replace("OR", "or"), {"__builtins__": {}}) is runs


def test_the_ae_title_takes_what_theramap_reads(workflow: Any) -> None:
    title = read(EXPRESS / "ae-title.json")
    members = ("name", "aeTitle", "grouping", "timeout", "allowedSopClasses")
    assert tuple(title) == members
    assert title["aeTitle"] == workflow["informatics_gateway"]["ae_title"] == AE_TITLE
    assert title["grouping"] == "0020,000D"
    assert sorted(title["allowedSopClasses"]) == sorted(IMAGE_CLASSES)


class _Recorder(BaseHTTPRequestHandler):
    """Keeps what is posted to it; refuses what its server says."""

    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(self.server.answers.get(self.path, 201))
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def services() -> Iterator[Any]:
    server: Any = HTTPServer((LOOPBACK, 0), _Recorder)
    server.posted, server.answers = [], {}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def register(server: Any, *words: str) -> subprocess.CompletedProcess[str]:
    address = f"http://{LOOPBACK}:{server.server_port}"
    return subprocess.run(
        [EXPRESS / "register.sh", *words],
        env={**os.environ, "GATEWAY": address, "WORKFLOWS": address, "no_proxy": LOOPBACK},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def test_register_posts_the_pacs_the_ae_title_and_then_the_workflow(services: Any, workflow: Any) -> None:
    done = register(services, "ARCHIVE", "10.1.2.3", "104")
    assert done.returncode == 0, done.stderr
    pacs = {"name": "PACS", "aeTitle": "ARCHIVE", "hostIp": "10.1.2.3"}
    assert [(path, body) for path, _, body in services.posted] == [
        ("/config/source", pacs),
        ("/config/destination", {**pacs, "port": 104}),
        ("/config/ae", read(EXPRESS / "ae-title.json")),
        ("/workflows", workflow),
    ]
    assert {kind for _, kind, _ in services.posted} == {"application/json"}
    assert pacs["name"] in workflow["informatics_gateway"]["data_origins"]


def test_register_stops_at_what_is_refused(services: Any) -> None:
    services.answers = {"/config/ae": 400}
    done = register(services, "ARCHIVE", "10.1.2.3", "104")
    assert done.returncode == 1
    assert "/config/ae: refused (400)" in done.stderr
    assert [path for path, _, _ in services.posted][-1] == "/config/ae"


def test_register_goes_on_past_what_is_there_already(services: Any) -> None:
    services.answers = {"/config/source": 409}
    done = register(services, "ARCHIVE", "10.1.2.3", "104")
    assert done.returncode == 0
    assert "/config/source: there already, and left as it is" in done.stderr
    assert [path for path, _, _ in services.posted][-1] == "/workflows"


def test_register_says_what_it_wants(services: Any) -> None:
    done = register(services, "ARCHIVE")
    assert (done.returncode, services.posted) == (2, [])
    assert "PACS_AE_TITLE PACS_ADDRESS PACS_PORT" in done.stderr


# ---- mercure -----------------------------------------------------------------------------------

MODULE = closed(
    {
        **{name: {"type": "string"} for name in ("docker_tag", "environment", "docker_arguments")},
        **{name: {"type": "string"} for name in ("additional_volumes", "contact", "comment")},
        **{name: {"type": "string"} for name in ("constraints", "resources")},
        "settings": {"type": "object"},
        "requires_root": {"type": "boolean"},
    }
)
RULE = closed(
    {
        **{name: {"type": "string"} for name in ("rule", "target", "comment", "processing_module")},
        **{name: {"type": "boolean"} for name in ("disabled", "fallback", "processing_retain_images")},
        "action": {"enum": ["route", "both", "process", "discard", "notification"]},
        "action_trigger": {"enum": ["series", "study"]},
        "study_trigger_condition": {"enum": ["timeout", "received_series"]},
        "priority": {"enum": ["normal", "urgent", "offpeak"]},
        "processing_settings": {"type": "object"},
    }
)
TARGET = text("target_type", "ip", "port", "aet_target", "aet_source", "comment")
CONFIG = closed(
    {
        "support_root_modules": {"const": True},
        "study_complete_trigger": {"type": "integer"},
        "modules": each(MODULE),
        "targets": each(TARGET),
        "rules": each(RULE),
    }
)
"""Module, Rule, DicomTarget and Config of mercure's common/types.py."""


@pytest.fixture
def mercure() -> Any:
    return read(MERCURE / "mercure.json")


def test_mercures_module_target_and_rule_fit_its_types_and_each_other(mercure: Any) -> None:
    jsonschema.validate(mercure, CONFIG)
    for rule in mercure["rules"].values():
        assert rule["processing_module"] in mercure["modules"]
        assert rule["target"] in mercure["targets"]
        assert (rule["action"], rule["action_trigger"]) == ("both", "study")


def test_mercures_module_is_hardened_and_its_variables_are_settings(mercure: Any) -> None:
    (module,) = mercure["modules"].values()
    assert json.loads(module["docker_arguments"]) == {
        "read_only": True,
        "tmpfs": {"/tmp": "mode=1777"},
        "mem_limit": "8g",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
    }
    names = {name.removeprefix("THERAMAP_").lower() for name in json.loads(module["environment"])}
    assert names <= Settings.model_fields.keys()
    assert json.loads(module["additional_volumes"]) == {}


@pytest.mark.parametrize(
    ("receiver", "modality", "taken"),
    [
        (AE_TITLE, "PT", True),
        (AE_TITLE, "CT", True),
        (AE_TITLE, "MR", False),
        (AE_TITLE, "SEG", False),
        ("MERCURE", "PT", False),
    ],
)
def test_mercures_rule_takes_pet_and_ct_that_was_sent_to_theramap(
    mercure: Any, receiver: str, modality: str, taken: bool
) -> None:
    tags = SimpleNamespace(ReceiverAET=receiver, Modality=modality)
    assert eval(mercure["rules"]["theramap"]["rule"], {"__builtins__": {}}, {"tags": tags}) is taken


# ---- Kaapana -----------------------------------------------------------------------------------

CHART = KAAPANA / "extension" / "theramap-workflow"
DAG_FILES = KAAPANA / "extension" / "docker" / "files"
BATCH = KAAPANA / "processing-containers" / "theramap" / "files" / "batch.py"


def helm(*words: str | Path) -> str:
    done = subprocess.run([BIN / "helm", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_kaapanas_chart_hands_its_values_to_the_installer_of_workflows(tmp_path: Path) -> None:
    """A stand-in for Kaapana's dag-installer-chart, which is its own, shows what reaches it."""
    chart = tmp_path / "theramap-workflow"
    shutil.copytree(CHART, chart)
    installer = chart / "charts" / "dag-installer-chart"
    (installer / "templates").mkdir(parents=True)
    (installer / "Chart.yaml").write_text("{apiVersion: v2, name: dag-installer-chart, version: 0.0.0}")
    (installer / "templates" / "values.yaml").write_text("{{ toYaml .Values.global }}")
    helm("lint", "--strict", chart)
    values = yaml.safe_load(helm("template", "theramap", chart))
    assert values == {"image": "dag-theramap", "action": "copy", "custom_registry_url": ""}
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert {"kaapanaworkflow", "kaapanaexperimental"} == set(about["keywords"])
    assert about["version"] == about["appVersion"] == VERSION
    dockerfile = (KAAPANA / "extension" / "docker" / "Dockerfile").read_text()
    assert f'LABEL IMAGE="{values["image"]}"\nLABEL VERSION="{VERSION}"\n' in dockerfile


def test_kaapanas_workflow_fetches_the_study_runs_theramap_sends_and_cleans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Airflow and Kaapana are stand-ins that write down how they are called."""
    made: list[Any] = []

    class Recorded:
        def __init__(self, dag: object, name: str = "", **given: Any) -> None:
            self.name, self.given = name or type(self).__name__, given
            self.operator_out_dir = self.name
            made.append(self)

        def __rshift__(self, other: Recorded) -> Recorded:
            self.given["then"] = other.name
            return other

    def module(name: str, **members: object) -> None:
        found = ModuleType(name)
        found.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, found)

    for name in (
        "GetInputOperator",
        "GetRefSeriesOperator",
        "DcmSendOperator",
        "LocalWorkflowCleanerOperator",
    ):
        module(f"kaapana.operators.{name}", **{name: type(name, (Recorded,), {})})
    module("kaapana.operators.KaapanaBaseOperator", KaapanaBaseOperator=Recorded)
    module("kaapana.blueprints.kaapana_global_variables", DEFAULT_REGISTRY="registry.example/kaapana")
    module("airflow.models", DAG=lambda **given: given)
    module("airflow.utils.dates", days_ago=lambda days: days)
    for name in ("kaapana", "kaapana.operators", "kaapana.blueprints", "airflow", "airflow.utils"):
        module(name)
    monkeypatch.syspath_prepend(str(DAG_FILES))
    dag = runpy.run_path(str(DAG_FILES / "dag_theramap.py"))["dag"]

    assert dag["dag_id"] == "theramap"
    assert [(one.name, one.given.get("then")) for one in made] == [
        ("GetInputOperator", "GetRefSeriesOperator"),
        ("GetRefSeriesOperator", "theramap"),
        ("theramap", "DcmSendOperator"),
        ("DcmSendOperator", "LocalWorkflowCleanerOperator"),
        ("LocalWorkflowCleanerOperator", None),
    ]
    task = made[2].given
    assert task["image"] == f"registry.example/kaapana/theramap-kaapana:{VERSION}-cpu"
    assert task["env_vars"]["REST_OF_STUDY_DIR"] == "GetRefSeriesOperator"
    assert task["input_operator"] is made[0]
    assert made[3].given["input_operator"] is made[2]


def test_kaapanas_images_pass_hadolint() -> None:
    # Kaapana's build wants labels in capitals and its own base without a version; its tasks run as root
    words = [word for rule in ("DL3048", "DL3007", "DL3002") for word in ("--ignore", rule)]
    files = sorted(KAAPANA.rglob("Dockerfile"))
    done = subprocess.run([BIN / "hadolint", *words, *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_a_batch_of_kaapana_gets_the_results_beside_the_pet_series(tmp_path: Path) -> None:
    """Two studies, of which the PET was chosen, and a CT without PET: one run, results for two."""
    run = tmp_path / "theramap-231"
    pets = [_choose(run, phantom_study(tmp_path / f"study-{seed}", seed), "PT") for seed in (1, 2)]
    alone = _choose(run, phantom_study(tmp_path / "study-3", 3), "CT")
    shutil.rmtree(alone / "get-ref-series")
    before = {path.name for path in run.iterdir()}

    done = _walk(run)
    assert done.returncode == 0, done.stderr
    for element in pets:
        names = {path.name for path in (element / "theramap").iterdir()}
        assert {"seg.dcm", "sr.dcm", "results.json"} <= names
        seg = pydicom.dcmread(element / "theramap" / "seg.dcm", stop_before_pixels=True)
        (pet, *_) = (element / "get-input-data").iterdir()
        assert seg.StudyInstanceUID == pydicom.dcmread(pet, stop_before_pixels=True).StudyInstanceUID
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == element.name
    assert not (alone / "theramap").exists()
    assert done.stdout.splitlines()[-1] == "2 of 3 chosen series have results"
    assert {path.name for path in run.iterdir()} == before


@pytest.mark.slow
def test_a_batch_of_kaapana_without_pet_fails(tmp_path: Path) -> None:
    run = tmp_path / "theramap-231"
    alone = _choose(run, phantom_study(tmp_path / "study", 3), "CT")
    shutil.rmtree(alone / "get-ref-series")
    done = _walk(run)
    assert done.returncode == 2
    refused, counted = done.stdout.splitlines()[-2:]
    assert refused.startswith("refused: NO_PET: ")
    assert counted == "0 of 1 chosen series have results"


def _choose(run: Path, study: Path, modality: str) -> Path:
    """Lay a study out as Kaapana does when the series of a modality was chosen; the folder of that series."""
    series: dict[str, list[Path]] = {}
    chosen = ""
    for path in study.rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        series.setdefault(str(header.SeriesInstanceUID), []).append(path)
        chosen = str(header.SeriesInstanceUID) if header.Modality == modality else chosen
    element = run / "batch" / chosen
    for uid, files in series.items():
        folder = element / ("get-input-data" if uid == chosen else f"get-ref-series/{uid}")
        folder.mkdir(parents=True)
        for path in files:
            path.rename(folder / path.name)
    return element


def _walk(run: Path) -> subprocess.CompletedProcess[str]:
    """Run the container's entry on a batch, with the MAP of this checkout."""
    return subprocess.run(
        [sys.executable, "-u", BATCH],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "WORKFLOW_DIR": str(run),
            "BATCH_NAME": "batch",
            "OPERATOR_IN_DIR": "get-input-data",
            "OPERATOR_OUT_DIR": "theramap",
            "REST_OF_STUDY_DIR": "get-ref-series",
            "HOLOSCAN_APPLICATION": str(ROOT / Path(APPLICATION).name),
            "THERAMAP_DEVICE": "cpu",
        },
        capture_output=True,
        text=True,
        check=False,
    )


# ---- Orthanc -----------------------------------------------------------------------------------


def test_orthancs_script_and_settings_agree_with_each_other_and_with_the_gateway() -> None:
    """What it does is tried by tests/integration/test_orthanc_route.py."""
    settings, script = read(ORTHANC / "orthanc.json"), (ORTHANC / "theramap.lua").read_text()
    constants = dict(re.findall(r"^local ([A-Z_]+) = '([^']+)'", script, re.M))
    (modality,) = settings["DicomModalities"].items()
    assert modality[0] == constants["MODALITY"]
    assert (modality[1]["AET"], modality[1]["Port"]) == (AE_TITLE, Receiver().port)
    assert {name for name, allowed in modality[1].items() if allowed is True} == {
        "AllowEcho",
        "AllowStore",
        "AllowFind",
        "AllowGet",
        "AllowStorageCommitment",
    }
    assert [Path(path).name for path in settings["LuaScripts"]] == ["theramap.lua"]


def test_orthancs_script_knows_our_results_as_the_gateway_does() -> None:
    script = (ORTHANC / "theramap.lua").read_text()
    constants = dict(re.findall(r"^local ([A-Z_]+) = '([^']+)'", script, re.M))
    assert constants["OUR_MODEL"] == ResultProfile(software_version="").model_name
    assert constants["OUR_UIDS"] == ours._UID_PREFIX
    assert constants["PROCESSING_EQUIPMENT"] == codes.PROCESSING_EQUIPMENT.value
    (labels,) = re.findall(r"^local OUR_LABELS = \{(.*)\}", script, re.M)
    assert set(re.findall(r"(\w+) = true", labels)) == ours._LABELS
    assert ast.literal_eval(constants["SENT"]) >= 1024  # Orthanc's own metadata lie below
