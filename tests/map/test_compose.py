"""The compose files: read by a compose program, hardened, without secrets, and in agreement with theramap."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.packaging.checkout import this_checkout
from app.settings import Settings, read_settings
from app.settings_check import faults

ROOT = this_checkout().root
COMPOSE = ROOT / "map" / "compose"
PODMAN_COMPOSE = Path(sys.executable).with_name("podman-compose")
LASTING = ("theramap", "orthanc", "postgres")
GRACE_S = 15
"""What a container gets beyond the gateway's own grace (docs/gateway.md)."""


def composed(*files: str, profile: str | None = None) -> dict[str, Any]:
    """The services as a compose program reads them."""
    words = [word for file in files for word in ("-f", str(COMPOSE / file))]
    words += ["--profile", profile] if profile else []
    done = subprocess.run(
        [PODMAN_COMPOSE, *words, "config"], capture_output=True, text=True, check=True, cwd=COMPOSE
    )
    content: dict[str, Any] = yaml.safe_load(done.stdout)
    return content


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return composed("compose.yaml", profile="backup")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("THERAMAP_SETTINGS", str(COMPOSE / "theramap.yaml"))
    return read_settings()


def seconds(period: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([smh])", period).groups()
    return timedelta(**{{"s": "seconds", "m": "minutes", "h": "hours"}[unit]: int(number)}).total_seconds()


def test_the_services_are_theramap_its_pacs_its_database_and_the_backup(content: dict[str, Any]) -> None:
    assert content["services"].keys() == {*LASTING, "backup"}
    assert content["services"]["backup"]["profiles"] == ["backup"]


@pytest.mark.parametrize("name", [*LASTING, "backup"])
def test_every_service_is_without_rights(content: dict[str, Any], name: str) -> None:
    service = content["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == {"orthanc": "999:999", "postgres": "postgres"}.get(name, "1000:1000")
    assert any(mount.split(":")[0] == "/tmp" for mount in service["tmpfs"])
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"} & service.keys()
    assert service["pids_limit"] == 1024
    assert re.fullmatch(r"\d+g", service["mem_limit"])


@pytest.mark.parametrize("name", LASTING)
def test_every_lasting_service_is_watched_started_again_and_rotates_its_log(
    content: dict[str, Any], name: str
) -> None:
    service = content["services"][name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert not [word for word in service["healthcheck"]["test"] if " " in word]  # podman 4's API parts them
    assert seconds(service["healthcheck"]["timeout"]) < seconds(service["healthcheck"]["interval"])
    assert service["logging"]["options"] == {"max-size": "20m", "max-file": "5"}


def test_only_the_pacs_is_reached_from_outside_and_only_by_dicom(content: dict[str, Any]) -> None:
    published = {name: content["services"][name].get("ports", []) for name in content["services"]}
    open_ports = {
        (name, port)
        for name, ports in published.items()
        for port in ports
        if not port.startswith("127.0.0.1:")
    }
    assert open_ports == {("orthanc", "4242:4242")}


def test_the_database_is_on_an_internal_network_of_its_own(content: dict[str, Any]) -> None:
    on = {name: set(service["networks"]) for name, service in content["services"].items()}
    assert content["networks"]["database"]["internal"] is True
    assert on["postgres"] == {"database"}
    assert on["orthanc"] == {"dicom"}
    assert on["theramap"] == {"dicom", "database"}
    assert "ports" not in content["services"]["postgres"]


def test_only_volumes_are_written_to(content: dict[str, Any]) -> None:
    """What is mounted from the folder is read-only, but for the folder that backups go to."""
    writable = {
        (name, volume.split(":")[0])
        for name, service in content["services"].items()
        for volume in service["volumes"]
        if not volume.endswith(":ro")
    }
    assert writable == {
        *((name, name) for name in LASTING),
        ("backup", "theramap"),
        ("backup", "./backup"),
    }
    assert content["volumes"].keys() == set(LASTING)


def test_theramap_waits_for_what_it_needs(content: dict[str, Any]) -> None:
    needs = content["services"]["theramap"]["depends_on"]
    assert {name: need["condition"] for name, need in needs.items()} == {
        "postgres": "service_healthy",
        "orthanc": "service_healthy",
    }


def test_theramap_gets_its_own_grace_and_a_little_more(content: dict[str, Any], settings: Settings) -> None:
    given_s = seconds(content["services"]["theramap"]["stop_grace_period"])
    assert given_s == settings.gateway.stop_grace_s + GRACE_S


def test_the_images_have_this_version(content: dict[str, Any]) -> None:
    version = this_checkout().version
    text = (COMPOSE / "compose.yaml").read_text("utf-8")
    assert set(re.findall(r"THERAMAP_IMAGE:-([^}]+)}", text)) == {f"theramap:{version}-cpu"}
    assert content["services"]["backup"]["image"] == f"theramap-backup:{version}"
    gpu = (COMPOSE / "compose.gpu.yaml").read_text("utf-8")
    assert re.findall(r"THERAMAP_IMAGE:-([^}]+)}", gpu) == [f"theramap:{version}-gpu"]
    assert not re.search(r":latest\b", text)


def test_the_gpu_file_takes_a_gpu_and_refuses_to_go_without() -> None:
    service = composed("compose.yaml", "compose.gpu.yaml")["services"]["theramap"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert service["environment"]["THERAMAP_DEVICE"] == "cuda"
    assert service["read_only"] is True
    assert service["secrets"] == ["database-password"]


def test_theramap_accepts_its_settings(settings: Settings) -> None:
    gateway = settings.gateway
    assert [str(fault) for fault in faults(settings, "serve")] == [
        "gateway.database_password_file: /run/secrets/database-password: No such file or directory; "
        "give a file that holds the password and that this user may read"
    ]
    assert [(ae.title, ae.pacs, ae.destinations) for ae in gateway.ae_titles] == [
        ("THERAMAP", "orthanc", ("orthanc",))
    ]


def test_settings_and_services_name_each_other_rightly(content: dict[str, Any], settings: Settings) -> None:
    gateway, services = settings.gateway, content["services"]
    (remote,) = gateway.remotes
    orthanc = json.loads((COMPOSE / "orthanc.json").read_bytes())
    assert (remote.host, remote.ae_title, remote.port) == (
        "orthanc",
        orthanc["DicomAet"],
        orthanc["DicomPort"],
    )
    node = orthanc["DicomModalities"]["theramap"]
    assert (node["Host"], node["AET"], node["Port"]) == ("theramap", "THERAMAP", gateway.receiver.port)
    postgres = services["postgres"]["environment"]
    user, database = postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]
    assert gateway.database.get_secret_value() == f"postgresql+psycopg://{user}@postgres/{database}"
    assert str(gateway.database_password_file) == postgres["POSTGRES_PASSWORD_FILE"]
    probe = services["theramap"]["healthcheck"]["test"][-1]
    assert f"http://127.0.0.1:{gateway.console.port}/health/ready" in probe
    assert f"theramap:{gateway.data}" in services["theramap"]["volumes"]


def test_orthanc_routes_by_the_recipe(content: dict[str, Any]) -> None:
    """The script and the modality are those of the recipe; what differs is where the script lies."""
    orthanc = json.loads((COMPOSE / "orthanc.json").read_bytes())
    recipe = json.loads((ROOT / "map" / "recipes" / "orthanc" / "orthanc.json").read_bytes())
    scripts = {Path(path).name for path in recipe.pop("LuaScripts")}
    assert {Path(path).name for path in orthanc["LuaScripts"]} == scripts
    assert recipe.items() <= orthanc.items()
    volumes = [volume.split(":") for volume in content["services"]["orthanc"]["volumes"]]
    mounted = {target: (COMPOSE / source).resolve() for source, target, *_ in volumes}
    assert mounted[orthanc["LuaScripts"][0]] == ROOT / "map" / "recipes" / "orthanc" / "theramap.lua"
    assert orthanc["AuthenticationEnabled"] is True
    assert "RegisteredUsers" not in orthanc  # they are a secret: secrets/orthanc-users.json


def test_no_file_holds_a_secret(content: dict[str, Any]) -> None:
    assert {secret["file"] for secret in content["secrets"].values()} == {
        "./secrets/database-password",
        "./secrets/orthanc-users.json",
    }
    ignored = (COMPOSE / ".gitignore").read_text("utf-8").split("\n")
    assert {"secrets/", "backup/"} <= set(ignored)
    for service in content["services"].values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or value.startswith("/run/secrets/"), name
    for path in COMPOSE.iterdir():
        if path.is_file():
            assert not re.search(r"(?i)password\W{1,4}[0-9a-f]{12,}", path.read_text("utf-8")), path


def test_the_database_is_not_newer_than_what_backs_it_up(content: dict[str, Any]) -> None:
    (client,) = re.findall(r"postgresql-client-(\d+)", (COMPOSE / "backup.Containerfile").read_text("utf-8"))
    (server,) = re.findall(r"postgres:(\d+)", content["services"]["postgres"]["image"])
    assert int(server) <= int(client)
