"""The Containerfile: the template of ``map/`` with what this package asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from app.packaging.errors import PackagingError
from app.packaging.layout import ENVIRONMENT, VARIABLES, WORK
from app.packaging.request import PYTHON, PackageRequest, Variant
from app.packaging.requirements import TORCH_INDEX

SITE = f"{ENVIRONMENT}/lib/python{PYTHON}/site-packages"
PIP = f"/pip/bin/pip --python {ENVIRONMENT}/bin/python install --quiet"
EXACTLY = "--no-deps --no-compile --only-binary=:all:"
WHEELS = "--find-links /context/wheels"
REPOSITORY_FREE_LABELS = {
    "title": "theramap",
    "licenses": "Apache-2.0",
    "documentation": "file:///opt/holoscan/docs/README.md",
}


def containerfile(
    template: str, request: PackageRequest, labels: Mapping[str, str], epoch: int, *, unhashed: bool
) -> str:
    """Fill the template in.

    Parameters
    ----------
    template : str
    request : PackageRequest
    labels : mapping of str to str
        Of the image.
    epoch : int
        SOURCE_DATE_EPOCH, in s.
    unhashed : bool
        Whether the lock has distributions without a digest.

    Raises
    ------
    PackagingError
        The template asks for what is not known.
    """
    values = {
        "BASE_IMAGE": request.base_image,
        "EPOCH": str(epoch),
        "PYTHON": PYTHON,
        "TORCH_INDEX": TORCH_INDEX,
        "VENV": ENVIRONMENT,
        "INSTALL": " \\\n && ".join(_install(request, unhashed=unhashed)),
        "LIBRARIES": f"LD_LIBRARY_PATH={variables(request.variant)['LD_LIBRARY_PATH']}",
        "LABELS": "LABEL "
        + " \\\n      ".join(f"{name}={json.dumps(text)}" for name, text in labels.items()),
        "ENVIRONMENT": " \\\n    ".join(
            f"{name}={value}" for name, value in variables(request.variant).items()
        ),
    }
    unknown = set(re.findall(r"@([A-Z_]+)@", template)) - values.keys()
    if unknown:
        raise PackagingError(
            f"map/Containerfile.in asks for {', '.join(sorted(unknown))}, which nobody fills in"
        )
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], template)


def labels_of(
    version: str, request: PackageRequest, revision: str | None, epoch: int, description: str
) -> dict[str, str]:
    """Return the image's labels: those that OCI predefines, as far as they are known."""
    prefix = "org.opencontainers.image."
    labels = {f"{prefix}{name}": text for name, text in REPOSITORY_FREE_LABELS.items()}
    labels[f"{prefix}version"] = version
    labels[f"{prefix}description"] = description
    labels[f"{prefix}created"] = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels[f"{prefix}base.name"] = request.base_image
    if revision is not None:
        labels[f"{prefix}revision"] = revision
    return dict(sorted(labels.items()))


def variables(variant: Variant) -> dict[str, str]:
    """Return the image's environment: the MAP's variables, and what the interpreter needs."""
    own = dict(VARIABLES) | {
        "PATH": f"{ENVIRONMENT}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
        # the root file system may be read-only: what must write, writes here
        "HOME": "/tmp",  # noqa: S108
        "MPLCONFIGDIR": "/tmp/matplotlib",  # noqa: S108
        # MONAI asks for the user's name when it is imported, and a uid that a platform chooses has none
        "USER": "theramap",
        "HOLOSCAN_LOG_LEVEL": "ERROR",
    }
    # holoscan links CUDA's runtime, GPU or not; ONNX Runtime takes CUDA and cuDNN from PyTorch's wheels
    folders = ("cu13/lib", "cudnn/lib") if variant is Variant.GPU else ("cu13/lib",)
    own["LD_LIBRARY_PATH"] = ":".join(f"{SITE}/nvidia/{folder}" for folder in folders)
    if variant is Variant.GPU:
        own |= {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    assert own["HOLOSCAN_WORKDIR"].startswith(WORK)
    return own


def _install(request: PackageRequest, *, unhashed: bool) -> list[str]:
    network = "--no-index" if request.offline else ""
    steps = [f"{PIP} {EXACTLY} --no-index /context/own/theramap-*.whl"]
    if unhashed:
        index = network or "--index-url ${TORCH_INDEX}"
        steps.append(f"{PIP} {EXACTLY} {index} {WHEELS} -r /context/requirements-without-digest.txt")
    # last, because holoscan's wheel complains at every start until its links are made
    steps.append(f"{PIP} {EXACTLY} {network} {WHEELS} --require-hashes -r /context/requirements.txt")
    return [re.sub(" +", " ", step) for step in steps]
