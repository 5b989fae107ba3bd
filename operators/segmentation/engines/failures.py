"""What engines' own errors mean: memory exhausted, device lost, or not able to do it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from operators.segmentation.engines.session import (
    DeviceLostError,
    EngineError,
    OutOfMemoryError,
    UnavailableError,
)

__all__ = ["meaning", "running", "unavailable_unless"]

_LOST = (
    "device-side assert",
    "illegal memory access",
    "illegal instruction",
    "unspecified launch failure",
    "cuda error",
    "cuda failure",
    "cuda-capable device",
    "device is lost",
    "fallen off the bus",
    "uncorrectable ecc",
    "cublas_status_execution_failed",
    "cudnn_status_execution_failed",
    "cudnn_status_internal_error",
)
_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "std::bad_alloc",
    "cannot allocate",
    "failed to allocate",
    "could not allocate",
    "cuda_error_out_of_memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "available memory of",
    "unable to find an engine",
)
"""Looked for first: CUDA's own message of exhausted memory begins with "CUDA error" too. The last is what
torch says when no algorithm of cuDNN found room for its workspace."""


def meaning(error: BaseException) -> EngineError:
    """The engine error that an exception of torch, OpenVINO or ONNX Runtime stands for."""
    # torch tells of a lost device and of exhausted memory by classes; their names are looked at, so that
    # nothing needs to be imported
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = _first_line(error)
    lower = str(error).lower()
    if kinds & {"MemoryError", "OutOfMemoryError"} or any(words in lower for words in _MEMORY):
        return OutOfMemoryError(text)
    if kinds & {"AcceleratorError", "DeviceReset"} or any(words in lower for words in _LOST):
        return DeviceLostError(text)
    return EngineError(text)


@contextmanager
def running(*kinds: type[Exception]) -> Iterator[None]:
    """Turn what an engine raises while it computes into an `EngineError`."""
    caught: tuple[type[Exception], ...] = (RuntimeError, ValueError, MemoryError, *kinds)
    try:
        yield
    except caught as error:
        raise meaning(error) from error


@contextmanager
def unavailable_unless(sentence: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn what an engine raises while it loads into an `EngineError`: `UnavailableError` with the sentence
    and the engine's own words, unless memory or device failed.
    """
    caught: tuple[type[Exception], ...] = (RuntimeError, MemoryError, OSError, ValueError, *kinds)
    try:
        yield
    except caught as error:
        found = meaning(error)
        if type(found) is EngineError:
            raise UnavailableError(f"{sentence}: {found}") from error
        raise found from error


def _first_line(error: BaseException) -> str:
    """The first line that says something: engines append stacks and paths of their sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from", "[ERROR]"))]
    if not said:
        return type(error).__name__
    heading = said[0].endswith(":") and len(said) > 1
    return (f"{said[0]} {said[1]}" if heading else said[0])[:300].rstrip(".")
