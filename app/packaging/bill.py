"""The bill of materials (CycloneDX 1.6, ECMA-424) and the licences of what an image holds."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from app.packaging.digests import OURS, Digests, label

SPECIFICATION = "1.6"
NAMESPACE = uuid.UUID("7f0f1d3c-6f5e-5a43-9d0a-6a0d1f0e8c11")
"""Serial numbers are UUIDs of this namespace and the content: the same image, the same number."""
DPKG = Path("/var/lib/dpkg/status")
DPKG_LISTS = Path("/var/lib/dpkg/info")
LONGEST_NAME = 120
"""Some distributions have the licence's whole text where its name belongs."""
CLASSIFIER = "License :: "


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """One package of the base image."""

    name: str
    version: str
    architecture: str


@dataclass(frozen=True, slots=True)
class Base:
    """What the base image holds: Debian's packages, and a Python beside them, which dpkg does not know."""

    debian: tuple[DebianPackage, ...] = ()
    cpython: str | None = None
    """Version of the interpreter; None when it is one of Debian's packages."""
    distributions: tuple[Distribution, ...] = ()
    """Of the interpreter's own site-packages: pip and the like."""


def bill_of_materials(
    digests: Digests, installed: Iterable[Distribution], base: Base, epoch: int
) -> dict[str, Any]:
    """Return the bill of materials as CycloneDX JSON.

    Parameters
    ----------
    digests : Digests
        Of the wheels and the models.
    installed : iterable of Distribution
        Python distributions.
    base : Base
        What the image is built on.
    epoch : int
        Its time, in s.
    """
    components = [
        *(_library(each, digests.wheels.get(label(each))) for each in installed if _name(each) != OURS),
        *_models(digests.models),
        *([] if base.cpython is None else [_cpython(base.cpython)]),
        *(_of_base(each) for each in base.distributions),
        *(_debian(each) for each in base.debian),
    ]
    own = {"type": "application", "name": OURS, "version": digests.theramap, "bom-ref": OURS}
    bill: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": own | {"properties": [{"name": "theramap:variant", "value": digests.variant}]},
        },
        "components": components,
    }
    content = json.dumps(bill, sort_keys=True)
    return bill | {"serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, content)}"}


def licence_report(installed: Iterable[Distribution]) -> str:
    """Return a table of the Python distributions' licences, and where their texts lie."""
    lines = [
        "# Licences of the Python distributions",
        "",
        "As each states it; the texts lie in its folder beneath site-packages. Debian's packages have theirs",
        "in /usr/share/doc.",
        "",
        "| distribution | version | licence | texts |",
        "|---|---|---|---|",
    ]
    for each in installed:
        texts = ", ".join(_licence_files(each)) or "none"
        lines.append(f"| {_name(each)} | {each.version} | {licence(each) or 'not stated'} | {texts} |")
    return "\n".join(lines) + "\n"


def licence(distribution: Distribution) -> str | None:
    """Return what a distribution says of its licence: SPDX expression, classifiers, else its first line."""
    meta = distribution.metadata
    expression = _stated(distribution, "License-Expression")
    if expression:
        return expression
    classified = [
        text.rsplit(" :: ", 1)[-1]
        for text in meta.get_all("Classifier") or ()
        if text.startswith(CLASSIFIER) and text.count(" :: ") > 1
    ]
    if classified:
        return " / ".join(classified)
    stated = [line.strip() for line in (_stated(distribution, "License") or "").splitlines() if line.strip()]
    return stated[0][:LONGEST_NAME].replace("|", "/") if stated and stated[0] != "UNKNOWN" else None


def read_base() -> Base:
    """Return what the base image holds, as this interpreter finds it."""
    own = Path(sys.base_prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    known = is_debians(Path(os.path.realpath(sys.executable)))
    return Base(
        debian=debian_packages(),
        cpython=None if known else platform.python_version(),
        distributions=tuple(sorted(distributions(path=[str(own)]), key=label)),
    )


def is_debians(program: Path, lists: Path = DPKG_LISTS) -> bool:
    """Return whether a file is of one of the packages that dpkg has installed."""
    line = f"{program}\n"
    return any(line in path.read_text(encoding="utf-8").splitlines(True) for path in lists.glob("*.list"))


def debian_packages(status: Path = DPKG) -> tuple[DebianPackage, ...]:
    """Return the packages that dpkg has installed; none where there is no dpkg."""
    if not status.is_file():
        return ()
    found = []
    for block in status.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        field = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", block, re.MULTILINE))
        if field.get("Status", "").endswith(" installed"):
            found.append(DebianPackage(field["Package"], field["Version"], field["Architecture"]))
    return tuple(sorted(found, key=lambda each: each.name))


def _library(distribution: Distribution, sha256: str | None) -> dict[str, Any]:
    name, version = _name(distribution), distribution.version
    purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version.replace('+', '%2B')}"
    component: dict[str, Any] = {"type": "library", "name": name, "version": version, "purl": purl}
    component["bom-ref"] = purl
    stated = licence(distribution)
    if _stated(distribution, "License-Expression"):
        component["licenses"] = [{"expression": stated}]
    elif stated:
        component["licenses"] = [{"license": {"name": stated}}]
    if sha256:
        component["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    return component


def _of_base(distribution: Distribution) -> dict[str, Any]:
    component = _library(distribution, None)
    return component | {"bom-ref": f"base/{component['purl']}"}  # the environment may have the same version


def _cpython(version: str) -> dict[str, Any]:
    purl = f"pkg:generic/python@{version}"
    return {
        "type": "application",
        "name": "python",
        "version": version,
        "purl": purl,
        "cpe": f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
        "bom-ref": purl,
    }


def _models(files: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    packages: dict[str, dict[str, str]] = {}
    for name, digest in sorted(files.items()):
        package, _, inner = name.partition("/")
        packages.setdefault(package, {})[inner] = digest
    for package, content in packages.items():
        yield {
            "type": "machine-learning-model",
            "name": package,
            "bom-ref": f"model/{package}",
            "components": [_file(package, inner, digest) for inner, digest in content.items()],
        }


def _file(package: str, name: str, sha256: str) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": sha256}]
    return {"type": "file", "name": name, "bom-ref": f"model/{package}/{name}", "hashes": hashes}


def _debian(package: DebianPackage) -> dict[str, Any]:
    version = package.version.replace("+", "%2B").replace(":", "%3A")
    purl = f"pkg:deb/debian/{package.name}@{version}?arch={package.architecture}"
    return {
        "type": "library",
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "bom-ref": purl,
    }


def _stated(distribution: Distribution, field: str) -> str | None:
    value = distribution.metadata.get_all(field)
    return str(value[0]) if value else None


def _name(distribution: Distribution) -> str:
    return str(distribution.metadata["Name"])


def _licence_files(distribution: Distribution) -> Sequence[str]:
    named = re.compile(r"(licen[sc]e|copying|notice)[^/]*$", re.IGNORECASE)
    inner = (str(file) for file in distribution.files or () if ".dist-info/" in str(file))
    return sorted(name for name in inner if named.search(name))
