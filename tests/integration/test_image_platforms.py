"""The image as other platforms run it: by podman, with what their recipes say and the platforms add."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pydicom

from app.packaging.checkout import this_checkout
from tests.image import Image, marks, podman_missing
from tests.servers import phantom_study

pytestmark = marks(podman_missing())
RECIPES = this_checkout().root / "map" / "recipes"


def variables(given: dict[str, str]) -> list[str]:
    return [word for name, value in given.items() for word in ("-e", f"{name}={value}")]


def assert_results(folder: Path) -> None:
    content = json.loads((folder / "results.json").read_bytes())
    assert content["status"] == "completed", content["reason"]
    assert {"seg.dcm", "sr.dcm"} <= {path.name for path in folder.iterdir()}


def test_as_the_docker_task_of_monai_deploy_express(image: Image, place: Path) -> None:
    """Input as the Informatics Gateway stores it: by study and series, a JSON file beside each instance."""
    workflow = json.loads((RECIPES / "monai-deploy-express" / "workflow.json").read_text())
    (task,) = [task["args"] for task in workflow["tasks"] if task["type"] == "docker"]
    source, output = place / "inputs", place / "outputs"
    for path in phantom_study(place / "study", 1).rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        folder = source / header.StudyInstanceUID / header.SeriesInstanceUID
        folder.mkdir(parents=True, exist_ok=True)
        moved = path.rename(folder / f"{header.SOPInstanceUID}.dcm")
        moved.with_name(f"{moved.name}.json").write_text(header.to_json())
    output.mkdir()
    user, group = map(int, task["user"].split(":"))
    for path in (output, source, *source.rglob("*")):
        os.chown(path, user, group)  # as SetPermission of the docker plug-in
    mounts = [
        f"{source}:{task['env_HOLOSCAN_INPUT_PATH']}:ro",
        f"{output}:{task['env_HOLOSCAN_OUTPUT_PATH']}",
    ]
    names = {name.removeprefix("env_"): value for name, value in task.items() if name.startswith("env_")}
    done, _ = image.platform(
        *("--user", task["user"], "--entrypoint", json.dumps(task["entrypoint"].split(","))),
        *(word for mount in mounts for word in ("-v", mount)),
        *variables(names),
        words=tuple(task["command"].split(",")),
    )
    assert done.returncode == 0, done.stderr
    assert_results(output)


def test_as_a_module_of_mercure(image: Image, place: Path) -> None:
    """The user is the image's, the command that of /etc/monai/app.json, and task.json lies in the input."""
    (module,) = json.loads((RECIPES / "mercure" / "mercure.json").read_text())["modules"].values()
    source, output = place / "in", place / "out"
    for folder in (source, output):
        folder.mkdir()
        folder.chmod(0o777)
    for number, path in enumerate(phantom_study(place / "study", 1).rglob("*.dcm")):
        path.rename(source / f"1.2.3#{number}.dcm").chmod(0o666)
    (source / "task.json").write_text('{"id": "1", "process": {"module_name": "theramap", "settings": {}}}')
    paths = {"INPUT": "/tmp/data", "OUTPUT": "/tmp/output"}
    given = {f"HOLOSCAN_{side}_PATH": path for side, path in paths.items()}
    given |= {f"MONAI_{side}PATH": path for side, path in paths.items()}
    given |= {"MERCURE_IN_DIR": paths["INPUT"], "MERCURE_OUT_DIR": paths["OUTPUT"]}
    shown, _ = image.platform("--entrypoint", "", words=("cat", "/etc/monai/app.json"))
    done, _ = image.platform(
        *_as_options(json.loads(module["docker_arguments"])),
        *("--entrypoint", "", "-v", f"{source}:{paths['INPUT']}", "-v", f"{output}:{paths['OUTPUT']}"),
        *variables(json.loads(module["environment"]) | given),
        words=tuple(json.loads(shown.stdout)["command"].split()),
    )
    assert done.returncode == 0, done.stderr
    assert_results(output)
    assert {path.stat().st_uid for path in output.iterdir()} == {1000}


def _as_options(arguments: dict[str, Any]) -> list[str]:
    """What docker-py's arguments are on the command line."""
    options = [f"--read-only={str(arguments['read_only']).lower()}", "--memory", arguments["mem_limit"]]
    for path, how in arguments["tmpfs"].items():
        options += ["--tmpfs", f"{path}:{how}"]
    for name in arguments["cap_drop"]:
        options += ["--cap-drop", name]
    for name in arguments["security_opt"]:
        options += ["--security-opt", name]
    return options


def test_as_a_task_of_kaapana(image: Image, place: Path) -> None:
    """The container's entry is mounted, not built in; it runs as root, as its Dockerfile says."""
    container = RECIPES / "kaapana" / "processing-containers" / "theramap"
    entry, element = "/kaapana/app/batch.py", place / "run" / "batch" / "chosen"
    (element / "get-ref-series").mkdir(parents=True)
    phantom_study(place / "study", 1).rename(element / "get-input-data")
    pet = next(
        str(header.SeriesInstanceUID)
        for header in map(pydicom.dcmread, (element / "get-input-data").rglob("*.dcm"))
        if header.Modality == "PT"
    )
    element = element.rename(element.with_name(pet))
    lines = (container / "Dockerfile").read_text().splitlines()
    (command,) = [json.loads(line.removeprefix("ENTRYPOINT ")) for line in lines if "ENTRYPOINT" in line]
    (user,) = [line.removeprefix("USER ") for line in lines if line.startswith("USER")]
    assert command[-1] == entry
    done, _ = image.platform(
        *("--user", user, "--entrypoint", json.dumps(command)),
        *("-v", f"{place / 'run'}:/kaapana/mounted/data/run"),
        *("-v", f"{container / 'files' / 'batch.py'}:{entry}:ro"),
        *variables(
            {
                "WORKFLOW_DIR": "/kaapana/mounted/data/run",
                "BATCH_NAME": "batch",
                "OPERATOR_IN_DIR": "get-input-data",
                "OPERATOR_OUT_DIR": "theramap",
                "REST_OF_STUDY_DIR": "get-ref-series",
                "THERAMAP_DEVICE": "cpu",
            }
        ),
    )
    assert done.returncode == 0, done.stderr
    assert_results(element / "theramap")
    assert done.stdout.splitlines()[-1] == "1 of 1 chosen series have results"
