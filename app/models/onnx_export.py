"""A network as ONNX, in the one form that the engines expect.

The input is ``image`` (n, channel, [z,] y, x), the output ``logits`` (n, class, [z,] y, x); the batch and
every spatial axis are dynamic. The exporter is torch's TorchScript one: the graphs it makes of U-Nets have
no shape arithmetic, and OpenVINO, ONNX Runtime and TensorRT all take them as they are.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.models.request import ImportRefusal

OPSET = 17
INPUT = "image"
OUTPUT = "logits"
TOLERANCE = 1e-3
"""Largest difference between torch's and ONNX Runtime's logits, relative to the largest logit above 1."""


def export_onnx(network: torch.nn.Module, channels_in: int, smallest: tuple[int, ...], path: Path) -> None:
    """Write a network as an ONNX file with its weights inside.

    Parameters
    ----------
    network : Module
        In evaluation mode, on the CPU, float32; a scripted module is exported from its graph.
    channels_in : int
    smallest : tuple of int
        Spatial shape to trace with: 2 or 3 axes, the smallest that the network takes.
    path : Path
        File to write.

    Raises
    ------
    OSError
        The file cannot be written.
    RuntimeError
        The network has an operation that ONNX does not.
    """
    axes = {0: "n", **{2 + axis: f"d{axis}" for axis in range(len(smallest))}}
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((1, channels_in, *smallest), generator=generator)
    # the exporter would set the mode itself and put it back, which a scripted module does not allow
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (image,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: axes, OUTPUT: axes},
        )


def compare(network: torch.nn.Module, onnx: Path, channels_in: int, shape: tuple[int, ...]) -> float:
    """Run the network and its ONNX form on the same noise, two tiles at once.

    Parameters
    ----------
    network : Module
    onnx : Path
    channels_in : int
    shape : tuple of int
        Spatial.

    Returns
    -------
    float
        The largest difference of their logits.

    Raises
    ------
    ImportRefusal
        ``EXPORT_DIFFERS``: it is above `TOLERANCE`.
    """
    image = torch.randn((2, channels_in, *shape), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours = network(image).numpy()
    theirs = run_onnx(onnx, image.numpy())
    if ours.shape != theirs.shape:
        raise ImportRefusal(
            "EXPORT_DIFFERS", f"The ONNX form gives the shape {theirs.shape}, not {ours.shape}."
        )
    difference = float(np.abs(ours - theirs).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(ours).max())):
        raise ImportRefusal("EXPORT_DIFFERS", f"The ONNX form differs from the network by {difference:.2g}.")
    return difference


def run_onnx(path: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run an ONNX file of one input and one output on the CPU.

    Raises
    ------
    RuntimeError
        What ONNX Runtime says, in one line.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    # its errors have no base of their own
    faults = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.NotImplemented)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (result,) = session.run(None, {session.get_inputs()[0].name: image})
    except (*faults, state.InvalidProtobuf, state.RuntimeException, ValueError) as error:
        raise RuntimeError(" ".join(str(error).split())[:200]) from error
    return np.asarray(result, np.float32)
