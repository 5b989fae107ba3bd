"""Rewrites of an OpenVINO graph: the same function with less arithmetic, or with exacter sums.

Both are pure graph rewrites: a pattern that is not found is left as it is, so any network may be given.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op
from openvino.passes import ConstantFolding, Manager

__all__ = ["fold", "merge_upsampling", "sum_exactly"]

_VOXELS_SUMMED_PLAINLY = 2**18
"""Up to here OpenVINO's own instance normalisation is exact enough (1e-5 of a standard deviation)."""


def fold(model: ov.Model) -> None:
    """Compute what is constant, in place: ONNX has biases as vectors that the graph reshapes."""
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)


# ---- upsampling merged with the convolution that reads it ---------------------------------------


def merge_upsampling(model: ov.Model) -> int:
    """Merge transposed convolutions with the convolutions that read them, in place.

    In a U-Net's decoder nothing but a concatenation lies between the transposed convolution and the
    next convolution, so that the two are one linear map: ``conv(concat(up(u), skip))`` is
    ``up'(u) + conv'(skip)``. The merged kernel of a stride 2 and a 3×3×3 kernel is 4×4×4, of which each
    output voxel meets 2×2×2 taps where it met 27; the concatenation and the upsampled array are never
    written. The transposed convolution's bias becomes one more input channel, of ones, since zero padding
    applies to the upsampled array, bias included. Weights are merged in double precision.

    Parameters
    ----------
    model : ov.Model
        Folded; batch and spatial axes may be dynamic.

    Returns
    -------
    int
        Number of places merged.
    """
    places = [place for node in model.get_ordered_ops() if (place := _upsampling_at(node)) is not None]
    for place in places:
        _merge(place)
    if places:
        model.validate_nodes_and_infer_types()
    return len(places)


@dataclass(frozen=True, slots=True)
class _Upsampling:
    """``conv(concat(…, up(low) + bias, …))``, found in a graph."""

    conv: ov.Node
    concat: ov.Node
    position: int
    """Of the upsampled array among the concatenated ones."""
    up: ov.Node
    bias: NDArray[np.float64] | None
    """(channel,), of the transposed convolution."""


def _upsampling_at(conv: ov.Node) -> _Upsampling | None:
    """The pattern that ends in this convolution; None when there is none, or when merging gains nothing."""
    if conv.get_type_name() != "Convolution" or not _is_constant(conv, 1) or not _plain(conv):
        return None
    concat = conv.input_value(0).get_node()
    if concat.get_type_name() != "Concat" or not _sole_reader(concat):
        return None
    if concat.get_attributes()["axis"] != 1 or concat.get_input_size() < 2:
        return None
    sources = [concat.input_value(i) for i in range(concat.get_input_size())]
    if not all(source.get_element_type() == ov.Type.f32 and _knows_channels(source) for source in sources):
        return None
    for position in range(concat.get_input_size()):
        node, bias = concat.input_value(position).get_node(), None
        if node.get_type_name() == "Add" and _sole_reader(node):
            bias = _bias(node)
            node = node.input_value(0).get_node() if bias is not None else node
        if node.get_type_name() == "ConvolutionBackpropData" and _sole_reader(node) and _unpadded(node):
            found = _Upsampling(conv, concat, position, node, bias)
            return found if _gains(found) else None
    return None


def _plain(conv: ov.Node) -> bool:
    """Whether a convolution has stride 1, no dilation and no more padding than its kernel reaches."""
    attributes = conv.get_attributes()
    kernel = tuple(conv.input_value(1).get_shape())[2:]
    pads = zip(kernel, attributes["pads_begin"], attributes["pads_end"], strict=True)
    return (
        all(step == 1 for step in (*attributes["strides"], *attributes["dilations"]))
        and attributes["auto_pad"] == "explicit"
        and all(max(begin, end) < size for size, begin, end in pads)
    )


def _unpadded(up: ov.Node) -> bool:
    """Whether a transposed convolution's kernel is its stride, so that each output voxel has one tap."""
    attributes = up.get_attributes()
    edges = (*attributes["pads_begin"], *attributes["pads_end"], *attributes["output_padding"])
    return bool(
        up.get_input_size() == 2
        and _is_constant(up, 1)
        and tuple(up.input_value(1).get_shape())[2:] == tuple(attributes["strides"])
        and attributes["auto_pad"] == "explicit"
        and not any(edges)
        and all(step == 1 for step in attributes["dilations"])
    )


def _gains(place: _Upsampling) -> bool:
    """Whether the merged map has fewer multiplications for each output voxel."""
    low, high = tuple(place.up.input_value(1).get_shape())[:2]
    out, _, *kernel = tuple(place.conv.input_value(1).get_shape())
    stride = place.up.get_attributes()["strides"]
    taps = prod((step + size - 1) / step for step, size in zip(stride, kernel, strict=True))
    return bool(low * out * taps < high * (low + out * prod(kernel)))


def _merge(place: _Upsampling) -> None:
    """Put the merged nodes in the place of the convolution."""
    weights, up_weights = _numbers(place.conv, 1), _numbers(place.up, 1)
    low = place.up.input_value(0)
    sources = [place.concat.input_value(i) for i in range(place.concat.get_input_size())]
    starts = np.cumsum([0, *(_channels(source) for source in sources)])
    mine = slice(starts[place.position], starts[place.position + 1])
    merged = _merged_kernel(up_weights, place.bias, weights[:, mine])
    if place.bias is not None:
        low = op.concat([low, _one_channel(low)], 1).output(0)
    attributes = place.conv.get_attributes()
    kernel = weights.shape[2:]
    raised = op.convolution_backprop_data(
        low,
        op.constant(merged.astype(np.float32)),
        strides=list(place.up.get_attributes()["strides"]),
        pads_begin=[size - 1 - pad for size, pad in zip(kernel, attributes["pads_begin"], strict=True)],
        pads_end=[size - 1 - pad for size, pad in zip(kernel, attributes["pads_end"], strict=True)],
        dilations=[1] * len(kernel),
    )
    rest = [source for i, source in enumerate(sources) if i != place.position]
    kept = np.delete(weights, mine, axis=1).astype(np.float32)
    beside = op.convolution(
        rest[0] if len(rest) == 1 else op.concat(rest, 1).output(0),
        op.constant(kept),
        strides=list(attributes["strides"]),
        pads_begin=list(attributes["pads_begin"]),
        pads_end=list(attributes["pads_end"]),
        dilations=list(attributes["dilations"]),
    )
    total = op.add(beside, raised)
    for reader in place.conv.output(0).get_target_inputs():
        reader.replace_source_output(total.output(0))


def _one_channel(image: ov.Output) -> ov.Node:
    """A channel of ones of an image's shape."""
    shape = op.shape_of(image)
    rank = image.get_partial_shape().rank.get_length()
    axes = [op.gather(shape, _axis(axis), op.constant(np.int64(0))) for axis in range(rank) if axis != 1]
    return op.broadcast(_number(1.0), op.concat([axes[0], _axis(1), *axes[1:]], 0))


def _merged_kernel(
    up: NDArray[np.float64], bias: NDArray[np.float64] | None, conv: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Kernel of the transposed convolution that does what `up` and then `conv` do.

    Output voxel o of the convolution reads the upsampled voxels o + j - pad; upsampled voxel s·p + i is
    tap i of low voxel p. So low voxel p reaches o = s·p + i - j + pad with the weight up[i] · conv[j].

    Parameters
    ----------
    up : ndarray, shape (low, high, *stride)
    bias : ndarray, shape (high,), optional
        Added as one more low channel.
    conv : ndarray, shape (out, high, *kernel)

    Returns
    -------
    ndarray, shape (low or low + 1, out, *(stride + kernel - 1))
    """
    if bias is not None:
        constant = np.broadcast_to(bias.reshape(1, -1, *[1] * (up.ndim - 2)), (1, *up.shape[1:]))
        up = np.concatenate([up, constant])
    stride, kernel = up.shape[2:], conv.shape[2:]
    size = tuple(step + reach - 1 for step, reach in zip(stride, kernel, strict=True))
    merged = np.zeros((*size, up.shape[0], conv.shape[0]))
    taps_up = np.moveaxis(up, (0, 1), (-2, -1)).reshape(-1, *up.shape[:2])
    taps_conv = np.moveaxis(conv, (1, 0), (0, -1)).reshape(conv.shape[1], -1)
    for i, weights in zip(itertools.product(*map(range, stride)), taps_up, strict=True):
        # (low, high) by (high, kernel · out): one product for all taps of the convolution
        met = (weights @ taps_conv).reshape(up.shape[0], -1, conv.shape[0])
        for n, j in enumerate(itertools.product(*map(range, kernel))):
            tap = tuple(a - b + reach - 1 for a, b, reach in zip(i, j, kernel, strict=True))
            merged[tap] += met[:, n]
    return np.moveaxis(merged, (-2, -1), (0, 1))


# ---- instance normalisation with exact sums -----------------------------------------------------


def sum_exactly(model: ov.Model) -> int:
    """Replace instance normalisations over many voxels by ones that sum along rows first, in place.

    OpenVINO's kernel adds up a channel's voxels one after the other in single precision: over a tile of
    128³ voxels the standard deviation is wrong by 1e-4, and the logits by 1e-3. Here rows, planes and
    the whole are summed one after the other, so that no sum has more than some hundred terms.

    Parameters
    ----------
    model : ov.Model
        Of static shape.

    Returns
    -------
    int
        Number of normalisations replaced.
    """
    places = [node for node in model.get_ordered_ops() if _large_normalisation(node)]
    for node in places:
        exact = _normalised(node.input_value(0), node.get_attributes()["eps"])
        for reader in node.output(0).get_target_inputs():
            reader.replace_source_output(exact.output(0))
    if places:
        model.validate_nodes_and_infer_types()
    return len(places)


def _large_normalisation(node: ov.Node) -> bool:
    """Whether a node normalises each channel of an image over all its many voxels."""
    if node.get_type_name() != "MVN" or node.get_input_size() != 2 or not _is_constant(node, 1):
        return False
    shape, attributes = tuple(node.input_value(0).get_shape()), node.get_attributes()
    return (
        len(shape) in (4, 5)
        and sorted(int(axis) % len(shape) for axis in _numbers(node, 1).ravel()) == list(range(2, len(shape)))
        and prod(shape[2:]) > _VOXELS_SUMMED_PLAINLY
        and attributes["normalize_variance"]
        and str(attributes["eps_mode"]).lower() == "inside_sqrt"
    )


def _normalised(image: ov.Output, epsilon: float) -> ov.Node:
    """``(image - mean) / sqrt(variance + epsilon)`` over the spatial axes."""
    mean = _mean(image)
    variance = op.subtract(_mean_square(image), op.multiply(mean, mean))
    scale = op.power(op.add(op.relu(variance), _number(epsilon)), _number(-0.5))
    return op.subtract(op.multiply(image, scale), op.multiply(mean, scale))


def _mean(image: ov.Output) -> ov.Node:
    """Mean over the spatial axes; kinds of sums alternate, as OpenVINO would join two of a kind into one."""
    shape = tuple(image.get_shape())
    total, rank = op.reduce_mean(image, _axis(len(shape) - 1), keep_dims=True), len(shape)
    return _over_other_axes(total, shape, rank)


def _mean_square(image: ov.Output) -> ov.Node:
    """Mean of the squares over the spatial axes; the norm along rows needs no array of squares."""
    shape = tuple(image.get_shape())
    rank = len(shape)
    norm = op.reduce_l2(image, _axis(rank - 1), keep_dims=True)
    squares = op.multiply(op.multiply(norm, norm), _number(1.0 / shape[-1]))
    return _over_other_axes(squares, shape, rank)


def _over_other_axes(rows: ov.Node, shape: tuple[int, ...], rank: int) -> ov.Node:
    total = op.reduce_sum(rows, _axis(rank - 2), keep_dims=True)
    total = op.multiply(total, _number(1.0 / shape[rank - 2]))
    return total if rank == 4 else op.reduce_mean(total, _axis(2), keep_dims=True)


# ---- small helpers ------------------------------------------------------------------------------


def _is_constant(node: ov.Node, position: int) -> bool:
    return bool(node.input_value(position).get_node().get_type_name() == "Constant")


def _numbers(node: ov.Node, position: int) -> NDArray[np.float64]:
    """Numbers of an input that is a constant."""
    return np.asarray(node.input_value(position).get_node().data, np.float64)


def _bias(add: ov.Node) -> NDArray[np.float64] | None:
    """The channel constants that a node adds to its first input; None when it adds anything else."""
    if not _is_constant(add, 1):
        return None
    constant, channels = _numbers(add, 1), _channels(add.input_value(0))
    if constant.shape[:2] != (1, channels) or constant.size != channels:
        return None
    return constant.ravel()


def _knows_channels(image: ov.Output) -> bool:
    shape = image.get_partial_shape()
    return bool(shape.rank.is_static and shape.rank.get_length() > 2 and shape[1].is_static)


def _channels(image: ov.Output) -> int:
    return int(image.get_partial_shape()[1].get_length())


def _sole_reader(node: ov.Node) -> bool:
    return len(node.output(0).get_target_inputs()) == 1


def _axis(index: int) -> ov.Node:
    return op.constant(np.array([index], np.int64))


def _number(value: float) -> ov.Node:
    return op.constant(np.float32(value))
