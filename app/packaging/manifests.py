"""app.json and pkg.json as the MAP specification 1.0 asks for them.

Project-MONAI/monai-deploy, guidelines/monai-application-package.md. The packager of holoscan-cli 4.2.0 writes
others: models as an object, no type, ``output.formats``, versions as numbers, no probes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.packaging.layout import APPLICATION, COMMAND, MODELS, VARIABLES, WORK
from app.packaging.request import Variant

API_VERSION = "1.0.0"
SDK = "monai-deploy-app-sdk"
TOOLS = f"{APPLICATION}/tools"
RESOURCES: dict[Variant, dict[str, Any]] = {
    Variant.CPU: {"cpu": 2, "gpu": 0, "memory": "8Gi", "sharedMemory": "64Mi"},
    Variant.GPU: {"cpu": 2, "gpu": 1, "memory": "16Gi", "gpuMemory": "8Gi", "sharedMemory": "1Gi"},
}


def application_manifest(version: str, sdk_version: str) -> dict[str, Any]:
    """Return the content of ``/etc/holoscan/app.json``.

    Parameters
    ----------
    version : str
        Of theramap, ``MAJOR.MINOR.PATCH``.
    sdk_version : str
        Of the MONAI Deploy App SDK.
    """
    return {
        "apiVersion": API_VERSION,
        "type": "application",
        "version": version,
        "command": COMMAND,
        "environment": dict(VARIABLES),
        "input": {"path": "input/", "formats": [{"data": "file", "format": "DICOM"}]},
        "output": {"path": "output/", "format": {"data": "file", "format": "DICOM"}},
        "workingDirectory": f"{WORK}/",
        "sdk": SDK,
        "sdkVersion": sdk_version,
        "timeout": 0,
        # what is ready is the image as it was packaged; what lives is the container's first process
        "readiness": _probe("ready", timeout_s=10),
        "liveness": _probe("alive", timeout_s=1),
    }


def package_manifest(version: str, models: Sequence[str], variant: Variant) -> dict[str, Any]:
    """Return the content of ``/etc/holoscan/pkg.json``."""
    return {
        "apiVersion": API_VERSION,
        "version": version,
        "applicationRoot": f"{APPLICATION}/",
        "modelRoot": f"{MODELS}/",
        "models": [{"name": name, "path": name} for name in models],
        "resources": RESOURCES[variant],
    }


def _probe(word: str, *, timeout_s: int) -> dict[str, Any]:
    return {
        "type": "command",
        "command": [TOOLS, word],
        "initialDelaySeconds": 1,
        "periodSeconds": 10,
        "timeoutSeconds": timeout_s,
        "failureThreshold": 3,
    }
