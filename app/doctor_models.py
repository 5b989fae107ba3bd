"""What ``theramap doctor`` looks at in the models: each package, and what the protocols' networks run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.finding import Finding, Mark
from app.protocols import NETWORK, load_protocols
from app.run import segmentation_site
from app.settings import Settings
from operators.domain import Protocol
from operators.errors import ProtocolRefusal, SegmentationRefusal
from operators.segmentation.models import choose_package
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.store import find_package, packages_in
from operators.segmentation.package.types import Package, Task
from operators.segmentation.site import NONE, SegmentationSite

REMEDY = "import it again, or take it out of the folder"


def look_at_models(settings: Settings) -> Iterator[Finding]:
    """Read every package against its digests, then say which one each protocol's network would take."""
    site = segmentation_site(settings)
    if site.models is not None and not site.models.is_dir():
        remedy = "name the folder of model packages"
        yield Finding("models.folder", Mark.FAILED, f"there is no folder {site.models}", remedy)
        return
    if site.models is None:
        yield Finding("models.folder", Mark.OK, "none is set, and none is shipped with this installation")
    else:
        yield from _packages(site.models)
    try:
        protocols = load_protocols(settings.protocols)
    except ProtocolRefusal:
        return  # told with the settings
    for protocol in protocols.values():
        if protocol.method.name == NETWORK:
            yield _network(protocol, site)


def _packages(folder: Path) -> Iterator[Finding]:
    try:
        found = packages_in(folder)
    except SegmentationRefusal as refusal:
        yield Finding("models.folder", Mark.FAILED, refusal.sentence, "make it readable for this user")
        return
    yield Finding("models.folder", Mark.OK, f"{len(found)} model packages in {folder}")
    for each in found:
        yield _package(folder, each)


def _package(folder: Path, each: Package | PackageError) -> Finding:
    try:
        if isinstance(each, PackageError):
            raise each
        package = find_package(folder, each.name)
    except PackageError as error:
        return Finding(f"model {error.package}", Mark.FAILED, error.sentence, REMEDY)
    return Finding(f"model {package.name}", Mark.OK, f"{package.version}, digest {package.digest}")


def _network(protocol: Protocol, site: SegmentationSite) -> Finding:
    subject = f"protocol {protocol.name}"
    try:
        choice = choose_package(site, Task.LESIONS, protocol.name, verify=False)
    except SegmentationRefusal as refusal:
        return Finding(subject, Mark.FAILED, refusal.sentence, "correct models.lesions or the package")
    if choice.package is not None:
        return Finding(subject, Mark.OK, f"{NETWORK} with {choice.package.identity}")
    if protocol.otherwise is None or choice.notes:
        remedy = "see to the broken package" if choice.notes else "import a lesion package"
        return Finding(subject, Mark.FAILED, f"its studies are refused: {choice.reason}", remedy)
    stands_in = f"{protocol.otherwise.name} in place of {NETWORK}: {choice.reason}"
    if site.lesions == NONE:
        return Finding(subject, Mark.OK, stands_in)
    remedy = "import a lesion package; if it is to be so, set models.lesions to none"
    return Finding(subject, Mark.WARNING, stands_in, remedy)
