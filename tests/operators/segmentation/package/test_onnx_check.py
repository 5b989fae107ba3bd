"""ONNX files: the channels that the package declares, standard operators, weights inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.onnx_check import check_onnx
from operators.segmentation.package.types import Stage, Tile
from tests.operators.segmentation.package.build import onnx_model, stage


def declared(folder: Path, **changes: Any) -> Stage:
    (folder / "fold_0.onnx").touch()
    return stage(folder, **changes)


def check(folder: Path, model: onnx.ModelProto, **changes: Any) -> None:
    path = folder / "network.onnx"
    path.write_bytes(model.SerializeToString())
    check_onnx("two_organs", path, declared(folder, **changes))


def refused(folder: Path, model: onnx.ModelProto, **changes: Any) -> PackageError:
    with pytest.raises(PackageError, match="two_organs") as caught:
        check(folder, model, **changes)
    return caught.value


def test_accepts_what_is_declared_in_two_and_three_dimensions(tmp_path: Path) -> None:
    check(tmp_path, onnx_model(1, 3))
    check(tmp_path, onnx_model(1, 3, dimensions=2), dimensions=2, tile=Tile((1, 32, 32)))


@pytest.mark.parametrize(("channels_in", "channels_out", "words"), [(2, 3, "2 input"), (1, 4, "4 output")])
def test_refuses_other_channels(tmp_path: Path, channels_in: int, channels_out: int, words: str) -> None:
    error = refused(tmp_path, onnx_model(channels_in, channels_out))
    assert error.code == "MODEL_CHANNELS_WRONG"
    assert words in error.sentence


def test_refuses_an_output_that_does_not_say_its_channels(tmp_path: Path) -> None:
    assert refused(tmp_path, onnx_model(out_channels_named="c")).code == "MODEL_CHANNELS_WRONG"


def test_refuses_operators_of_other_domains(tmp_path: Path) -> None:
    error = refused(tmp_path, onnx_model(domain="com.example"))
    assert error.code == "MODEL_ONNX_REFUSED"
    assert "com.example:Conv" in error.sentence


def test_refuses_an_operator_of_another_domain_inside_a_branch(tmp_path: Path) -> None:
    model = onnx_model()
    inner = helper.make_graph([helper.make_node("F", [], ["y"], domain="com.example")], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    assert "com.example:F" in refused(tmp_path, model).sentence


def test_refuses_functions_of_its_own(tmp_path: Path) -> None:
    model = onnx_model()
    model.functions.append(helper.make_function("com.example", "F", [], [], [], []))
    assert "functions" in refused(tmp_path, model).sentence


def test_refuses_weights_in_another_file(tmp_path: Path) -> None:
    model = onnx_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    error = refused(tmp_path, model)
    assert error.code == "MODEL_ONNX_REFUSED"
    assert "another file" in error.sentence


def test_refuses_external_data_of_a_constant(tmp_path: Path) -> None:
    model = onnx_model()
    tensor = onnx.TensorProto(data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    model.graph.node.append(helper.make_node("Constant", [], ["k"], value=tensor))
    assert "another file" in refused(tmp_path, model).sentence


def test_refuses_two_inputs(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    assert "2 inputs" in refused(tmp_path, model).sentence


def test_initialisers_listed_as_inputs_are_none(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 1, 1, 1, 1]))
    check(tmp_path, model)


def test_refuses_a_2d_network_declared_as_3d(tmp_path: Path) -> None:
    assert "4 axes, not 5" in refused(tmp_path, onnx_model(dimensions=2)).sentence


def test_a_network_of_one_tile_size_must_be_declared_so(tmp_path: Path) -> None:
    check(tmp_path, onnx_model(tile=(16, 32, 32)))
    assert "one size" in refused(tmp_path, onnx_model(tile=(16, 16, 16))).sentence
    smaller = Tile((16, 32, 32), smaller=((16, 16, 16),))
    assert "one size" in refused(tmp_path, onnx_model(tile=(16, 32, 32)), tile=smaller).sentence


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"PK\x03\x04 no model at all"])
def test_refuses_a_file_that_is_no_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    with pytest.raises(PackageError, match="two_organs") as caught:
        check_onnx("two_organs", path, declared(tmp_path))
    assert caught.value.code == "MODEL_ONNX_REFUSED"
