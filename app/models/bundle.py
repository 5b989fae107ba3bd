"""Converts a MONAI bundle into a package.

A bundle's configuration is code: ``$`` expressions are evaluated, ``_target_`` names classes to import, the
folder may bring Python files of its own. So it is read in the sandboxed child only, and once; what is left of
it is a declaration that gives the label maps MONAI itself gives, or a refusal that names what is in the way.

References
----------
MONAI Bundle specification, https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.transforms import Compose

from app.models.bundle_network import Network, load_defined, load_scripted
from app.models.bundle_output import read_inferer, read_postprocessing
from app.models.bundle_package import UNDESCRIBED, Bundle, write_bundle_package
from app.models.bundle_transforms import UNSUPPORTED, UnsupportedError, read_preprocessing
from app.models.request import ImportRequest
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import Package

INVALID = "MODEL_BUNDLE_INVALID"
CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
WEIGHTS = ("model.pt", "model.ts")
NETWORKS = ("network_def", "network")
EVALUATORS = ("SupervisedEvaluator", "monai.engines.SupervisedEvaluator")
EXPRESSION_ERRORS = (
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    OSError,
    SyntaxError,
)
"""What MONAI's parser lets out of a configuration that cannot be resolved."""


def convert_bundle(source: Path, target: Path, request: ImportRequest) -> Package:
    """Convert a MONAI bundle.

    Parameters
    ----------
    source : Path
        Folder of the bundle, or one that holds nothing but that folder.
    target : Path
        Empty folder, which becomes the package.
    request : ImportRequest

    Returns
    -------
    Package
        As written.

    Raises
    ------
    PackageError
        ``MODEL_BUNDLE_INVALID`` (no bundle, or its configuration cannot be resolved),
        ``MODEL_BUNDLE_UNSUPPORTED`` (a step that a package cannot say, by its name) or ``MODEL_UNDESCRIBED``
        (the bundle does not say something that is needed).
    """
    root = _root(source, request)
    try:
        with _importable(root):
            return write_bundle_package(_read(root, request), target, request)
    except UnsupportedError as error:
        sentence = f"the MONAI bundle cannot be converted: {error}."
        raise PackageError(request.name, UNSUPPORTED, sentence) from error


def _root(source: Path, request: ImportRequest) -> Path:
    """Return the bundle's own folder, which an archive may hold inside another."""
    folders = [source, *sorted(path for path in source.iterdir() if path.is_dir())]
    for folder in folders:
        if (folder / "configs" / "metadata.json").is_file():
            return folder
    raise PackageError(request.name, INVALID, "there is no configs/metadata.json; this is no MONAI bundle.")


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Let the bundle's configuration import the bundle's own modules."""
    sys.path.insert(1, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))


def _read(root: Path, request: ImportRequest) -> Bundle:
    metadata = _metadata(root, request)
    image = _described(metadata, "inputs", "image", request)
    pred = _described(metadata, "outputs", "pred", request)
    inside, outside = int(image["num_channels"]), int(pred["num_channels"])
    parser = _parser(root, metadata, request)
    _check_evaluator(parser)
    preprocessing = _resolved(parser, "preprocessing", request)
    if not isinstance(preprocessing, Compose):
        raise UnsupportedError("its preprocessing is no Compose of transforms")
    postprocessing = _resolved(parser, "postprocessing", request)
    if not isinstance(postprocessing, Compose):
        raise UnsupportedError("its postprocessing is no Compose of transforms")
    return Bundle(
        metadata=metadata,
        inside=inside,
        outside=outside,
        preprocessing=read_preprocessing((preprocessing,), inside),
        tile=read_inferer(_resolved(parser, "inferer", request)),
        output=read_postprocessing((postprocessing,), preprocessing, outside),
        network=_network(root, parser, metadata, inside, request),
    )


def _metadata(root: Path, request: ImportRequest) -> Mapping[str, Any]:
    try:
        metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise PackageError(request.name, INVALID, f"configs/metadata.json is no JSON: {error}.") from error
    if not isinstance(metadata, dict):
        raise PackageError(request.name, INVALID, "configs/metadata.json is no object.")
    return metadata


def _described(
    metadata: Mapping[str, Any], kind: str, name: str, request: ImportRequest
) -> Mapping[str, Any]:
    """Return the description of the network's input or output."""
    end: Any = metadata
    for key in ("network_data_format", kind, name):
        end = end.get(key) if isinstance(end, dict) else None
    if not isinstance(end, dict) or not isinstance(end.get("num_channels"), int):
        where = f"network_data_format, {kind}, {name}"
        raise PackageError(
            request.name, UNDESCRIBED, f"configs/metadata.json has no {where} with its num_channels."
        )
    return end


def _parser(root: Path, metadata: Mapping[str, Any], request: ImportRequest) -> ConfigParser:
    """Return the parser of the bundle's inference, on the CPU, nothing resolved yet."""
    for name in CONFIGS:
        path = root / "configs" / name
        if path.is_file():
            break
    else:
        raise PackageError(request.name, INVALID, f"there is no configs/{CONFIGS[0]} or .yaml.")
    parser = ConfigParser()
    try:
        parser.read_config(str(path))
        parser.read_meta(dict(metadata))
        parser["bundle_root"] = str(root)
        parser["device"] = "$torch.device('cpu')"
        parser.parse(reset=True)
    except EXPRESSION_ERRORS as error:
        raise PackageError(request.name, INVALID, f"configs/{path.name} cannot be read: {error}.") from error
    return parser


def _check_evaluator(parser: ConfigParser) -> None:
    """Raise where the run is not the plain one: preprocessing, inferer, network, postprocessing."""
    evaluator = parser.get("evaluator")
    target = evaluator.get("_target_") if isinstance(evaluator, dict) else None
    if target is not None and target not in EVALUATORS:
        raise UnsupportedError(f"its evaluator is {target}, not SupervisedEvaluator")
    for option in ("prepare_batch", "iteration_update"):
        if isinstance(evaluator, dict) and evaluator.get(option) is not None:
            raise UnsupportedError(f"its evaluator has {option}, code that changes what the network gets")


def _resolved(parser: ConfigParser, section: str, request: ImportRequest) -> Any:
    """Return a section of the configuration, references followed and expressions evaluated."""
    try:
        return parser.get_parsed_content(section)
    except EXPRESSION_ERRORS as error:
        cause = error.__cause__ or error
        raise PackageError(
            request.name, INVALID, f"{section} of the bundle's configuration cannot be resolved: {cause}."
        ) from error


def _network(
    root: Path, parser: ConfigParser, metadata: Mapping[str, Any], inside: int, request: ImportRequest
) -> Network:
    models = root / "models"
    path = next((models / name for name in WEIGHTS if (models / name).is_file()), None)
    if path is None:
        raise PackageError(request.name, INVALID, f"there is no models/{' or '.join(WEIGHTS)}.")
    if path.suffix == ".ts":
        return load_scripted(path)
    section = next((name for name in NETWORKS if name in parser), None)
    if section is None:
        raise PackageError(request.name, INVALID, "its configuration has neither network_def nor network.")
    fresh = _parser(root, metadata, request)
    return load_defined(_resolved(parser, section, request), fresh, section, path, inside)
