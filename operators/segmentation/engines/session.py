"""The one interface of all engines: tiles in, logits out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, slots=True)
class Facts:
    """What a session really uses, for results.json and the report."""

    engine: str
    """``openvino``."""
    version: str
    provider: str
    """``CPU``, ``CUDAExecutionProvider``, ``cuda``: as the engine itself names it after loading."""
    device: str
    """``cpu`` or the accelerator's name."""
    precision: str


class Session(Protocol):
    """The loaded networks of one stage: every fold that was asked for."""

    @property
    def facts(self) -> Facts: ...

    @property
    def device(self) -> torch.device:
        """Where tiles are expected and logits come out."""

    @property
    def folds(self) -> int: ...

    def run(self, fold: int, tiles: torch.Tensor) -> torch.Tensor:
        """Run one fold's network.

        Parameters
        ----------
        fold : int
            Index into the folds.
        tiles : tensor of float32, shape (n, channel, z, y, x), on `device`, contiguous
            A 2D network gets z = 1 and takes the axis away and puts it back itself. Not changed.

        Returns
        -------
        tensor of float32, shape (n, class, z, y, x), on `device`
            Logits; the caller may write into it, and it is valid only until the next `run`.

        Raises
        ------
        OutOfMemoryError
            The device has no memory left for this batch; the session remains usable.
        DeviceLostError
            The device cannot be used any more.
        """

    def close(self) -> None:
        """Give back the device's memory."""


class EngineError(Exception):
    """An engine could not do what it was asked."""


class UnavailableError(EngineError):
    """The engine, its provider or the package's form of weights is not to be had: the sentence says which."""


class OutOfMemoryError(EngineError):
    """The device's memory is exhausted."""


class DeviceLostError(EngineError):
    """The device vanished, or its context is broken."""
