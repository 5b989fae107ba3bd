"""What is tried next when a stage's run fails: nothing is lost, and nothing is silent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from operators.domain import Note
from operators.errors import SegmentationRefusal
from operators.segmentation.engines.failures import meaning
from operators.segmentation.engines.names import Precision
from operators.segmentation.engines.session import DeviceLostError, EngineError, OutOfMemoryError
from operators.segmentation.network.ring import NotFiniteError
from operators.segmentation.options import Options
from operators.segmentation.package.types import Shape, Stage, Weighting

RECOVERABLE = (EngineError, RuntimeError, MemoryError, NotFiniteError)
"""Errors after which something else may be tried; RuntimeError is all that torch raises for itself."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a stage is to be run."""

    options: Options
    sizes: tuple[Shape, ...]
    """Tiles that may be used, the largest first."""
    sums: torch.dtype
    """Type in which tiles are summed."""
    without: frozenset[str] = frozenset()
    """Devices that failed in this study."""
    ring_on_host: bool = False
    """The GPU is left to the network."""


@dataclass(slots=True)
class Situation:
    """How far an attempt came."""

    on_gpu: bool = False
    """Whether a GPU computes; not known before the session is open, and opening one tries every device."""
    device_name: str = ""
    precision: str = ""
    ring: str = "cpu"
    """Type of the device on which tiles were summed."""
    size: Shape | None = None
    """The tile."""


def first_attempt(stage: Stage, options: Options, without: frozenset[str] = frozenset()) -> Attempt:
    """Everything as the package and the options have it."""
    half = stage.tile.weighting is Weighting.NNUNET_GAUSSIAN
    return Attempt(
        options,
        (stage.tile.size, *stage.tile.smaller),
        torch.float16 if half else torch.float32,
        without,
    )


def next_attempt(error: BaseException, attempt: Attempt, there: Situation) -> tuple[Attempt, Note]:
    """What to try after an attempt failed.

    Parameters
    ----------
    error : one of RECOVERABLE
    attempt : Attempt
        The one that failed.
    there : Situation
        Where it was then.

    Returns
    -------
    attempt : Attempt
        The whole stage is run again with it.
    note : Note
        What is different now, for the report.

    Raises
    ------
    SegmentationRefusal
        Nothing is left: ``NOT_ENOUGH_MEMORY``, ``MODEL_OUTPUT_NOT_FINITE``, ``DEVICE_LOST``,
        ``ENGINE_FAILED``.
    RuntimeError
        The error itself, where no GPU computes and it is not one of memory: a fault of the program.
    """
    if isinstance(error, NotFiniteError):
        return _after_not_finite(attempt, there)
    # torch's own errors come from what is done on the device between the network's runs
    known = error if isinstance(error, EngineError) else meaning(error)
    if isinstance(known, OutOfMemoryError):
        return _after_out_of_memory(attempt, there)
    if isinstance(known, DeviceLostError):
        return _after_lost_device(attempt, there)
    if there.on_gpu:
        return _on_cpu(attempt, there, f"it could not compute it ({known})")
    if not isinstance(error, EngineError):
        raise error
    raise SegmentationRefusal("ENGINE_FAILED", f"The network cannot be run: {known}.") from error


def _after_not_finite(attempt: Attempt, there: Situation) -> tuple[Attempt, Note]:
    if attempt.sums is torch.float16:
        return replace(attempt, sums=torch.float32), Note(
            "NETWORK_SUMS_IN_SINGLE",
            "The network's outputs are too large to be added up in half precision; they were added up in "
            "single precision.",
        )
    if there.precision != Precision.SINGLE and attempt.options.precision is not Precision.SINGLE:
        return replace(attempt, options=replace(attempt.options, precision=Precision.SINGLE)), Note(
            "NETWORK_RUN_IN_SINGLE",
            f"In {there.precision} precision the network gave values that are not numbers; it was run again "
            "in single precision.",
        )
    raise SegmentationRefusal(
        "MODEL_OUTPUT_NOT_FINITE",
        "The network gave values that are infinite or not numbers, so nothing can be concluded from it. Its "
        "weights are damaged or it does not suit this image; import the model again or use another one.",
    )


def _after_out_of_memory(attempt: Attempt, there: Situation) -> tuple[Attempt, Note]:
    if there.on_gpu:
        if there.ring == "cuda":
            return replace(attempt, ring_on_host=True), Note(
                "NETWORK_SUMS_ON_HOST",
                "The GPU's memory did not suffice; the network's outputs were added up in the computer's own "
                "memory. The result is the same.",
            )
        return _on_cpu(attempt, there, "its memory did not suffice for a single tile")
    smaller = tuple(size for size in attempt.sizes if _voxels(size) < _voxels(there.size))
    if smaller:
        return replace(attempt, sizes=smaller), Note(
            "NETWORK_TILE_REDUCED",
            f"The memory did not suffice for tiles of {_times(there.size)} voxels; the network was run with "
            f"{_times(smaller[0])}, which its package allows.",
        )
    raise SegmentationRefusal(
        "NOT_ENOUGH_MEMORY",
        "The memory of this computer does not suffice for the network's weights and a single tile. Close "
        "other programs or use a smaller model.",
    )


def _after_lost_device(attempt: Attempt, there: Situation) -> tuple[Attempt, Note]:
    if not there.on_gpu:
        raise SegmentationRefusal(
            "DEVICE_LOST", "The device that computed the network failed, and there is no other one."
        )
    return _on_cpu(attempt, there, "it failed while it computed")


def _on_cpu(attempt: Attempt, there: Situation, reason: str) -> tuple[Attempt, Note]:
    name = there.device_name or "the GPU"
    return replace(attempt, without=attempt.without | {"cuda"}, ring_on_host=True), Note(
        "DEVICE_FELL_BACK",
        f"The network was run on the processor in place of {name}, because {reason}. The result is the same "
        "up to rounding; it took longer.",
    )


def _voxels(size: Shape | None) -> int:
    z, y, x = size or (0, 0, 0)
    return z * y * x


def _times(size: Shape | None) -> str:
    return "×".join(str(n) for n in size or ())
