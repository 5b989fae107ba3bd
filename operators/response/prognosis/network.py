"""Models in the form of ONNX: their check, their run by ONNX Runtime, and exact Shapley values."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.response.prognosis.errors import OutcomeModelError
from operators.response.prognosis.types import Activation, Network, OutcomeModel
from operators.segmentation.package.errors import PackageError

DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
"""The last holds the trees and scalers of classical machine learning; ONNX Runtime computes them itself."""
MOST_EXPLAINED = 10
"""Inputs up to which Shapley values are computed: 2 to this power runs for each background patient."""
_FLOAT = 1
"""TensorProto.FLOAT."""

Rows = NDArray[np.float64]


def check_network(model: OutcomeModel, network: Network) -> None:
    """Check an ONNX file: standard operators, weights inside, the ports that the model names.

    Raises
    ------
    OutcomeModelError
        ``OUTCOME_MODEL_FILE``.
    """
    from operators.segmentation.package.onnx_check import standard_model  # noqa: PLC0415  loads onnx

    path = model.folder / network.file.path
    try:
        graph = standard_model(model.name, path, DOMAINS).graph
    except PackageError as error:
        raise OutcomeModelError(model.name, "OUTCOME_MODEL_FILE", error.sentence) from error
    constants = {tensor.name for tensor in graph.initializer}
    given = {each.name: each.type.tensor_type.elem_type for each in graph.input if each.name not in constants}
    patch = None if network.patch is None else network.patch.port
    wanted = {port for port in (network.port, patch) if port is not None}
    if given.keys() != wanted or network.output not in {each.name for each in graph.output}:
        fault = (
            f"{network.file.path} does not have the ports that the model names: {', '.join(sorted(wanted))}"
        )
        raise OutcomeModelError(model.name, "OUTCOME_MODEL_FILE", f"{fault}, {network.output}.")
    if any(kind != _FLOAT for kind in given.values()):
        fault = f"an input of {network.file.path} is not of single precision (float)."
        raise OutcomeModelError(model.name, "OUTCOME_MODEL_FILE", fault)


def run_network(
    model: OutcomeModel, rows: Rows, patch: NDArray[np.float32] | None, device: str = "cpu"
) -> NDArray[np.float64]:
    """Compute a model's network.

    Parameters
    ----------
    model : OutcomeModel
        Of the form onnx.
    rows : ndarray of float64, shape (n, inputs)
        In the inputs' units; not normalised.
    patch : ndarray of float32, shape (1, channel, z, y, x), or None
        Where the network takes one; n is 1 then.
    device : str
        ``cpu`` or ``cuda``.

    Returns
    -------
    ndarray of float64, shape (n,)
        After the activation.

    Raises
    ------
    OutcomeModelError
        ``OUTCOME_MODEL_FAILED``: ONNX Runtime is not installed, the device is not to be had, or the result is
        not a finite number for each row.
    """
    from operators.segmentation.engines.session import EngineError  # noqa: PLC0415  loads torch

    network = _network_of(model)
    feeds: dict[str, Any] = {}
    if network.port is not None:
        normalised = (rows - np.array(network.means)) / np.array(network.sds)
        feeds[network.port] = normalised.astype(np.float32)
    if network.patch is not None:
        feeds[network.patch.port] = patch
    try:
        values = _computed(model.folder / network.file.path, model.digest, device, network.output, feeds)
    except (EngineError, ImportError) as error:
        raise OutcomeModelError(
            model.name, "OUTCOME_MODEL_FAILED", f"it cannot be computed: {error}."
        ) from error
    columns = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    if len(columns) != len(rows) or network.column >= columns.shape[1] or not np.isfinite(columns).all():
        fault = f"its output has the shape {values.shape} for {len(rows)} rows, or values that are no numbers"
        raise OutcomeModelError(model.name, "OUTCOME_MODEL_FAILED", f"{fault}.")
    result: NDArray[np.float64] = columns[:, network.column].astype(np.float64)
    if network.activation is Activation.SIGMOID:
        result = 0.5 * (1.0 + np.tanh(0.5 * result))
    return result


def shapley_values(
    function: Callable[[Rows], NDArray[np.float64]], row: Rows, background: Rows
) -> NDArray[np.float64]:
    """Compute exact Shapley values of a function's inputs, by enumeration of all their subsets.

    The value of a subset is the function's mean over the background, with the subset's inputs set to the
    patient's: the interventional value of SHAP.

    Parameters
    ----------
    function : callable
        From (n, inputs) to (n,).
    row : ndarray of float64, shape (inputs,)
        The patient; at most `MOST_EXPLAINED` inputs.
    background : ndarray of float64, shape (patients, inputs)

    Returns
    -------
    ndarray of float64, shape (inputs,)
        They sum to the function of the patient minus its mean over the background.

    References
    ----------
    Shapley 1953; Lundberg, Lee, NeurIPS 2017; Janzing et al., AISTATS 2020 (interventional).
    """
    count = len(row)
    subsets = [np.array([bool(code >> i & 1) for i in range(count)]) for code in range(2**count)]
    values = np.array([float(function(np.where(chosen, row, background)).mean()) for chosen in subsets])
    result = np.zeros(count)
    for i in range(count):
        for code, chosen in enumerate(subsets):
            if not chosen[i]:
                size = int(chosen.sum())
                weight = factorial(size) * factorial(count - size - 1) / factorial(count)
                result[i] += weight * (values[code | 1 << i] - values[code])
    return result


def _network_of(model: OutcomeModel) -> Network:
    if model.network is None:
        message = f"{model.identity} has no network"
        raise ValueError(message)
    return model.network


def _computed(
    path: Path, digest: str, device: str, output: str, feeds: dict[str, Any]
) -> NDArray[np.float64]:
    from operators.segmentation.engines.failures import running  # noqa: PLC0415  loads torch
    from operators.segmentation.engines.onnx_session import ERRORS  # noqa: PLC0415  an extra

    session = _session(path, digest, device)
    with running(*ERRORS):
        return np.asarray(session.run([output], feeds)[0], np.float64)


@lru_cache(maxsize=4)
def _session(path: Path, digest: str, device: str) -> Any:  # noqa: ARG001  another digest, another session
    import torch  # noqa: PLC0415

    from operators.segmentation.engines.onnx_session import CPU, CUDA, load_session  # noqa: PLC0415

    provider = CUDA if device == "cuda" else CPU
    options = {"use_tf32": "0"} if device == "cuda" else {}
    return load_session(path, [(provider, options)], torch.device(device))
