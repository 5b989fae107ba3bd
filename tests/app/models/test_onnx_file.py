"""ONNX files of others: checked, named as the engines expect, run once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from app.models.onnx_export import run_onnx
from app.models.onnx_file import convert_onnx
from app.models.request import ImportRefusal, ImportRequest
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import Task
from tests.app.models.drafts import DRAFT, Network


def exported(tmp_path: Path, *, dynamic: bool = True, opset: int = 17, **more: Any) -> Path:
    path = tmp_path / "net.onnx"
    axes = {"logits": {0: "b"}, "output_0": {0: "b"}} if dynamic else None
    torch.onnx.export(
        Network().eval(),
        (torch.zeros(1, 1, 8, 8, 8),),
        str(path),
        dynamo=False,
        opset_version=opset,
        input_names=["logits"],
        output_names=["output_0"],
        dynamic_axes=axes,
        **more,
    )
    return path


def convert(tmp_path: Path, source: Path, **stage: Any) -> Any:
    draft = json.loads(json.dumps(DRAFT))
    draft["stages"][0] |= stage
    request = ImportRequest("net", Task.LESIONS, "0" * 64, "theramap test", describe=draft)
    target = tmp_path / "net"
    target.mkdir()
    return convert_onnx(source, target, request)


def test_converts_and_renames_the_ends(tmp_path: Path) -> None:
    source = exported(tmp_path)
    package = convert(tmp_path, source)
    made = package.folder / "fold_0.onnx"
    graph = onnx.load(str(made)).graph
    assert [each.name for each in graph.input] == ["image"]
    assert [each.name for each in graph.output] == ["logits"]
    image = np.random.default_rng(1).standard_normal((1, 1, 8, 8, 8), np.float32)
    assert np.array_equal(run_onnx(made, image), run_onnx(source, image))


def test_renames_the_ends_inside_branches_too(tmp_path: Path) -> None:
    model = onnx.load(str(exported(tmp_path)))
    inside = list(model.graph.node)
    (end,) = model.graph.output
    branches = [
        onnx.helper.make_graph(inside, "branch", [], [onnx.helper.make_empty_tensor_value_info(end.name)])
        for _ in range(2)
    ]
    for branch, name in zip(branches, ("a", "b"), strict=True):
        branch.node[-1].output[0] = branch.output[0].name = name
    del model.graph.node[:]
    always = onnx.numpy_helper.from_array(np.array(True), "always")
    model.graph.initializer.append(always)
    chosen = onnx.helper.make_node(
        "If", ["always"], [end.name], then_branch=branches[0], else_branch=branches[1]
    )
    model.graph.node.append(chosen)
    onnx.save(model, str(tmp_path / "if.onnx"))
    package = convert(tmp_path, tmp_path / "if.onnx")
    image = np.random.default_rng(1).standard_normal((1, 1, 8, 8, 8), np.float32)
    expected = run_onnx(tmp_path / "if.onnx", image)
    assert np.array_equal(run_onnx(package.folder / "fold_0.onnx", image), expected)


def test_opens_a_fixed_number_of_tiles(tmp_path: Path) -> None:
    package = convert(tmp_path, exported(tmp_path, dynamic=False))
    made = package.folder / "fold_0.onnx"
    assert run_onnx(made, np.zeros((3, 1, 8, 8, 8), np.float32)).shape == (3, 2, 8, 8, 8)


def test_refuses_a_wrong_channel_count(tmp_path: Path) -> None:
    with pytest.raises(ImportRefusal) as caught:
        convert(tmp_path, exported(tmp_path), channels_in=2)
    assert caught.value.code == "CHANNELS_WRONG"


def test_refuses_a_wrong_number_of_classes(tmp_path: Path) -> None:
    with pytest.raises(PackageError) as caught:
        convert(tmp_path, exported(tmp_path), channels_out=3, channel_labels=[0, 1, 1])
    assert caught.value.code == "MODEL_CHANNELS_WRONG"


def test_refuses_what_is_no_onnx(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ImportRefusal) as caught:
        convert(tmp_path, path)
    assert caught.value.code == "SOURCE_DAMAGED"


def test_refuses_weights_in_another_file(tmp_path: Path) -> None:
    model = onnx.load(str(exported(tmp_path)))
    onnx.save(model, str(tmp_path / "out.onnx"), save_as_external_data=True, location="w", size_threshold=0)
    with pytest.raises((ImportRefusal, PackageError)):
        convert(tmp_path, tmp_path / "out.onnx")


def test_refuses_another_operator_set(tmp_path: Path) -> None:
    model = onnx.load(str(exported(tmp_path)))
    model.opset_import[0].version = 7
    onnx.save(model, str(tmp_path / "old.onnx"))
    with pytest.raises(ImportRefusal, match="standard operators"):
        convert(tmp_path, tmp_path / "old.onnx")
