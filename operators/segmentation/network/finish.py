"""Back to the image: complete planes of logits become a label map on the image's grid, as they come.

A convex combination keeps order: where all the neighbours of an output voxel have the same greatest
channel, so has the voxel between them. On a CPU only voxels at boundaries are interpolated, which makes a
hundred classes cheap. Everything is interpolated for probabilities, and on a GPU, where the work is small
beside the wait for the number of voxels at boundaries.

The summed probability of a few labels costs neither: it is formed on the network's grid, plane by plane, and
that one map is interpolated, by the same weights as the logits. Beside a boundary it differs a little from
the softmax of interpolated logits. The label map is what it would be without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import SegmentationRefusal
from operators.segmentation.network.decide import Decision, label_type
from operators.segmentation.network.grid import inside
from operators.segmentation.network.lines import Line, lines
from operators.segmentation.network.ring import Slab
from operators.segmentation.network.types import Way
from operators.segmentation.network.window import has_background
from operators.segmentation.package.types import Interpolation, Resampled, Resampling, Stage

_DENSE_ABOVE = 0.25
"""Part of boundary voxels from which interpolating the whole plane is faster."""
_BLOCK = 1 << 21
"""Values interpolated at once on a CPU: what stays in its caches."""
_OPEN = -1
"""Key of a voxel that must be interpolated."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A stage's result on the image's grid."""

    labels: NDArray[Any]
    """(z, y, x), uint8 or uint16."""
    probabilities: NDArray[np.float16] | None
    """(channel, z, y, x)."""
    probability: NDArray[np.float16] | None = None
    """(z, y, x), summed over labels."""


def finish(
    slabs: Iterable[Slab],
    stage: Stage,
    way: Way,
    labels: tuple[int, ...] | None = None,
    probabilities: bool = False,
    probability_of: tuple[int, ...] = (),
) -> Finished:
    """Bring a stage's logits back to the image and decide its labels.

    Parameters
    ----------
    slabs : iterable of Slab
        Every plane of the network's grid, first to last; each slab is used up before the next is taken.
    stage : Stage
    way : Way
    labels : tuple of int, optional
        Values of the label map to keep; by default all.
    probabilities : bool
        Whether those of all channels are wanted as well.
    probability_of : tuple of int
        Values of labels whose summed probability is wanted; empty: none. 0 where the image was cropped away.

    Raises
    ------
    SegmentationRefusal
        ``OUTPUT_RESAMPLING_UNSUPPORTED``; ``NOT_ENOUGH_MEMORY`` for the probabilities.
    """
    along_z, along_y, along_x = _lines(stage, way)
    decision = Decision(stage, labels)
    whole = np.zeros(way.image_shape, label_type(stage.channel_labels))
    certain = _background(stage, way) if probabilities else None
    summed = np.zeros(way.image_shape, np.float16) if probability_of else None
    writer = _Writer(
        decision,
        inside(whole, way),
        None if certain is None else inside(certain, way),
        None if summed is None else inside(summed, way),
        along_y,
        along_x,
        # nnU-Net's resample_data_or_seg gives its result the type of its input
        rounded=stage.output_resampling.interpolation is Interpolation.SPLINE,
    )
    former: _Plane | None = None
    done = 0
    for slab in slabs:
        for number, logits in enumerate(slab.logits, start=slab.first):
            values = decision.values(logits)
            plane = _Plane(
                values,
                decision.keys(values) if writer.needs_keys(values) else None,
                decision.summed(values, probability_of) if probability_of else None,
            )
            while done < len(along_z.high) and int(along_z.high[done]) <= number:
                weight = float(along_z.weight[done])
                low = plane if former is None or int(along_z.low[done]) == number else former
                writer.write(done, low, plane, weight)
                done += 1
            former = plane
        if former is not None:  # its memory goes back to the ring
            former = replace(former, values=former.values.clone())
    return Finished(whole, certain, summed)


def _lines(stage: Stage, way: Way) -> tuple[Line, Line, Line]:
    resampling = stage.output_resampling
    if stage.resampled is Resampled.LABELS:
        resampling = _nearest(resampling)
    shapes = way.network_shape, way.cropped_shape, way.network_spacing_mm, way.cropped_spacing_mm
    try:
        return lines(*shapes, resampling)
    except ValueError as error:
        raise SegmentationRefusal(
            "OUTPUT_RESAMPLING_UNSUPPORTED",
            f"The model wants the output of its stage {stage.name} resampled with splines of order "
            f"{resampling.order}; order 0 and 1 are possible. Import the model again with order 1.",
        ) from error


def _nearest(resampling: Resampling) -> Resampling:
    """The same places, nearest neighbour."""
    if resampling.interpolation in (Interpolation.WORLD_LINEAR, Interpolation.WORLD_NEAREST):
        return Resampling(Interpolation.WORLD_NEAREST)
    return Resampling(Interpolation.SPLINE, order=0, order_z=0, separate_planes=False)


def _background(stage: Stage, way: Way) -> NDArray[np.float16]:
    """Probabilities of a volume without anything in it."""
    shape = (stage.channels_out, *way.image_shape)
    try:
        result = np.zeros(shape, np.float16)
    except MemoryError as error:
        raise SegmentationRefusal(
            "NOT_ENOUGH_MEMORY",
            f"The probabilities of {shape[0]} channels take {np.prod(shape, dtype=float) * 2e-9:.0f} GB of "
            "memory, more than there is. Ask for the label map alone.",
        ) from error
    if has_background(stage):
        result[stage.channel_labels.index(0)] = 1
    return result


@dataclass(frozen=True, slots=True)
class _Plane:
    """One plane of the network's grid."""

    values: torch.Tensor
    """(class, y, x): logits, or probabilities where those are brought back."""
    keys: torch.Tensor | None
    """(y, x); None where everything is interpolated."""
    summed: torch.Tensor | None
    """(y, x), float32: probability of the labels that are asked for."""


class _Axis:
    """A line of output voxels along y or x, on the device."""

    def __init__(self, line: Line, device: torch.device) -> None:
        self.low = torch.as_tensor(line.low, device=device)
        self.high = torch.as_tensor(line.high, device=device)
        self.weight = torch.as_tensor(line.weight, dtype=torch.float32, device=device)
        self.copies = bool((self.weight == 0).all())

    def sides(self) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        """Indices and weights of the neighbours."""
        low = (self.low, 1 - self.weight)
        return (low,) if self.copies else (low, (self.high, self.weight))


class _Writer:
    """Writes output planes, each from the two planes of the network's grid around it."""

    def __init__(
        self,
        decision: Decision,
        labels: NDArray[Any],
        probabilities: NDArray[np.float16] | None,
        summed: NDArray[np.float16] | None,
        along_y: Line,
        along_x: Line,
        *,
        rounded: bool,
    ) -> None:
        self._decision = decision
        self._labels = labels
        self._probabilities = probabilities
        self._summed = summed
        self._along_y = along_y
        self._along_x = along_x
        self._rounded = rounded
        self._axes: tuple[_Axis, _Axis] | None = None

    def needs_keys(self, values: torch.Tensor) -> bool:
        """Whether planes are written from their keys where neighbours agree."""
        return self._probabilities is None and values.device.type == "cpu"

    def write(self, number: int, low: _Plane, high: _Plane, weight: float) -> None:
        """Write plane `number`, `weight` of the way from `low` to `high`."""
        planes = [(low, 1 - weight), (high, weight)] if weight else [(low, 1.0)]
        y, x = self._on(low.values.device)
        known = [plane.keys for plane, _ in planes if plane.keys is not None]
        if not known:
            keys = self._whole(number, planes, y, x)
        else:
            keys = self._same(known, y, x)
            if not (weight == 0 and y.copies and x.copies):
                keys = self._decided(keys, number, planes, y, x)
        self._labels[number] = self._decision.table[keys.cpu().numpy()]
        if self._summed is not None:
            maps = [(plane.summed[None], part) for plane, part in planes if plane.summed is not None]
            found = _interpolated(maps, y, x, slice(0, len(y.low)))[0]
            self._summed[number] = found.half().cpu().numpy()

    def _on(self, device: torch.device) -> tuple[_Axis, _Axis]:
        if self._axes is None:
            self._axes = _Axis(self._along_y, device), _Axis(self._along_x, device)
        return self._axes

    @staticmethod
    def _same(planes: list[torch.Tensor], y: _Axis, x: _Axis) -> torch.Tensor:
        """Keys where all neighbours have the same, else `_OPEN`."""
        keys = _agreed(planes)
        keys = _agreed([keys.index_select(0, index) for index, _ in y.sides()])
        return _agreed([keys.index_select(1, index) for index, _ in x.sides()])

    def _decided(
        self, keys: torch.Tensor, number: int, planes: list[tuple[_Plane, float]], y: _Axis, x: _Axis
    ) -> torch.Tensor:
        """The keys with the open ones interpolated."""
        rows, columns = torch.nonzero(keys == _OPEN, as_tuple=True)
        if len(rows) > _DENSE_ABOVE * keys.numel():
            return self._whole(number, planes, y, x)
        if len(rows):
            keys[rows, columns] = self._decision.keys(self._at(rows, columns, planes, y, x))
        return keys

    def _at(
        self,
        rows: torch.Tensor,
        columns: torch.Tensor,
        planes: list[tuple[_Plane, float]],
        y: _Axis,
        x: _Axis,
    ) -> torch.Tensor:
        """Values (class, n) of single voxels."""
        height, width = planes[0][0].values.shape[1:]
        corners = [
            (row[rows] * width + column[columns], row_weight[rows] * column_weight[columns])
            for row, row_weight in y.sides()
            for column, column_weight in x.sides()
        ]
        # the pixels around boundaries are few: taken once, each with its classes side by side
        needed = torch.zeros(height * width, dtype=torch.bool, device=rows.device)
        for index, _ in corners:
            needed[index] = True
        pixels = needed.nonzero().flatten()
        place = torch.cumsum(needed, 0) - 1
        between = torch.zeros((), device=rows.device)
        for plane, weight in planes:
            found = plane.values.flatten(1).index_select(1, pixels).float()
            between = found.mul_(weight).add_(between)
        between = between.t().contiguous()
        total = torch.zeros((), device=rows.device)
        for index, factor in corners:
            total = between.index_select(0, place[index]).mul_(factor[:, None]).add_(total)
        return self._typed(total.t().contiguous(), planes)

    def _whole(self, number: int, planes: list[tuple[_Plane, float]], y: _Axis, x: _Axis) -> torch.Tensor:
        """Keys of a whole plane, all of it interpolated; the probabilities are written as well."""
        keys = torch.empty(len(y.low), len(x.low), dtype=torch.int16, device=y.low.device)
        for rows in self._blocks(planes[0][0].values.shape[0], keys):
            between = _interpolated([(plane.values, weight) for plane, weight in planes], y, x, rows)
            values = self._typed(between, planes)
            keys[rows] = self._decision.keys(values)
            if self._probabilities is not None:
                found = self._decision.probabilities(values).half()
                self._probabilities[:, number, rows] = found.cpu().numpy()
        return keys

    @staticmethod
    def _blocks(channels: int, keys: torch.Tensor) -> Iterator[slice]:
        height, width = keys.shape
        rows = max(_BLOCK // (channels * width), 1) if keys.device.type == "cpu" else height
        for start in range(0, height, rows):
            yield slice(start, min(start + rows, height))

    def _typed(self, values: torch.Tensor, planes: list[tuple[_Plane, float]]) -> torch.Tensor:
        return values.to(planes[0][0].values.dtype) if self._rounded else values


def _agreed(keys: list[torch.Tensor]) -> torch.Tensor:
    if len(keys) == 1:
        return keys[0]
    return torch.where(keys[0] == keys[1], keys[0], _OPEN)


def _interpolated(planes: list[tuple[torch.Tensor, float]], y: _Axis, x: _Axis, rows: slice) -> torch.Tensor:
    """Values (class, y, x) of some output rows, of planes (class, y, x) with their weights."""
    total = torch.zeros((), device=y.low.device)
    for plane, weight in planes:
        for index, row_weight in y.sides():
            part = plane.index_select(1, index[rows]).float()
            total = part.mul_(weight * row_weight[rows, None]).add_(total)
    along_x = torch.zeros((), device=y.low.device)
    for index, column_weight in x.sides():
        along_x = total.index_select(2, index).mul_(column_weight).add_(along_x)
    return along_x
