"""A long CT and a hundred classes in bounded memory: what is tested is the accumulation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MOST_BYTES = 8e9
CLASSES = 118

SCRIPT = """
import dataclasses, json, resource, sys, time
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from operators.domain import Geometry
from operators.segmentation.network.predict import predict
from operators.segmentation.network.types import Image
from operators.segmentation.options import Options
from operators.segmentation.package.types import Interpolation, Resampling, Tile
from tests.operators.segmentation.network import fakes
from operators.segmentation.package.types import Weights
from operators.segmentation.package.write import file_of

classes, folder = int(sys.argv[1]), Path(sys.argv[2])
torch.set_num_threads(2)
# a voxel belongs to the class whose value is nearest
values = np.array([-1000.0, *(np.arange(1, classes) * 0.1)], np.float32)
ends = [
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "z", "y", "x"])]
    for name, channels in (("image", 1), ("logits", classes))
]
nodes = [
    helper.make_node("Sub", ["image", "values"], ["apart"]),
    helper.make_node("Abs", ["apart"], ["distance"]),
    helper.make_node("Neg", ["distance"], ["logits"]),
]
constant = numpy_helper.from_array(values.reshape(1, -1, 1, 1, 1), "values")
graph = helper.make_graph(nodes, "nearest", *ends, [constant])
network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.save(network, folder / "fold_0.onnx")
stage = fakes.stage(
    tile=Tile((96, 96, 96)),
    classes=classes,
    spacing_mm=(1.5, 1.5, 1.5),
    image_resampling=Resampling(Interpolation.SPLINE, 3),
    output_resampling=Resampling(Interpolation.SPLINE, 1),
    weights=(Weights("0", onnx=file_of(folder, "fold_0.onnx")),),
)
package = dataclasses.replace(fakes.package(stage), folder=folder)
# an elliptic body of slabs and sectors, each a class
y, x = np.mgrid[:512, :512] - 256.0
body = (x / 240) ** 2 + (y / 170) ** 2 < 1
sector = ((np.arctan2(y, x) + np.pi) / (2 * np.pi) * 11.999).astype(int)
array = np.full((1, 1000, 512, 512), -1000.0, np.float32)
for z in range(1000):
    array[0, z][body] = (0.1 * np.minimum(1 + z // 100 * 12 + sector, classes - 1))[body]
image = Image(array, Geometry((1000, 512, 512), np.diag([1.0, 0.98, 0.98, 1.0])[[2, 1, 0, 3]], "1.2.3"))
began = time.perf_counter()
found = predict(package, image, Options(device="cpu"))
seconds = time.perf_counter() - began
right = np.mean([
    (found.labels[z] == np.where(body, np.minimum(1 + z // 100 * 12 + sector, classes - 1), 0)).mean()
    for z in range(50, 1000, 100)
])
print(json.dumps({
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "seconds": seconds,
    "cpu_seconds": time.process_time(),
    "labels": len(np.unique(found.labels)),
    "right": float(right),
    "tiles": found.run.tiles,
    "skipped": found.run.tiles_skipped,
    "notes": [note.code for note in found.notes],
    "times": dict(found.run.times_s),
}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_118_classes_on_a_metre_of_ct_take_less_than_8_gb(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(CLASSES), str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    print(report)
    assert report["notes"] == []
    assert report["labels"] == CLASSES
    assert report["right"] > 0.97
    assert report["peak"] <= MOST_BYTES
