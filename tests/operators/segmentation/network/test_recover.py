from dataclasses import replace

import pytest
import torch

from operators.errors import SegmentationRefusal
from operators.segmentation.engines.names import Precision
from operators.segmentation.engines.session import DeviceLostError, EngineError, OutOfMemoryError
from operators.segmentation.network.recover import Situation, first_attempt, next_attempt
from operators.segmentation.network.ring import NotFiniteError
from operators.segmentation.options import Options
from operators.segmentation.package.types import Tile, Weighting
from tests.operators.segmentation.network.fakes import stage

FIRST = first_attempt(stage(tile=Tile((32, 32, 32), smaller=((24, 24, 24), (16, 16, 16)))), Options())
GPU = Situation(True, "Fake GPU", "half", ring="cuda", size=(32, 32, 32))
CPU = Situation(False, "cpu", "single", ring="cpu", size=(32, 32, 32))


def test_nnunets_packages_are_summed_in_half_and_others_in_single():
    assert FIRST.sums is torch.float16
    monai = stage(tile=Tile((16, 16, 16), weighting=Weighting.MONAI_GAUSSIAN))
    assert first_attempt(monai, Options()).sums is torch.float32


@pytest.mark.parametrize(
    "error",
    [OutOfMemoryError("no"), torch.OutOfMemoryError("CUDA out of memory."), MemoryError()],
)
def test_a_gpu_without_memory_gives_up_the_sums_and_then_the_study_to_the_cpu(error):
    second, note = next_attempt(error, FIRST, GPU)
    assert (second.ring_on_host, second.without) == (True, frozenset())
    assert note.code == "NETWORK_SUMS_ON_HOST"
    third, note = next_attempt(error, second, replace(GPU, ring="cpu"))
    assert third.without == {"cuda"}
    assert note.code == "DEVICE_FELL_BACK"
    assert "Fake GPU" in note.sentence


@pytest.mark.parametrize(
    "error",
    [DeviceLostError("gone"), torch.AcceleratorError("CUDA error: unspecified launch failure")],
)
def test_a_lost_gpu_is_replaced_by_the_cpu_at_once(error):
    second, note = next_attempt(error, FIRST, GPU)
    assert second.without == {"cuda"}
    assert note.code == "DEVICE_FELL_BACK"


@pytest.mark.parametrize(
    "error",
    [
        EngineError("no kernel image"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED"),
        RuntimeError("x"),
    ],
)
def test_whatever_a_gpu_fails_with_the_cpu_computes(error):
    second, note = next_attempt(error, FIRST, GPU)
    assert second.without == {"cuda"}
    assert note.code == "DEVICE_FELL_BACK"


def test_a_fault_of_the_program_stays_one():
    with pytest.raises(RuntimeError, match="must match"):
        next_attempt(RuntimeError("sizes of tensors must match"), FIRST, CPU)


def test_a_cpu_without_memory_takes_smaller_tiles_and_then_refuses():
    second, note = next_attempt(OutOfMemoryError("no"), FIRST, CPU)
    assert second.sizes == ((24, 24, 24), (16, 16, 16))
    assert note.code == "NETWORK_TILE_REDUCED"
    assert "32×32×32" in note.sentence
    assert "24×24×24" in note.sentence
    third, _ = next_attempt(OutOfMemoryError("no"), second, replace(CPU, size=(24, 24, 24)))
    with pytest.raises(SegmentationRefusal, match="NOT_ENOUGH_MEMORY"):
        next_attempt(OutOfMemoryError("no"), third, replace(CPU, size=(16, 16, 16)))


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(SegmentationRefusal, match="NOT_ENOUGH_MEMORY"):
        next_attempt(OutOfMemoryError("no"), FIRST, Situation())


def test_a_lost_device_without_another_is_refused():
    with pytest.raises(SegmentationRefusal, match="DEVICE_LOST"):
        next_attempt(DeviceLostError("gone"), FIRST, CPU)


def test_values_that_are_not_numbers_are_tried_in_single_precision_and_then_refused():
    second, note = next_attempt(NotFiniteError(), FIRST, GPU)
    assert second.sums is torch.float32
    assert note.code == "NETWORK_SUMS_IN_SINGLE"
    third, note = next_attempt(NotFiniteError(), second, GPU)
    assert third.options.precision is Precision.SINGLE
    assert note.code == "NETWORK_RUN_IN_SINGLE"
    with pytest.raises(SegmentationRefusal, match="MODEL_OUTPUT_NOT_FINITE"):
        next_attempt(NotFiniteError(), third, replace(GPU, precision="single"))
