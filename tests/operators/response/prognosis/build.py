"""Studies of known lesions, and small models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from operators.domain import (
    Algorithm,
    Claim,
    Departure,
    Fact,
    LesionCalibration,
    PredictedDice,
    Quality,
    Quantified,
    Segmented,
    Tracer,
)
from operators.quantification.lesions import measure_lesions
from operators.quantification.totals import total
from operators.response.prognosis.types import (
    File,
    Form,
    Input,
    Kind,
    Network,
    OutcomeModel,
    Output,
    Patch,
    Population,
    Term,
    TermShape,
)
from operators.response.prognosis.write import file_of, write_model
from tests.operators.conftest import build_volume, build_volumes

SUV = "g/ml{SUVbw}"
SARCOMA = Fact("diagnosis", "soft_tissue_sarcoma", source="job.json")


def study(
    *sizes: tuple[int, float],
    claim: Claim = Claim.LESION,
    tracer: str = "fdg",
    dice: float | None = 0.8,
    departures: tuple[Departure, ...] = (),
    guarded: bool = True,
) -> Quantified:
    """A study with a lesion for each (voxels of 0.1 ml, SUV), from the hottest down."""
    shape = (20 * max(len(sizes), 1), 30, 30)
    stored = np.full(shape, 0.5, np.float32)
    for place, (voxels, suv) in enumerate(sizes):
        block = stored[20 * place : 20 * place + 18].reshape(-1)
        block[:voxels] = suv
    pet = build_volume(stored, spacing_mm=(4.0, 5.0, 5.0))
    volumes = build_volumes(pet)
    volumes = replace(volumes, selection=replace(volumes.selection, tracer=Tracer(tracer, None, None, "")))
    mask = stored > 1.0
    quality = Quality(
        np.zeros(shape, np.float16),
        LesionCalibration(1, 0, 0, ""),
        None if dice is None else PredictedDice(dice, 0.1, 38, "folds"),
        {},
        departures,
    )
    algorithm = Algorithm("network", "Network", "1", (), "", "cpu")
    segmented = Segmented(volumes, mask, claim, algorithm, (), quality=quality if guarded else None)
    lesions = measure_lesions(pet, mask)
    withheld = None if claim is Claim.LESION else "Physiological uptake has not been removed."
    return Quantified(segmented, lesions, total(lesions), withheld, ())


def logistic(folder: Path, **changes: Any) -> OutcomeModel:
    """log odds = -2 + 1.5 ln(SUVmax of the largest lesion) - 0.02 age"""
    model = OutcomeModel(
        folder=folder / "small",
        digest="",
        name="small",
        version="1.0.0",
        title="A small model",
        outcome="relapse",
        outputs=(Output(Kind.PROBABILITY),),
        population=Population("Adults with sarcoma.", ("fdg",), ("soft_tissue_sarcoma",)),
        inputs=(
            Input("largest_suv_max", "SUVmax", SUV, low=2.0, high=40.0, reference=10.0),
            Input("age_years", "Age", "a", low=18.0, high=100.0, reference=50.0),
        ),
        form=Form.LOGISTIC,
        citation="Somebody 2024",
        performance="AUC 0.8",
        training_data="38 patients",
        licence="CC0-1.0",
        verification="fitted",
        event="relapse",
        no_event="no relapse",
        intercept=-2.0,
        terms=(
            Term("largest_suv_max", TermShape.LOG, 1.5),
            Term("age_years", TermShape.LINEAR, -0.02),
        ),
    )
    return replace(model, **changes)


def written(model: OutcomeModel) -> OutcomeModel:
    return write_model(model, "# A small model\n")


def age(years: float) -> Fact:
    return Fact("age_years", years, "a", "job.json")


def linear_network(path: Path, weights: list[float], bias: float = 0.0, *, domain: str = "") -> None:
    """An ONNX file that computes inputs times weights plus bias, (n, inputs) to (n, 1)."""
    node = helper.make_node("Gemm", ["features", "w", "b"], ["out"], domain=domain)
    constants = [
        helper.make_tensor("w", TensorProto.FLOAT, [len(weights), 1], weights),
        helper.make_tensor("b", TensorProto.FLOAT, [1], [bias]),
    ]
    save(path, node, len(weights), domain, constants)


def save(
    path: Path, node: onnx.NodeProto, inputs: int, domain: str, constants: Sequence[TensorProto] = ()
) -> None:
    """An ONNX file of one node, (n, inputs) to (n, 1)."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 1])],
        list(constants),
    )
    _save(path, graph, domain)


def mean_network(path: Path, shape: tuple[int, int, int], channels: int = 1) -> None:
    """An ONNX file that computes the mean of a patch, (1, channel, z, y, x) to (1, 1, 1, 1, 1)."""
    axes = [1, channels, *shape]
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["patch"], ["out"])],
        "mean",
        [helper.make_tensor_value_info("patch", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, channels, 1, 1, 1])],
    )
    _save(path, graph, "")


def _save(path: Path, graph: onnx.GraphProto, domain: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))


def with_network(model: OutcomeModel, network: Network) -> OutcomeModel:
    """The model as one of the form onnx, its file being in its folder."""
    file = file_of(model.folder, network.file.path)
    network = replace(network, file=file)
    return replace(model, form=Form.ONNX, terms=(), intercept=0.0, network=network)


FILE = File("net.onnx", 1, "0" * 64)
__all__ = [
    "FILE",
    "SARCOMA",
    "SUV",
    "Patch",
    "age",
    "linear_network",
    "logistic",
    "mean_network",
    "save",
    "study",
    "with_network",
    "written",
]
