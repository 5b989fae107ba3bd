"""Real packages that are damaged, wrong or too much for the machine: a clear refusal or a named fall-back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from operators.domain import Geometry
from operators.errors import SegmentationRefusal
from operators.segmentation.engines import choose
from operators.segmentation.engines.session import DeviceLostError
from operators.segmentation.network import predict as prediction
from operators.segmentation.network.predict import predict
from operators.segmentation.network.types import Image
from operators.segmentation.options import Options
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Package
from operators.segmentation.package.write import file_of, write_package
from tests.operators.segmentation.network.fakes import FakeSession
from tests.tiny_models import FILE, write_intervals

CPU = Options(device="cpu", skip_air=False)


@pytest.fixture(autouse=True)
def no_session_stays_open():
    choose.close_sessions()
    yield
    choose.close_sessions()


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return write_intervals(tmp_path, "intervals", {"one": 1.0, "two": 2.0})


def image(low: float = 0.0, high: float = 3.0) -> Image:
    ramp = np.linspace(low, high, 50 * 20 * 60, dtype=np.float32).reshape(1, 50, 20, 60)
    return Image(ramp, Geometry((50, 20, 60), np.eye(4)[[2, 1, 0, 3]], "1.2.3"))


def with_network(package: Package, network: onnx.GraphProto) -> Package:
    """The package with another ONNX network, its digests in order."""
    path = package.folder / FILE
    onnx.save(helper.make_model(network, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    (stage,) = package.stages
    weights = (dataclasses.replace(stage.weights[0], onnx=file_of(package.folder, FILE)),)
    changed = dataclasses.replace(package, stages=(dataclasses.replace(stage, weights=weights),))
    return write_package(changed)


def convolution(weights: np.ndarray) -> onnx.GraphProto:
    """A 1×1×1 convolution with a weight for each class."""
    axes = ["z", "y", "x"]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, *axes])]
        for name, channels in (("image", 1), ("logits", len(weights)))
    ]
    node = helper.make_node("Conv", ["image", "w"], ["logits"])
    constant = numpy_helper.from_array(weights.astype(np.float32).reshape(-1, 1, 1, 1, 1), "w")
    return helper.make_graph([node], "convolution", *ends, [constant])


def test_the_sound_package_finds_its_intervals(package: Package) -> None:
    found = predict(package, image(), CPU)
    assert (found.labels == np.digitize(image().array[0], [1.0, 2.0])).mean() > 0.999
    assert found.run.device == "cpu"


def test_corrupt_weights_are_refused_by_name(package: Package) -> None:
    path = package.folder / FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SegmentationRefusal, match="MODEL_FILE_CHANGED") as refused:
        read_package(package.folder)
    assert "intervals" in refused.value.sentence


def test_weights_that_no_engine_can_load_are_refused(package: Package) -> None:
    (package.folder / FILE).write_bytes(b"no network at all")
    with pytest.raises(SegmentationRefusal, match="ENGINE_UNAVAILABLE") as refused:
        predict(package, image(), CPU)
    assert "intervals@1.0.0" in refused.value.sentence


def test_a_wrong_number_of_classes_is_refused(package: Package) -> None:
    wrong = dataclasses.replace(package, digest="2" * 64)
    onnx.save(
        helper.make_model(convolution(np.ones(5)), opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        package.folder / FILE,
    )
    with pytest.raises(SegmentationRefusal, match="MODEL_CHANNELS_WRONG"):
        predict(wrong, image(), CPU)


def test_weights_that_are_not_numbers_are_refused(package: Package) -> None:
    broken = with_network(package, convolution(np.array([0.0, np.nan, 1.0])))
    with pytest.raises(SegmentationRefusal, match="infinite or not numbers"):
        predict(broken, image(), CPU)


def test_an_image_that_drives_the_network_to_infinity_is_refused(package: Package) -> None:
    steep = with_network(package, convolution(np.array([0.0, 1e20, -1e20])))
    with pytest.raises(SegmentationRefusal, match="MODEL_OUTPUT_NOT_FINITE"):
        predict(steep, image(1e20, 2e20), CPU)


def test_an_all_background_model_is_said(package: Package) -> None:
    nothing = with_network(package, convolution(np.array([1.0, 0.0, -1.0])))
    found = predict(nothing, image(1.0), CPU)
    assert not found.labels.any()
    assert "MODEL_FOUND_NOTHING" in [note.code for note in found.notes]


def test_a_gpu_that_vanishes_leaves_the_study_to_the_real_cpu_engine(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(tiles: torch.Tensor) -> torch.Tensor:
        raise DeviceLostError("CUDA error: unspecified launch failure")

    def open_session(package, stage, options, *, without):
        if not without:
            return FakeSession(vanish, gpu="Fake GPU"), ()
        return choose.open_session(package, stage, options, without=without)

    monkeypatch.setattr(prediction, "open_session", open_session)
    found = predict(package, image(), dataclasses.replace(CPU, device="cuda"))
    assert [note.code for note in found.notes] == ["DEVICE_FELL_BACK"]
    assert found.run.device == "cpu"
    monkeypatch.undo()
    assert (found.labels == predict(package, image(), CPU).labels).all()


def test_too_little_memory_is_refused_with_what_is_needed(package: Package) -> None:
    with pytest.raises(SegmentationRefusal, match="NOT_ENOUGH_MEMORY") as refused:
        predict(package, image(), dataclasses.replace(CPU, memory_bytes=1_000_000))
    assert "GB of free memory" in refused.value.sentence
