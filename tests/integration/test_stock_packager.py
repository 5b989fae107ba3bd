"""``monai-deploy package app -c app/app.yaml`` of holoscan-cli 4.2.0 takes the application, up to docker.

There is no docker engine here: a program of that name keeps the context that the packager wrote, and fails.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.packaging.checkout import this_checkout
from app.packaging.context import write_context
from app.packaging.request import PackageRequest

ROOT = this_checkout().root
DOCKER = """#!/bin/sh
echo "$@" >> "$RECORD/calls"
cp -r "$TMPDIR"/holoscan_tmp* "$RECORD/context"
exit 1
"""
RELEASES = {
    "4.2.0": {
        "holoscan": {
            "wheel-version": "4.2.0",
            "debian-version": "4.2.0.0-1",
            "base-images": {"dgpu": "nvcr.io/nvidia/cuda:13.0.0-runtime-ubuntu24.04"},
            "build-images": {"igpu": {}, "dgpu": {}, "cpu": {}},
        }
    }
}


@dataclass(frozen=True, slots=True)
class Stopped:
    """What the packager left when docker stopped it."""

    code: int
    said: str
    calls: list[str]
    context: Path

    def manifest(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.context / "map" / f"{name}.json").read_bytes())
        return content


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("stock")
    ours = folder / "ours"
    write_context(PackageRequest(models=("petct_lesion",)), this_checkout(), ours)
    for name in ("bin", "tmp", "record"):
        (folder / name).mkdir()
    (folder / "bin" / "docker").write_text(DOCKER, "utf-8")
    (folder / "bin" / "docker").chmod(0o755)
    (folder / "releases.json").write_text(json.dumps(RELEASES), "utf-8")
    wheel = next((ours / "own").glob("*.whl"))
    words = ["package", "app", "-c", "app/app.yaml", "--platform", "x86_64", "--tag", "theramap:0.1.0"]
    words += ["--source", str(folder / "releases.json"), "--models", str(ours / "models")]
    words += ["--monai-deploy-sdk-file", str(wheel)]
    environment = dict(os.environ) | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "TMPDIR": str(folder / "tmp"),
        "RECORD": str(folder / "record"),
    }
    done = subprocess.run(
        [Path(sys.executable).parent / "monai-deploy", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    calls = (folder / "record" / "calls").read_text("utf-8").splitlines()
    return Stopped(done.returncode, done.stdout + done.stderr, calls, folder / "record" / "context")


def test_it_stops_at_docker_and_nowhere_before(stopped: Stopped) -> None:
    assert stopped.code == 1
    assert [call.split()[:2] for call in stopped.calls] == [["buildx", "ls"]]
    assert "docker buildx ls" in stopped.said


def test_its_context_holds_the_application_the_model_and_our_wheel(stopped: Stopped) -> None:
    assert (stopped.context / "app" / "__main__.py").read_bytes() == (
        ROOT / "app" / "__main__.py"
    ).read_bytes()
    assert [path.name for path in (stopped.context / "models").iterdir()] == ["petct_lesion"]
    wheel = next(stopped.context.glob("theramap-*.whl"))
    text = (stopped.context / "Dockerfile").read_text("utf-8")
    assert f"RUN pip install /tmp/{wheel.name}" in text
    assert 'ENTRYPOINT ["/var/holoscan/tools"]' in text


def test_its_manifests_say_what_app_yaml_says(stopped: Stopped) -> None:
    app, pkg = stopped.manifest("app"), stopped.manifest("pkg")
    assert json.loads(app["command"]) == ["python3", "/opt/holoscan/app"]
    assert app["version"] == pkg["version"] == this_checkout().version
    assert app["input"]["formats"] == ["file"]
    assert app["output"]["formats"] == ["file"]
    assert app["sdk"] == "monai-deploy"
    assert pkg["models"] == {"petct_lesion": "/opt/holoscan/models/petct_lesion"}
    assert pkg["resources"] == {"cpu": 2, "gpu": 0, "memory": "8Gi", "sharedMemory": "64Mi"}


def test_its_requirements_are_one_a_line_and_the_projects(stopped: Stopped) -> None:
    lines = (stopped.context / "pip" / "requirements.txt").read_text("utf-8").splitlines()
    config = yaml.safe_load((ROOT / "app" / "app.yaml").read_text("utf-8"))
    assert lines == config["application"]["pip-packages"].splitlines()
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    asked = {*project["dependencies"], *project["optional-dependencies"]["cpu"]}
    for line in lines:
        if not line.startswith("--"):
            assert re.sub(r"\+cpu$", "", line) in asked


def test_app_yaml_has_the_projects_version() -> None:
    config = yaml.safe_load((ROOT / "app" / "app.yaml").read_text("utf-8"))
    assert config["application"]["version"] == this_checkout().version
