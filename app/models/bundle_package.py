"""The package of a MONAI bundle that was read: its stage, inputs, labels and papers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.models.bundle_network import Network, write_network
from app.models.bundle_output import Output
from app.models.bundle_transforms import Preprocessing, UnsupportedError
from app.models.request import ImportRequest
from app.models.words import line, text
from operators.segmentation.package.check import UNITS
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.terms import anatomy_of
from operators.segmentation.package.types import (
    Activation,
    Input,
    Interpolation,
    Label,
    Modality,
    Normalisation,
    Origin,
    Package,
    Quality,
    Resampling,
    Scheme,
    Stage,
    Task,
    Tile,
    Weights,
)
from operators.segmentation.package.write import file_of, write_package

UNDESCRIBED = "MODEL_UNDESCRIBED"
MONAI_ORDER = (2, 1, 0)
"""MONAI's arrays are (x, y, z)."""
WORDS = {
    "CT": Modality.CT,
    "HU": Modality.CT,
    "HOUNSFIELD": Modality.CT,
    "PT": Modality.PET,
    "PET": Modality.PET,
    "SUV": Modality.PET,
    "SUVBW": Modality.PET,
}
BACKGROUND = frozenset({"background", "bg", "back ground"})
SEMANTIC = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Bundle:
    """The parts of a bundle, resolved."""

    metadata: Mapping[str, Any]
    inside: int
    """Input channels."""
    outside: int
    """Output channels."""
    preprocessing: Preprocessing
    tile: Tile
    output: Output
    network: Network


def write_bundle_package(bundle: Bundle, target: Path, request: ImportRequest) -> Package:
    """Write a bundle's package into a folder.

    Raises
    ------
    UnsupportedError
        The network or its channels have no equal in a package.
    PackageError
        ``MODEL_UNDESCRIBED``: the bundle does not say what its inputs are or how they lie.
    """
    inputs, labels = _inputs(bundle, request), _labels(bundle, request)
    stage = _stage(bundle, target, request)
    said = bundle.metadata
    version = str(said.get("version", ""))
    package = Package(
        folder=target,
        name=request.name,
        version=version if SEMANTIC.fullmatch(version) else request.version,
        title=line(_text(said.get("name") or said.get("task")) or request.name, 200),
        task=request.task,
        description=_text(said.get("description")),
        licence=request.licence or _text(said.get("license") or said.get("copyright")),
        training_data=request.training_data or _text(said.get("data_source")),
        citation=request.citation or "\n".join(_text(each) for each in said.get("references") or []),
        tracers=request.tracers,
        inputs=inputs,
        grid=Modality.PET if any(each.modality is Modality.PET for each in inputs) else Modality.CT,
        labels=labels,
        stages=(stage,),
        quality=_quality(said),
        int8_dice_loss=None,
        origin=Origin("monai_bundle", request.sha256, request.importer),
        digest="",
    )
    return write_package(package)


def _stage(bundle: Bundle, target: Path, request: ImportRequest) -> Stage:
    before, output, tile = bundle.preprocessing, bundle.output, bundle.tile
    onnx, state = write_network(bundle.network, bundle.inside, bundle.outside, tile.size, target)
    weights = Weights(
        fold="0",
        onnx=file_of(target, onnx),
        state_dict=None if state is None else file_of(target, state),
    )
    return Stage(
        name="bundle",
        dimensions=3,
        channels_in=bundle.inside,
        channels_out=bundle.outside,
        orientation=_orientation(before, request),
        transpose=MONAI_ORDER,
        spacing_mm=before.spacing_mm,
        crop=before.crop,
        image_resampling=Resampling(Interpolation.WORLD_LINEAR),
        output_resampling=output.resampling,
        resampled=output.resampled,
        tile=tile,
        mirror_axes=(),
        activation=output.activation,
        channel_labels=_channel_labels(bundle),
        weights=(weights,),
        architecture=bundle.network.architecture if state is not None else None,
        order=before.order,
    )


def _orientation(before: Preprocessing, request: ImportRequest) -> str | None:
    if before.orientation is not None:
        return before.orientation
    if request.orientation is None:
        raise PackageError(
            request.name,
            UNDESCRIBED,
            "the bundle has no Orientationd: say in which orientation its training images were stored "
            "(--orientation RAS; none: as the scanner stores them).",
        )
    return None if request.orientation == "none" else request.orientation.upper()


def _channel_names(bundle: Bundle) -> list[str]:
    """Return the names of the output channels, as far as the bundle gives them."""
    names = bundle.metadata["network_data_format"]["outputs"]["pred"].get("channel_def") or {}
    ordered = [str(names[key]) for key in sorted(names, key=int)]
    if bundle.outside == 1 and len(ordered) == 2 and ordered[0].lower() in BACKGROUND:
        return ordered[1:]  # one channel, described by the values of its mask
    return ordered


def _channel_labels(bundle: Bundle) -> tuple[int, ...]:
    """Return the label of each output channel: with softmax its index, as MONAI's argmax gives it."""
    names = _channel_names(bundle)
    if len(names) != bundle.outside:
        raise UnsupportedError(
            f"metadata.json names {len(names)} output channels (channel_def) of {bundle.outside}"
        )
    first_is_background = names[0].lower() in BACKGROUND
    if bundle.output.activation is Activation.SOFTMAX and not first_is_background:
        raise UnsupportedError(f"the first of its exclusive channels is {names[0]!r}, not background")
    return tuple(range(bundle.outside) if first_is_background else range(1, bundle.outside + 1))


def _labels(bundle: Bundle, request: ImportRequest) -> tuple[Label, ...]:
    pairs = zip(_channel_labels(bundle), _channel_names(bundle), strict=True)
    return tuple(_label(value, line(name, 64), request.task) for value, name in pairs if value != 0)


def _label(value: int, name: str, task: Task) -> Label:
    if task is not Task.ORGANS:
        return Label(value, name)
    anatomy = anatomy_of(name)
    return Label(value, name, code=anatomy.code, side=anatomy.side)


def _modalities(bundle: Bundle, request: ImportRequest) -> tuple[Modality, ...]:
    if request.modalities is not None:
        found: tuple[Modality | None, ...] = request.modalities
    else:
        image = bundle.metadata["network_data_format"]["inputs"]["image"]
        names = image.get("channel_def") or {}
        texts = [str(names.get(str(channel), "")) for channel in range(bundle.inside)]
        if bundle.inside == 1:
            texts = [f"{image.get('modality', '')} {image.get('format', '')}"]
        found = tuple(_modality(text) for text in texts)
    known = tuple(modality for modality in found if modality is not None)
    if len(known) != bundle.inside:
        raise PackageError(
            request.name,
            UNDESCRIBED,
            f"metadata.json does not say which of CT and PET each of the {bundle.inside} input channels is; "
            "name them (--modality, once for each channel in order: CT or PT).",
        )
    return known


def _modality(text: str) -> Modality | None:
    words = re.split(r"[^A-Z]+", text.upper())
    return next((WORDS[word] for word in words if word in WORDS), None)


def _inputs(bundle: Bundle, request: ImportRequest) -> tuple[Input, ...]:
    modalities = _modalities(bundle, request)
    chains = bundle.preprocessing.normalisations
    inputs = []
    for channel, (modality, chain) in enumerate(zip(modalities, chains, strict=True)):
        _check_unit(bundle, modality, chain, request)
        again = modalities[:channel].count(modality)
        inputs.append(
            Input(
                name=modality.name if not again else f"{modality.name} {again + 1}",
                modality=modality,
                unit=UNITS[modality],
                normalisation=chain[0] if chain else Normalisation(Scheme.NONE),
                then=chain[1:],
            )
        )
    return tuple(inputs)


def _check_unit(
    bundle: Bundle, modality: Modality, chain: tuple[Normalisation, ...], request: ImportRequest
) -> None:
    """Raise where the bundle's PET may be in another unit than SUVbw and the network would notice."""
    image = bundle.metadata["network_data_format"]["inputs"]["image"]
    stated = "suv" in json.dumps([image.get("format", ""), image.get("channel_def", "")]).lower()
    indifferent = bool(chain) and chain[0].scheme in {Scheme.ZSCORE, Scheme.MINMAX}
    if modality is Modality.PET and not stated and not indifferent:
        raise PackageError(
            request.name,
            UNDESCRIBED,
            "metadata.json does not say that its PET is in SUV: write 'suv' as the format of the input "
            "when it is, and import again.",
        )


def _text(value: Any) -> str:
    """Return a text of the bundle, without what is no text."""
    return text(value) if isinstance(value, str) else ""


def _quality(said: Mapping[str, Any]) -> tuple[Quality, ...]:
    """Return what the bundle's author states as measured."""
    metrics = said.get("eval_metrics") or {}
    data = "as the bundle's author states it"
    return tuple(
        Quality(line(name, 200), float(value), "1", data)
        for name, value in metrics.items()
        if isinstance(value, int | float) and math.isfinite(value)
    )
