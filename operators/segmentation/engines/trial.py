"""The trial of a session that was just loaded: one small tile must come back whole and finite."""

from __future__ import annotations

import torch

from operators.segmentation.engines import form
from operators.segmentation.engines.failures import running
from operators.segmentation.engines.session import EngineError, Session, UnavailableError
from operators.segmentation.package.types import Package, Shape, Stage

__all__ = ["NotFiniteError", "small_tile", "try_out"]


class NotFiniteError(UnavailableError):
    """A network gives values that are not numbers."""


def try_out(package: Package, stage: Stage, session: Session) -> None:
    """Compute noise with the first fold, in a small tile, or in a whole one where the network needs it.

    Raises
    ------
    EngineError
        As it was raised by the session; `NotFiniteError`; `UnavailableError` for an output of a wrong size.
    PackageError
        ``MODEL_CHANNELS_WRONG``: the number of classes is not the package's.
    """
    small = small_tile(stage)
    try:
        logits = _noise_through(session, stage, small)
    except EngineError as error:
        if small == stage.tile.size or type(error) is not EngineError:
            raise
        # some networks compute one size only
        small = stage.tile.size
        logits = _noise_through(session, stage, small)
    form.check_channels(package, stage, None, logits.shape[1])
    if tuple(logits.shape[2:]) != small:
        wanted, found = ("×".join(map(str, size)) for size in (small, logits.shape[2:]))
        raise UnavailableError(f"for a tile of {wanted} voxels the network gives one of {found}")
    with running():
        finite = bool(torch.isfinite(logits).all())
    if not finite:
        raise NotFiniteError("the network gives values that are infinite or not numbers")


def small_tile(stage: Stage) -> Shape:
    """A small size that the network most likely takes.

    U-Nets need multiples of their strides. nnU-Net halves an axis only while four voxels are left, so the
    stride divides the largest power of two that divides the tile and is at most a fourth of it; twice that
    leaves two voxels at the bottom.
    """
    z, y, x = (_small(size) for size in stage.tile.size)
    return (1 if stage.dimensions == 2 else z), y, x


def _small(size: int) -> int:
    power = 1
    while size % (2 * power) == 0 and 8 * power <= size:
        power *= 2
    return min(2 * power, size)


def _noise_through(session: Session, stage: Stage, size: Shape) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((1, stage.channels_in, *size), generator=generator)
    with running():
        logits = session.run(0, noise.to(session.device))
        if session.device.type == "cuda":
            # what was only queued fails here, where it is known whose failure it is
            torch.cuda.synchronize(session.device)
    return logits
