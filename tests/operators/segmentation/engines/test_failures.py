"""Engines' own words for exhausted memory and lost devices."""

from __future__ import annotations

import pytest
import torch

from operators.segmentation.engines.failures import meaning, running, unavailable_unless
from operators.segmentation.engines.session import (
    DeviceLostError,
    EngineError,
    OutOfMemoryError,
    UnavailableError,
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), OutOfMemoryError),
        (MemoryError(), OutOfMemoryError),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            OutOfMemoryError,
        ),
        (RuntimeError("Exception from src/inference.cpp:1:\nstd::bad_alloc"), OutOfMemoryError),
        (RuntimeError("Failed to allocate memory for requested buffer of size 8"), OutOfMemoryError),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), OutOfMemoryError),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; hostname=x"), OutOfMemoryError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), OutOfMemoryError),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), OutOfMemoryError),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), DeviceLostError),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceLostError),
        (RuntimeError("CUDA error: unspecified launch failure"), DeviceLostError),
        (RuntimeError("CUDA failure 700: an illegal memory access"), DeviceLostError),
        (RuntimeError("no CUDA-capable device is detected"), DeviceLostError),
        (RuntimeError("Sizes of tensors must match except in dimension 1"), EngineError),
    ],
)
def test_tells_errors_apart(error: Exception, kind: type[EngineError]) -> None:
    assert type(meaning(error)) is kind


def test_says_the_line_that_says_something() -> None:
    assert str(
        meaning(RuntimeError("Exception from core.cpp:84:\n[ERROR] x\nUnable to read the model.\n"))
    ) == ("Unable to read the model")
    assert str(meaning(RuntimeError("Error(s) in loading:\n\tMissing key(s): a.\n\tsize"))) == (
        "Error(s) in loading: Missing key(s): a"
    )


def test_errors_of_running_and_loading() -> None:
    class TheirError(Exception):
        pass

    with pytest.raises(EngineError, match="broken"), running(TheirError):
        raise TheirError("broken")
    with pytest.raises(UnavailableError, match="cannot read a: broken"), unavailable_unless("cannot read a"):
        raise RuntimeError("broken")
    with pytest.raises(OutOfMemoryError), unavailable_unless("cannot read a"):
        raise MemoryError
    with pytest.raises(TheirError), running():
        raise TheirError
