"""What a MONAI bundle does to an image before its network and to the output after it, as declarations.

The bundle's transforms are objects by now; each kind that has an exact equal in a model package is read by a
function of its own, and every other kind is refused by its name. "Exact" is meant: the label maps have to be
those of the bundle run by MONAI itself.

References
----------
Cardoso et al., MONAI: An open-source framework for deep learning in healthcare, arXiv:2211.02701, 2022;
``monai.transforms``, release 1.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import torch
from monai import transforms as mt
from monai.utils import get_equivalent_dtype

from operators.segmentation.package.types import Crop, Normalisation, Order, Scheme

UNSUPPORTED = "MODEL_BUNDLE_UNSUPPORTED"
MONAI_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))
PROBE = (-2000.0, -1024.0, -1000.0, -1.0, -1e-3, -1e-6, 0.0, 1e-6, 1e-3, 0.5, 1.0, 40.0, 1000.0, 3000.0)
"""Values by which the foreground function of a crop, which is code, is recognised."""


class UnsupportedError(Exception):
    """The bundle does something that a package cannot say; the text names it."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The bundle's way from a file to the network's input, in MONAI's axis order (x, y, z)."""

    orientation: str | None
    """Three letters; None: the bundle does not orient."""
    spacing_mm: tuple[float | None, float | None, float | None] | None
    order: Order
    crop: Crop
    normalisations: tuple[tuple[Normalisation, ...], ...]
    """For each channel; empty: as it is."""


@dataclass(frozen=True, slots=True)
class _State:
    """What was read so far."""

    channels: Mapping[str, tuple[int, ...]]
    """Channels that lie under each key of the data dictionary."""
    normalisations: tuple[tuple[Normalisation, ...], ...]
    orientation: str | None = None
    spacing_mm: tuple[float | None, float | None, float | None] | None = None
    crop: Crop = Crop.NONE
    normalised_before: bool = False
    """Whether an intensity transform came before the resampling."""
    normalised_after: bool = False


def read_preprocessing(transforms: Iterable[Any], channels: int, key: str = "image") -> Preprocessing:
    """Translate the preprocessing of a bundle.

    Parameters
    ----------
    transforms : iterable of MONAI dictionary transforms
    channels : int
        Of the network's input.
    key : str
        Under which the network's input lies in the data dictionary.

    Raises
    ------
    UnsupportedError
        A transform, one of its options, or their order has no equal in a package.
    """
    listed = tuple(flat(transforms))
    state = _State(_keys(listed, channels, key), ((),) * channels)
    for transform in listed:
        if touches(transform, state.channels):
            reader = _READERS.get(type(transform))
            if reader is None:
                refuse(transform, "is not among the transforms that a package can declare")
            state = reader(state, transform)
    if state.normalised_before and state.normalised_after:
        raise UnsupportedError("intensities are changed both before and after Spacingd; do it on one side")
    resampled_first = state.spacing_mm is not None and not state.normalised_before
    return Preprocessing(
        orientation=state.orientation,
        spacing_mm=state.spacing_mm,
        order=Order.RESAMPLE_FIRST if resampled_first else Order.NORMALISE_FIRST,
        crop=state.crop,
        normalisations=state.normalisations,
    )


def flat(transforms: Iterable[Any]) -> Iterator[Any]:
    """Yield the transforms of a list with those of nested `Compose` in their place."""
    for transform in transforms:
        if type(transform) is mt.Compose:
            if transform.lazy:
                refuse(transform, "resamples lazily, which merges steps")
            yield from flat(transform.transforms)
        else:
            yield transform


def touches(transform: Any, keys: Iterable[str]) -> bool:
    """Whether a transform works on one of these keys; one without keys may work on anything."""
    own = getattr(transform, "keys", None)
    return not isinstance(own, tuple) or bool(set(own) & set(keys))


def refuse(transform: Any, why: str) -> NoReturn:
    """Raise with the transform's name."""
    raise UnsupportedError(f"{type(transform).__name__} {why}")


def expect(transform: Any, option: str, value: Any, *allowed: Any) -> None:
    """Raise unless an option has one of the values that a package can say."""
    if value not in allowed:
        refuse(transform, f"with {option}={value!r} has no equal in a package")


def expect_float(transform: Any, *dtypes: Any) -> None:
    """Raise unless voxels stay floating-point numbers of 32 bits or more."""
    for dtype in dtypes:
        if dtype is not None and get_equivalent_dtype(dtype, torch.Tensor) not in {
            torch.float32,
            torch.float64,
        }:
            refuse(transform, f"to {dtype} rounds the voxels, which a package does not")


def _keys(listed: tuple[Any, ...], channels: int, key: str) -> dict[str, tuple[int, ...]]:
    """Return the keys that end up in the network's input, and which channels each one is."""
    for transform in listed:
        if type(transform) is mt.ConcatItemsd and transform.name == key:
            if len(transform.keys) != channels or transform.dim != 0:
                refuse(transform, f"joins {len(transform.keys)} items for {channels} channels")
            return {name: (channel,) for channel, name in enumerate(transform.keys)}
    return {key: tuple(range(channels))}


# -- readers, one for each kind of transform -------------------------------------------------------


def _whole(state: _State, transform: Any) -> None:
    """Raise unless a spatial transform works on all channels."""
    if set(transform.keys) & state.channels.keys() != state.channels.keys():
        refuse(transform, "works on some of the input images only")


def _options(state: _State, transform: Any, *lists: Any) -> list[tuple[Any, ...]]:
    """Return the per-key options of a transform for the keys that matter."""
    rows = zip(transform.keys, *lists, strict=True)
    return [row[1:] for row in rows if row[0] in state.channels]


def _load(state: _State, transform: Any) -> _State:
    expect_float(transform, transform._loader.dtype)
    return state


def _type(state: _State, transform: Any) -> _State:
    dtypes = getattr(transform, "dtype", (getattr(transform.converter, "dtype", None),))
    expect_float(transform, *dtypes)
    return state


def _same(state: _State, transform: Any) -> _State:  # noqa: ARG001  the table's one signature
    return state


def _join(state: _State, transform: Any) -> _State:
    every = tuple(range(len(state.normalisations)))
    return replace(state, channels={transform.name: every})


def _orient(state: _State, transform: Any) -> _State:
    _whole(state, transform)
    orientation = transform.ornt_transform
    if state.spacing_mm is not None:
        refuse(transform, "after Spacingd moves the grid; orient first")
    if orientation.labels is not None:
        expect(transform, "labels", tuple(map(tuple, orientation.labels)), MONAI_LABELS)
    letters = "RAS" if orientation.as_closest_canonical else str(orientation.axcodes).upper()
    if len(letters) != 3:
        refuse(transform, f"to {letters!r} is not for three axes")
    return replace(state, orientation=letters)


def _space(state: _State, transform: Any) -> _State:
    _whole(state, transform)
    spacing = transform.spacing_transform
    if state.spacing_mm is not None:
        refuse(transform, "occurs twice")
    for option in ("diagonal", "recompute_affine"):
        expect(transform, option, getattr(spacing, option), False)
    for option in ("min_pixdim", "max_pixdim"):
        expect(transform, option, bool(np.isnan(getattr(spacing, option)).all()), True)
    lists = (transform.mode, transform.padding_mode, transform.scale_extent)
    for mode, padding_mode, scale_extent in _options(state, transform, *lists):
        expect(transform, "mode", mode, "bilinear")
        expect(transform, "padding_mode", padding_mode, "border")
        expect(transform, "scale_extent", scale_extent, False)
    given = [float(value) for value in spacing.pixdim[:3]]
    x, y, z = (value if value > 0 else None for value in given + given[-1:] * (3 - len(given)))
    return replace(state, spacing_mm=(x, y, z), normalised_before=any(state.normalisations))


def _crop(state: _State, transform: Any) -> _State:
    _whole(state, transform)
    cropper = transform.cropper
    if state.spacing_mm is not None or any(state.normalisations) or len(state.channels) != 1:
        refuse(transform, "must come before Spacingd and intensities, on the joined image")
    expect(transform, "source_key", transform.source_key, *state.channels)
    expect(transform, "channel_indices", cropper.channel_indices, None)
    expect(transform, "margin", bool(np.any(cropper.margin)), False)
    expect(transform, "k_divisible", bool(np.all(np.asarray(cropper.k_divisible) == 1)), True)
    probe = torch.tensor(PROBE)
    if not torch.equal(torch.as_tensor(cropper.select_fn(probe)), probe != 0):
        refuse(transform, "with a select_fn other than 'x != 0' has no equal in a package")
    return replace(state, crop=Crop.NONZERO)


def _add(state: _State, transform: Any, one: Callable[[int], Normalisation]) -> _State:
    """Append a normalisation to every channel that the transform works on."""
    touched = {channel for key in transform.keys for channel in state.channels.get(key, ())}
    chains = tuple(
        (*chain, one(channel)) if channel in touched else chain
        for channel, chain in enumerate(state.normalisations)
    )
    return replace(state, normalisations=chains, normalised_after=state.spacing_mm is not None)


def _own_statistics(state: _State, transform: Any, channel_wise: bool) -> None:
    """Raise where one statistic is taken over several channels."""
    if not channel_wise and any(len(state.channels.get(key, ())) > 1 for key in transform.keys):
        refuse(transform, "takes its statistics over all channels together; set channel_wise")


def _scale_range(state: _State, transform: Any) -> _State:
    scaler = transform.scaler
    expect_float(transform, scaler.dtype)
    bounded = scaler.b_min is not None and scaler.b_max is not None
    if not scaler.a_min < scaler.a_max or (scaler.clip and not bounded):
        refuse(transform, f"from {scaler.a_min} to {scaler.a_max} is no range, or clips without bounds")
    low, high = (float(scaler.b_min), float(scaler.b_max)) if bounded else (0.0, 1.0)
    normalisation = Normalisation(
        Scheme.RANGE,
        low=float(scaler.a_min),
        high=float(scaler.a_max),
        to_low=low,
        to_high=high,
        clip=bool(scaler.clip),
    )
    return _add(state, transform, lambda _: normalisation)


def _scale(state: _State, transform: Any) -> _State:
    scaler = transform.scaler
    expect_float(transform, scaler.dtype)
    if scaler.minv is None and scaler.maxv is None:
        factor = 1.0 + float(scaler.factor or 0.0)
        times = Normalisation(Scheme.RANGE, low=0.0, high=1.0, to_high=factor)
        return _add(state, transform, lambda _: times)
    _own_statistics(state, transform, scaler.channel_wise)
    bounded = scaler.minv is not None and scaler.maxv is not None
    low, high = (float(scaler.minv), float(scaler.maxv)) if bounded else (0.0, 1.0)
    normalisation = Normalisation(Scheme.MINMAX, to_low=low, to_high=high)
    return _add(state, transform, lambda _: normalisation)


def _standardise(state: _State, transform: Any) -> _State:
    normalizer = transform.normalizer
    expect_float(transform, normalizer.dtype)
    given = (normalizer.subtrahend is not None, normalizer.divisor is not None)
    if not any(given):
        _own_statistics(state, transform, normalizer.channel_wise)
        normalisation = Normalisation(Scheme.ZSCORE, masked=bool(normalizer.nonzero))
        return _add(state, transform, lambda _: normalisation)
    if not all(given) or normalizer.nonzero:
        refuse(transform, "with nonzero, or with one of subtrahend and divisor only, has no equal")
    if normalizer.channel_wise and len(state.channels) > 1:
        refuse(transform, "with numbers for each channel works on the joined image only")

    def one(channel: int) -> Normalisation:
        mean, sd = (
            float(value[channel] if normalizer.channel_wise else value)
            for value in (normalizer.subtrahend, normalizer.divisor)
        )
        if sd <= 0.0:
            refuse(transform, f"divides by {sd:g}")
        return Normalisation(Scheme.RANGE, low=mean, high=mean + sd)

    return _add(state, transform, one)


_READERS: Mapping[type, Callable[[_State, Any], _State]] = {
    mt.LoadImaged: _load,
    mt.EnsureChannelFirstd: _same,
    mt.EnsureTyped: _type,
    mt.ToTensord: _type,
    mt.CastToTyped: _type,
    mt.ToDeviced: _same,
    mt.SelectItemsd: _same,
    mt.Identityd: _same,
    mt.ConcatItemsd: _join,
    mt.Orientationd: _orient,
    mt.Spacingd: _space,
    mt.CropForegroundd: _crop,
    mt.ScaleIntensityRanged: _scale_range,
    mt.ScaleIntensityd: _scale,
    mt.NormalizeIntensityd: _standardise,
}
"""The transforms that a package can declare."""
