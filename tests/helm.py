"""Helm for the tests: the chart rendered with values."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import missing

CHART = Path(__file__).parents[1] / "map" / "helm" / "theramap"
RELEASE, NAMESPACE = "site", "imaging"

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chart:
    """What the chart makes of some values."""

    manifests: tuple[Manifest, ...]

    def find(self, kind: str, name: str) -> Manifest:
        """The one of a kind whose name ends so after the release's."""
        wanted = f"{RELEASE}-theramap{name}"
        (found,) = (one for one in self.of_kind(kind) if one["metadata"]["name"] == wanted)
        return found

    def of_kind(self, kind: str) -> list[Manifest]:
        return [one for one in self.manifests if one["kind"] == kind]

    def pods(self) -> dict[str, Manifest]:
        """Specification of every pod by the name of what makes it."""
        found = {}
        for one in self.manifests:
            if one["kind"] in {"Deployment", "StatefulSet"}:
                found[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
            elif one["kind"] == "Pod":
                found[one["metadata"]["name"]] = one["spec"]
        return found

    def container(self, kind: str, name: str, container: str) -> Manifest:
        spec = self.find(kind, name)["spec"]["template"]["spec"]
        (found,) = (one for one in spec["containers"] if one["name"] == container)
        return dict(found)

    def settings(self) -> Manifest:
        """Theramap's settings file as the pods get it."""
        content = yaml.safe_load(self.find("ConfigMap", "")["data"]["theramap.yaml"])
        assert isinstance(content, dict)
        return content


def helm(*words: str | Path, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm, with values on its standard input."""
    program = Path(sys.executable).with_name("helm")
    found = str(program) if program.exists() else shutil.which("helm")
    if found is None:
        missing("no helm")
    more = ["--values", "-"] if values is not None else []
    return subprocess.run(
        [str(found), *map(str, words), *more],
        input=None if values is None else json.dumps(values),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def render(values: Mapping[str, Any] | None = None, chart: Path = CHART) -> Chart:
    """Return what the chart makes of values.

    Raises
    ------
    ValueError
        Helm refuses them; the text is its own.
    """
    done = helm("template", RELEASE, chart, "--namespace", NAMESPACE, values=values or {})
    if done.returncode:
        raise ValueError(done.stderr)
    return Chart(tuple(one for one in yaml.safe_load_all(done.stdout) if one))
