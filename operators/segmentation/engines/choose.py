"""Which engine computes a stage: the first of a table that loads and really gives numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Protocol

import torch

from operators.domain import Note
from operators.errors import SegmentationRefusal
from operators.segmentation.devices import resolve_device
from operators.segmentation.engines.host import has_bfloat16
from operators.segmentation.engines.names import EngineName, Precision
from operators.segmentation.engines.session import (
    DeviceLostError,
    EngineError,
    OutOfMemoryError,
    Session,
    UnavailableError,
)
from operators.segmentation.engines.trial import NotFiniteError, try_out
from operators.segmentation.options import Options
from operators.segmentation.package.types import Package, Stage, Weights

__all__ = ["MOST_INT8_DICE_LOSS", "close_sessions", "open_session", "rest_sessions"]

MOST_INT8_DICE_LOSS = 0.005
"""Mean loss of Dice up to which int8 weights may run."""
_KEPT = 4
"""Sessions kept loaded: two stages of a lesion model and two of an organ model."""

Opener = Callable[[Package, Stage, tuple[Weights, ...], "Candidate"], "Kept"]


class Kept(Session, Protocol):
    """A session that can give back working memory and stay loaded."""

    def rest(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine on a device in a precision."""

    engine: EngineName
    device: str
    precision: Precision


_TITLES: Mapping[EngineName, str] = MappingProxyType(
    {
        EngineName.OPENVINO: "OpenVINO",
        EngineName.ONNXRUNTIME: "ONNX Runtime",
        EngineName.TENSORRT: "TensorRT",
        EngineName.TORCH: "PyTorch",
    }
)
_PLACES: Mapping[str, str] = MappingProxyType({"cuda": "the GPU", "cpu": "the CPU"})

_CANDIDATES = (
    Candidate(EngineName.TORCH, "cuda", Precision.HALF),
    Candidate(EngineName.TORCH, "cuda", Precision.SINGLE),
    Candidate(EngineName.ONNXRUNTIME, "cuda", Precision.SINGLE),
    Candidate(EngineName.TENSORRT, "cuda", Precision.HALF),
    Candidate(EngineName.TENSORRT, "cuda", Precision.SINGLE),
    Candidate(EngineName.OPENVINO, "cpu", Precision.SINGLE),
    Candidate(EngineName.OPENVINO, "cpu", Precision.BFLOAT16),
    Candidate(EngineName.OPENVINO, "cpu", Precision.INT8),
    Candidate(EngineName.ONNXRUNTIME, "cpu", Precision.SINGLE),
    Candidate(EngineName.TORCH, "cpu", Precision.SINGLE),
    Candidate(EngineName.TORCH, "cpu", Precision.BFLOAT16),
)
"""Everything that can compute, the preferred first."""
_ONLY_BY_NAME = (Precision.BFLOAT16, Precision.INT8)


def open_session(
    package: Package, stage: Stage, options: Options, *, without: frozenset[str] = frozenset()
) -> tuple[Session, tuple[Note, ...]]:
    """Open the session that computes a stage's networks, or give the one that is open already.

    Sessions stay open in the process, the last four, since a gateway runs study after study.

    Parameters
    ----------
    package : Package
    stage : Stage
        One of its stages.
    options : Options
        Device, engine, precision and folds.
    without : frozenset of str
        Devices that failed in this study: with ``cuda`` in it the CPU computes, even where the GPU was asked
        for by name, since a GPU that vanishes must not lose the study.

    Returns
    -------
    session : Session
        Has computed one small tile to finite numbers. Valid until four others were opened.
    notes : tuple of Note
        ``ENGINE_NOT_USED``: each engine that would have been preferred, and why it was not used.

    Raises
    ------
    SegmentationRefusal
        ``ENGINE_UNAVAILABLE``, ``FOLD_UNKNOWN``, ``PRECISION_UNAVAILABLE``, ``MODEL_OUTPUT_NOT_FINITE``,
        ``MODEL_CHANNELS_WRONG``, and those of `resolve_device`.
    OutOfMemoryError
        The weights do not fit into the host's memory.
    """
    weights = _chosen_folds(package, stage, options)
    if "cuda" in without:
        _sessions().drop_device("cuda")
    candidates = _candidates(package, options, without)
    failures: list[tuple[Candidate, EngineError]] = []
    for candidate in candidates:
        try:
            session = _sessions().get(package, stage, weights, candidate)
        except EngineError as error:
            # a copy: the error's own traceback would keep what was loaded in the device's memory
            failures.append((candidate, type(error)(str(error))))
        else:
            return session, _notes(failures)
    raise _refused(package, failures)


def rest_sessions() -> None:
    """Give back the working memory of every open session, such as before a step that needs much itself."""
    _sessions().rest()


def close_sessions() -> None:
    """Close every open session."""
    _sessions().close()


# ---- what may compute ---------------------------------------------------------------------------


def _chosen_folds(package: Package, stage: Stage, options: Options) -> tuple[Weights, ...]:
    if options.folds is None:
        return stage.weights
    known = {weights.fold: weights for weights in stage.weights}
    unknown = [fold for fold in options.folds if fold not in known]
    if unknown or not options.folds:
        raise SegmentationRefusal(
            "FOLD_UNKNOWN",
            f"The model {package.identity} has no fold {', '.join(unknown) or '(none was named)'}; it has "
            f"{', '.join(known)}.",
        )
    return tuple(known[fold] for fold in options.folds)


def _candidates(package: Package, options: Options, without: frozenset[str]) -> tuple[Candidate, ...]:
    """The rows of the table that fit what was asked for; there is at least one."""
    devices = _devices(options, without)
    on_devices = [row for row in _CANDIDATES if row.device in devices]
    # a GPU's precision and engine mean nothing to the CPU that takes its place
    asked, precision = options.engine, options.precision
    if "cuda" in without:
        precision = Precision.AUTO if precision is Precision.HALF else precision
        asked = EngineName.AUTO if asked is EngineName.TENSORRT else asked
    _check_precision(package, precision)
    named = [row for row in on_devices if _is_asked(asked, row.engine)]
    if not named:
        raise SegmentationRefusal(
            "ENGINE_UNAVAILABLE",
            f"{_TITLES[options.engine]} does not compute on {_PLACES[devices[0]]}. Choose the engine auto or "
            "the device auto.",
        )
    fitting = tuple(
        row
        for row in named
        if row.precision is precision or (precision is Precision.AUTO and row.precision not in _ONLY_BY_NAME)
    )
    if not fitting:
        there = " or ".join(dict.fromkeys(f"{_TITLES[row.engine]} on {_PLACES[row.device]}" for row in named))
        raise SegmentationRefusal(
            "PRECISION_UNAVAILABLE",
            f"The precision {precision} was asked for, which {there} does not have. Choose auto.",
        )
    return fitting


def _is_asked(asked: EngineName, engine: EngineName) -> bool:
    return asked is engine or (asked is EngineName.AUTO and engine is not EngineName.TENSORRT)


def _devices(options: Options, without: frozenset[str]) -> tuple[str, ...]:
    """Devices that may be taken, the preferred first."""
    if "cuda" in without:
        return ("cpu",)
    device = resolve_device(options.device)
    return ("cuda", "cpu") if options.device == "auto" and device == "cuda" else (device,)


def _check_precision(package: Package, precision: Precision) -> None:
    """Raise where a precision is not allowed for this package or on this processor."""
    if precision is Precision.INT8:
        loss = package.int8_dice_loss
        if loss is None or not loss <= MOST_INT8_DICE_LOSS:
            found = "was not measured" if loss is None else f"is {loss:.4f}"
            raise SegmentationRefusal(
                "PRECISION_UNAVAILABLE",
                f"The loss of Dice of the int8 weights of {package.identity} {found}; they run only up to "
                f"{MOST_INT8_DICE_LOSS}. Choose the precision auto.",
            )
    if precision is Precision.BFLOAT16 and not has_bfloat16():
        raise SegmentationRefusal(
            "PRECISION_UNAVAILABLE",
            "This computer's processor cannot multiply in bfloat16. Choose the precision auto.",
        )


# ---- opening ------------------------------------------------------------------------------------


def _open(package: Package, stage: Stage, weights: tuple[Weights, ...], candidate: Candidate) -> Kept:
    """Load an engine. Each is imported only here: they take seconds, and ONNX Runtime is an extra."""
    device = torch.device(candidate.device)
    try:
        if candidate.engine is EngineName.OPENVINO:
            from operators.segmentation.engines.openvino_session import OpenVinoSession  # noqa: PLC0415

            return OpenVinoSession(package, stage, weights, candidate.precision)
        if candidate.engine in (EngineName.ONNXRUNTIME, EngineName.TENSORRT):
            from operators.segmentation.engines.onnx_session import CUDA, TENSORRT, OnnxSession  # noqa: PLC0415

            providers = (TENSORRT, CUDA) if candidate.engine is EngineName.TENSORRT else None
            return OnnxSession(package, stage, weights, device, providers, candidate.precision)
        from operators.segmentation.engines.torch_session import TorchSession  # noqa: PLC0415

        return TorchSession(package, stage, weights, device, candidate.precision)
    except ImportError as error:
        raise UnavailableError(f"{_TITLES[candidate.engine]} is not installed: {error}") from error


_Key = tuple[str, str, tuple[str, ...], Candidate]


@dataclass(slots=True)
class _Sessions:
    """Open sessions of this process, the one used last at the end."""

    opener: Opener
    kept: OrderedDict[_Key, Kept] = field(default_factory=OrderedDict)

    def get(self, package: Package, stage: Stage, weights: tuple[Weights, ...], candidate: Candidate) -> Kept:
        """The session of a stage, opened and tried out when it is new; the others rest."""
        key = (package.digest, stage.name, tuple(w.fold for w in weights), candidate)
        self.rest(but=key)
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key]
        while len(self.kept) >= _KEPT:
            self.kept.popitem(last=False)[1].close()
        session = self._opened_if_others_leave_room(package, stage, weights, candidate)
        if session is None:
            self.close()
            session = self._opened(package, stage, weights, candidate)
        self.kept[key] = session
        return session

    def _opened_if_others_leave_room(
        self, package: Package, stage: Stage, weights: tuple[Weights, ...], candidate: Candidate
    ) -> Kept | None:
        try:
            return self._opened(package, stage, weights, candidate)
        except OutOfMemoryError:
            if not self.kept:
                raise
            return None  # tried again after the error, which holds what was loaded, is gone

    def _opened(
        self, package: Package, stage: Stage, weights: tuple[Weights, ...], candidate: Candidate
    ) -> Kept:
        session = self.opener(package, stage, weights, candidate)
        try:
            try_out(package, stage, session)
        except (EngineError, SegmentationRefusal):
            session.close()
            raise
        return session

    def rest(self, but: _Key | None = None) -> None:
        for key, session in self.kept.items():
            if key != but:
                session.rest()

    def drop_device(self, device: str) -> None:
        """Close the sessions of a device that failed."""
        for key in [key for key in self.kept if key[-1].device == device]:
            self.kept.pop(key).close()

    def close(self) -> None:
        while self.kept:
            self.kept.popitem()[1].close()


@cache
def _sessions() -> _Sessions:
    return _Sessions(_open)


# ---- what is said -------------------------------------------------------------------------------


def _notes(failures: list[tuple[Candidate, EngineError]]) -> tuple[Note, ...]:
    return tuple(
        Note("ENGINE_NOT_USED", f"{place} was not used: {reason}.") for place, reason in _told(failures)
    )


def _told(failures: list[tuple[Candidate, EngineError]]) -> list[tuple[str, str]]:
    """What failed, and why, each once: what fails in half precision may fail in single as well."""
    told = {(row.engine, row.device, _reason(error)): _place(row) for row, error in failures}
    return [(place, reason) for (_, _, reason), place in told.items()]


def _place(candidate: Candidate) -> str:
    how = f"{_TITLES[candidate.engine]} on {_PLACES[candidate.device]}"
    return f"{how} in half precision" if candidate.precision is Precision.HALF else how


def _reason(error: EngineError) -> str:
    if isinstance(error, OutOfMemoryError):
        return f"its memory does not suffice ({error})"
    if isinstance(error, DeviceLostError):
        return f"the device failed ({error})"
    return str(error).rstrip(".")


def _refused(package: Package, failures: list[tuple[Candidate, EngineError]]) -> Exception:
    """The refusal when nothing computes."""
    reasons = "; ".join(f"{place}: {reason}" for place, reason in _told(failures))
    # an engine that has no form of the weights to load says nothing about the model
    tried = [error for _, error in failures if type(error) is not UnavailableError]
    if tried and all(isinstance(error, NotFiniteError) for error in tried):
        return SegmentationRefusal(
            "MODEL_OUTPUT_NOT_FINITE",
            f"The model {package.identity} gives values that are infinite or not numbers ({reasons}). Its "
            "weights are damaged; import it again or use another model.",
        )
    if tried and all(isinstance(error, OutOfMemoryError) for error in tried):
        return OutOfMemoryError(reasons)
    return SegmentationRefusal(
        "ENGINE_UNAVAILABLE", f"The model {package.identity} cannot be computed here. {reasons}."
    )
