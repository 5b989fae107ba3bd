"""What a MONAI bundle does with its network's output, as declarations: inferer and postprocessing.

What comes out of MONAI's own run is a label map on the image's grid; what a package declares has to make the
same one. Steps that change the mask afterwards (the largest component only, holes filled) have no equal in a
package and are refused by name rather than left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from monai import transforms as mt
from monai.inferers import SlidingWindowInferer

from app.models.bundle_transforms import UnsupportedError, expect, flat, refuse, touches
from operators.segmentation.package.types import (
    Activation,
    Interpolation,
    Layout,
    Resampled,
    Resampling,
    Tile,
    Weighting,
)

WEIGHTINGS = {"constant": Weighting.CONSTANT, "gaussian": Weighting.MONAI_GAUSSIAN}


@dataclass(frozen=True, slots=True)
class Output:
    """From the network's output to the label map."""

    activation: Activation
    resampled: Resampled
    resampling: Resampling


@dataclass(frozen=True, slots=True)
class _State:
    key: str
    activation: Activation | None = None
    discrete: Activation | None = None
    """Rule by which probabilities became labels."""
    inverted: Resampled | None = None
    nearest: bool = True


def read_inferer(inferer: Any) -> Tile:
    """Translate a bundle's inferer.

    Raises
    ------
    UnsupportedError
        It is no sliding window, or one with an option that a package cannot say.
    """
    if type(inferer) is not SlidingWindowInferer:
        refuse(inferer, "gives the network no tiles of one size; only SlidingWindowInferer is supported")
    expect(
        inferer, "padding_mode", str(getattr(inferer.padding_mode, "value", inferer.padding_mode)), "constant"
    )
    expect(inferer, "cval", float(inferer.cval), 0.0)
    expect(inferer, "with_coord", inferer.with_coord, False)
    roi = inferer.roi_size
    sizes = (roi,) * 3 if isinstance(roi, int) else tuple(roi)
    if len(sizes) != 3 or not all(isinstance(size, int) and size > 0 for size in sizes):
        refuse(inferer, f"with roi_size={roi!r} does not give tiles of one size in three dimensions")
    return Tile(
        size=(sizes[0], sizes[1], sizes[2]),
        step=1 - _one(inferer, "overlap"),
        layout=Layout.DENSE,
        weighting=WEIGHTINGS[inferer.mode.value],
        sigma=_one(inferer, "sigma_scale"),
    )


def _one(inferer: Any, option: str) -> float:
    """Return an option that is the same along all axes."""
    value = getattr(inferer, option)
    values = {float(each) for each in (value if isinstance(value, list | tuple) else (value,))}
    if len(values) != 1:
        refuse(inferer, f"with {option}={value!r} differs between the axes")
    return values.pop()


def read_postprocessing(
    transforms: Iterable[Any], preprocessing: Any, channels: int, key: str = "pred"
) -> Output:
    """Translate the postprocessing of a bundle.

    Parameters
    ----------
    transforms : iterable of MONAI dictionary transforms
    preprocessing : object
        The bundle's, which `Invertd` must undo.
    channels : int
        Of the network's output.
    key : str
        Under which the network's output lies in the data dictionary.

    Raises
    ------
    UnsupportedError
        A transform, one of its options, or their order has no equal in a package.
    """
    state = _State(key)
    for transform in flat(transforms):
        if touches(transform, (key,)):
            reader = _READERS.get(type(transform))
            if reader is None:
                refuse(transform, "changes the output as no package does, and it may not be left out")
            state = reader(state, transform)
            if isinstance(transform, mt.Invertd) and transform.transform is not preprocessing:
                refuse(transform, "undoes something other than the preprocessing")
    return Output(_activation(state, channels), *_resampled(state))


def _activation(state: _State, channels: int) -> Activation:
    """Return the rule of the labels, when activation and rule agree."""
    if state.discrete is None:
        raise UnsupportedError("no AsDiscreted says how the output becomes labels")
    if state.discrete is Activation.SOFTMAX and state.activation is not Activation.SIGMOID:
        return Activation.SOFTMAX
    if state.activation is Activation.SOFTMAX and channels == 2:
        return Activation.SOFTMAX  # a probability of one half or more is the larger of two
    if state.discrete is Activation.SIGMOID and state.activation is Activation.SIGMOID:
        return Activation.SIGMOID
    raise UnsupportedError(
        "Activationsd and AsDiscreted do not go together: a package has softmax with argmax, "
        "or sigmoid with a threshold of 0.5"
    )


def _resampled(state: _State) -> tuple[Resampled, Resampling]:
    """Return what is brought back to the image's grid and how; else the labels, nearest neighbour."""
    if state.inverted is Resampled.LABELS and not state.nearest:
        raise UnsupportedError("Invertd interpolates labels; set nearest_interp")
    interpolation = Interpolation.WORLD_NEAREST if state.nearest else Interpolation.WORLD_LINEAR
    return state.inverted or Resampled.LABELS, Resampling(interpolation)


# -- readers, one for each kind of transform -------------------------------------------------------


def _options(state: _State, transform: Any, *names: str) -> list[Any]:
    """Return a transform's options for the output's key; it holds one of each for every key."""
    place = transform.keys.index(state.key)
    return [getattr(transform, name)[place] for name in names]


def _activate(state: _State, transform: Any) -> _State:
    softmax, sigmoid, other = _options(state, transform, "softmax", "sigmoid", "other")
    expect(transform, "other", other, None)
    expect(transform, "dim", transform.converter.kwargs.get("dim", 0), 0)
    if state.activation or state.discrete or softmax == sigmoid:
        refuse(transform, "comes twice, too late, or with neither or both of softmax and sigmoid")
    return replace(state, activation=Activation.SOFTMAX if softmax else Activation.SIGMOID)


def _discretise(state: _State, transform: Any) -> _State:
    argmax, threshold, rounding = _options(state, transform, "argmax", "threshold", "rounding")
    expect(transform, "rounding", rounding, None)
    expect(transform, "dim", transform.converter.kwargs.get("dim", 0), 0)
    expect(transform, "threshold", threshold, None, 0.5)
    if state.discrete or bool(argmax) == (threshold is not None):
        refuse(transform, "comes twice, or with neither or both of argmax and threshold")
    return replace(state, discrete=Activation.SOFTMAX if argmax else Activation.SIGMOID)


def _invert(state: _State, transform: Any) -> _State:
    nearest, after = _options(state, transform, "nearest_interp", "post_func")
    expect(transform, "post_func", after, None)
    if state.inverted:
        refuse(transform, "comes twice")
    if state.discrete:
        inverted = Resampled.LABELS
    else:
        inverted = Resampled.PROBABILITIES if state.activation else Resampled.LOGITS
    return replace(state, inverted=inverted, nearest=bool(nearest))


def _same(state: _State, transform: Any) -> _State:  # noqa: ARG001  the table's one signature
    return state


_READERS: Mapping[type, Callable[[_State, Any], _State]] = {
    mt.EnsureTyped: _same,
    mt.ToTensord: _same,
    mt.ToDeviced: _same,
    mt.SelectItemsd: _same,
    mt.SaveImaged: _same,
    mt.Activationsd: _activate,
    mt.AsDiscreted: _discretise,
    mt.Invertd: _invert,
}
"""The transforms that a package can declare."""
