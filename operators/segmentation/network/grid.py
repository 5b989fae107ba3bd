"""From the study to what a network looks at, and back: which voxels, in which order, in which frame.

The network's frame is the image's array with its axes permuted and flipped (`orientation`, then nnU-Net's
`transpose_forward`) and cropped. All of that is a view: nothing is copied before values change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from operators.domain import Box, Geometry, Volume, Volumes
from operators.errors import SegmentationRefusal
from operators.segmentation.network.across import linear, nearest
from operators.segmentation.network.lines import SAME_SPACING, is_world, new_shape
from operators.segmentation.network.types import Image, Way
from operators.segmentation.package.types import Crop, Input, Modality, Package, Shape, Stage, Triple

OUTSIDE = {Modality.CT: -1000.0, Modality.PET: 0.0}
"""What lies beyond an image: air, no uptake."""

DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
"""World axis and sense of a letter, in the right-anterior-superior frame."""

WORDS = {Modality.CT: "CT", Modality.PET: "PET"}

Indices = tuple[int, int, int]
Flips = tuple[bool, bool, bool]


# ---- the study's images --------------------------------------------------------------------------


def image_of(package: Package, volumes: Volumes) -> Image:
    """The package's inputs on one grid.

    Parameters
    ----------
    package : Package
    volumes : Volumes

    Returns
    -------
    Image
        On the grid of `package.grid`; the other modality is interpolated linearly, with air or no uptake
        beyond its edges. Channels of optional inputs that the study lacks are zero and named in `absent`.

    Raises
    ------
    SegmentationRefusal
        ``MODEL_INPUT_MISSING``, ``FRAME_OF_REFERENCE_DIFFERS``.
    """
    by_modality = {Modality.PET: volumes.pet, Modality.CT: volumes.ct}
    base = by_modality[package.grid]
    missing = [one for one in package.inputs if by_modality[one.modality] is None and not one.optional]
    if base is None or missing:
        wanted = WORDS[missing[0].modality if missing else package.grid]
        raise SegmentationRefusal(
            "MODEL_INPUT_MISSING",
            f"The model {package.identity} needs a {wanted} and this study has none that can be used.",
        )
    array = np.zeros((len(package.inputs), *base.geometry.shape), np.float32)
    done: dict[Modality, int] = {}
    absent = []
    for channel, one in enumerate(package.inputs):
        volume = by_modality[one.modality]
        if volume is None:
            absent.append(channel)
        elif one.modality in done:
            array[channel] = array[done[one.modality]]
        else:
            _fill(array[channel], volume, base.geometry, one)
            done[one.modality] = channel
    return Image(array, base.geometry, tuple(absent))


def _fill(channel: NDArray[np.float32], volume: Volume, grid: Geometry, input_: Input) -> None:
    """Write a volume's values on a grid."""
    if volume.geometry is grid:
        for z in range(grid.shape[0]):
            channel[z] = volume.values((slice(z, z + 1), slice(None), slice(None)))[0]
        return
    _require_same_frame(volume.geometry, grid)
    channel[:] = linear(
        lambda box: volume.values(box).astype(np.float32), volume.geometry, grid, OUTSIDE[input_.modality]
    )


def onto(labels: NDArray[Any], from_geometry: Geometry, to_geometry: Geometry) -> NDArray[Any]:
    """Bring a label map to another geometry by nearest neighbour, 0 beyond its edges.

    Parameters
    ----------
    labels : ndarray, shape ``from_geometry.shape``
    from_geometry, to_geometry : Geometry

    Returns
    -------
    ndarray of the same type, shape ``to_geometry.shape``

    Raises
    ------
    SegmentationRefusal
        ``FRAME_OF_REFERENCE_DIFFERS``.
    """
    if from_geometry is to_geometry:
        return labels
    _require_same_frame(from_geometry, to_geometry)
    return nearest(labels, from_geometry, to_geometry)


def probability_onto(
    probability: NDArray[np.float16], from_geometry: Geometry, to_geometry: Geometry
) -> NDArray[np.float16]:
    """Bring probabilities to another geometry by trilinear interpolation, 0 beyond their edges.

    Parameters
    ----------
    probability : ndarray, shape ``from_geometry.shape``
    from_geometry, to_geometry : Geometry

    Returns
    -------
    ndarray of float16, shape ``to_geometry.shape``

    Raises
    ------
    SegmentationRefusal
        ``FRAME_OF_REFERENCE_DIFFERS``.
    """
    if from_geometry is to_geometry:
        return probability
    _require_same_frame(from_geometry, to_geometry)
    values = linear(lambda box: probability[box].astype(np.float32), from_geometry, to_geometry, 0.0)
    return values.astype(np.float16)


def _require_same_frame(one: Geometry, other: Geometry) -> None:
    if one.frame_of_reference_uid != other.frame_of_reference_uid:
        raise SegmentationRefusal(
            "FRAME_OF_REFERENCE_DIFFERS",
            "PET and CT are of different frames of reference: their places cannot be compared.",
            "(0020,0052) FrameOfReferenceUID",
        )


# ---- the network's frame -------------------------------------------------------------------------


def frame_of(geometry: Geometry, stage: Stage) -> tuple[Indices, Flips]:
    """The image's axis of each axis of a stage's frame, and whether it runs against it.

    Parameters
    ----------
    geometry : Geometry
        Of the image.
    stage : Stage
        Its orientation names the directions in which x, y and z grow; axes are matched by their direction
        cosines (nibabel's ``io_orientation``, which MONAI uses).

    Returns
    -------
    axes : tuple of int
    flipped : tuple of bool
    """
    axes, flipped = [0, 1, 2], [False, False, False]
    if stage.orientation is not None:
        ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine[:, [2, 1, 0, 3]]
        stored = enumerate(nibabel.io_orientation(ras))
        found = {int(world): (2 - i, int(sense)) for i, (world, sense) in stored}
        for place, letter in enumerate(stage.orientation):
            world, wanted = DIRECTIONS[letter]
            axis, sense = found[world]
            axes[2 - place], flipped[2 - place] = axis, sense != wanted
    z, y, x = stage.transpose
    return (axes[z], axes[y], axes[x]), (flipped[z], flipped[y], flipped[x])


def way_of(geometry: Geometry, stage: Stage, box: Box, frame: tuple[Indices, Flips]) -> Way:
    """The way to a stage's network grid for the part of its frame inside a box.

    Parameters
    ----------
    geometry : Geometry
        Of the image.
    stage : Stage
    box : tuple of slice
        In the stage's frame.
    frame : tuple
        From :func:`frame_of`.

    Returns
    -------
    Way
    """
    axes, flipped = frame
    shape = _triple([part.stop - part.start for part in box])
    spacing = _floats([geometry.spacing_mm[axis] for axis in axes])
    wanted = _wanted_spacing(spacing, stage)
    return Way(
        image_shape=geometry.shape,
        axes=axes,
        flipped=flipped,
        box=box,
        cropped_shape=shape,
        cropped_spacing_mm=spacing,
        network_shape=new_shape(shape, spacing, wanted, stage.image_resampling),
        network_spacing_mm=wanted,
    )


def _wanted_spacing(own: Triple, stage: Stage) -> Triple:
    """The stage's spacing where it names one; MONAI keeps one that is nearly the image's own."""
    if stage.spacing_mm is None:
        return own
    near = SAME_SPACING if is_world(stage.image_resampling) else 0.0
    pairs = zip(own, stage.spacing_mm, strict=True)
    return _floats([mm if wanted is None or abs(wanted - mm) <= near else wanted for mm, wanted in pairs])


def turned(array: NDArray[Any], frame: tuple[Indices, Flips]) -> NDArray[Any]:
    """A view of an array on the image's grid, its last three axes in a stage's frame."""
    axes, flipped = frame
    lead = array.ndim - 3
    view = array.transpose([*range(lead), *[lead + axis for axis in axes]])
    return view[(..., *[slice(None, None, -1 if flip else None) for flip in flipped])]


def inside(array: NDArray[Any], way: Way) -> NDArray[Any]:
    """A view of an array on the image's grid: what the network's grid covers, in the network's frame.

    Parameters
    ----------
    array : ndarray, shape (..., z, y, x)
        Writable if the result is to be written into.
    way : Way

    Returns
    -------
    ndarray, shape (..., *way.cropped_shape)
    """
    return turned(array, (way.axes, way.flipped))[(..., *way.box)]


def back(labels_or_channels: NDArray[Any], way: Way) -> NDArray[Any]:
    """Bring an array from a stage's frame back to the image's grid.

    Parameters
    ----------
    labels_or_channels : ndarray, shape (..., *way.cropped_shape)
    way : Way

    Returns
    -------
    ndarray, shape (..., *way.image_shape)
        Zero outside the box.
    """
    result = np.zeros((*labels_or_channels.shape[:-3], *way.image_shape), labels_or_channels.dtype)
    inside(result, way)[...] = labels_or_channels
    return result


def nonzero_box(channels: Sequence[NDArray[Any]], crop: Crop) -> Box:
    """The box of voxels that are nonzero in any channel; the whole where none is.

    Parameters
    ----------
    channels : sequence of ndarray, shape (z, y, x)
    crop : Crop
        NONE: the whole.

    Returns
    -------
    tuple of slice
    """
    shape = channels[0].shape
    box = [slice(0, side) for side in shape]
    if crop is Crop.NONE:
        return box[0], box[1], box[2]
    for axis in range(3):
        low, high = _first(channels, box, axis), _first(channels, box, axis, backwards=True)
        if low is None or high is None:
            return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])
        box[axis] = slice(low, high + 1)
    return box[0], box[1], box[2]


def _first(
    channels: Sequence[NDArray[Any]], box: Sequence[slice], axis: int, *, backwards: bool = False
) -> int | None:
    """The first plane inside a box that has a nonzero voxel: nearly always the first that is looked at."""
    planes = range(box[axis].start, box[axis].stop)
    for plane in reversed(planes) if backwards else planes:
        place = [*box]
        place[axis] = slice(plane, plane + 1)
        if any(channel[tuple(place)].any() for channel in channels):
            return plane
    return None


def _triple(values: Sequence[int]) -> Shape:
    z, y, x = values
    return z, y, x


def _floats(values: Sequence[float]) -> Triple:
    z, y, x = values
    return z, y, x
