"""app.json and pkg.json: what the MAP specification asks, and what the SDK's packager writes in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from app.packaging.checkout import Checkout
from app.packaging.manifests import application_manifest, package_manifest
from app.packaging.request import Variant


def validator(checkout: Checkout, name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((checkout.root / "map" / "schemas" / f"{name}.schema.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_contexts_manifests_are_valid_and_speak_of_the_same_version(
    context: Path, checkout: Checkout
) -> None:
    app, pkg = (json.loads((context / "map" / f"{name}.json").read_bytes()) for name in ("app", "pkg"))
    validator(checkout, "app").validate(app)
    validator(checkout, "pkg").validate(pkg)
    assert app["version"] == pkg["version"] == checkout.version
    assert app["type"] == "application"
    assert app["command"] == "python3 /opt/holoscan/app"
    assert app["sdkVersion"] == "4.0.0"
    assert app["output"]["format"] == {"data": "file", "format": "DICOM"}
    assert app["readiness"]["command"] == ["/opt/holoscan/app/tools", "ready"]
    assert pkg["models"] == [
        {"name": "impi", "path": "impi"},
        {"name": "petct_lesion", "path": "petct_lesion"},
    ]
    for model in pkg["models"]:
        assert (context / "models" / model["path"]).is_dir()


def test_the_gpu_variant_asks_for_a_gpu(checkout: Checkout) -> None:
    pkg = package_manifest("1.2.3", (), Variant.GPU)
    validator(checkout, "pkg").validate(pkg)
    assert (pkg["resources"]["gpu"], pkg["resources"]["gpuMemory"]) == (1, "8Gi")


STOCK_APP: list[dict[str, Any]] = [
    {"type": None},
    {"type": "program"},
    {"version": 1.0},
    {"version": "1.0"},
    {"command": ["python3", "/opt/holoscan/app"]},
    {"output": {"path": "output/", "formats": ["file"]}},
    {"input": {"path": "input/", "formats": None}},
    {"readiness": None},
    {"readiness": {"type": "http-get", "port": 8080}},
    {"liveness": {"type": "command"}},
    {"workingDirectory": "holoscan"},
    {"environment": {"A": 1}},
]


@pytest.mark.parametrize("change", STOCK_APP, ids=str)
def test_what_the_specification_does_not_allow_of_app_json_is_invalid(
    checkout: Checkout, change: dict[str, Any]
) -> None:
    assert list(validator(checkout, "app").iter_errors(application_manifest("1.2.3", "4.0.0") | change))


@pytest.mark.parametrize(
    "change",
    [
        {"models": {"petct_lesion": "/opt/holoscan/models/petct_lesion"}},
        {"models": [{"path": "petct_lesion"}]},
        {"models": [{"name": "two words"}]},
        {"version": 1.0},
        {"platformConfig": "dgpu"},
        {"resources": {"memory": "8GB"}},
        {"resources": {"cpu": -1}},
        {"resources": {"cpu": 0.25}},
        {"applicationRoot": "opt/holoscan/app"},
    ],
    ids=str,
)
def test_what_the_specification_does_not_allow_of_pkg_json_is_invalid(
    checkout: Checkout, change: dict[str, Any]
) -> None:
    assert list(
        validator(checkout, "pkg").iter_errors(package_manifest("1.2.3", ["a"], Variant.CPU) | change)
    )
