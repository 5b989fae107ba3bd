"""What of a study is registered: one volume on an upright 4 mm grid, with what it covers and the body in it.

CT and PET become features of about 0 to 1 whose edges are those of anatomy: of a CT fat, soft tissue and bone
are spread and the rest is compressed; of a PET high uptake is compressed, for it changes between studies.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Geometry, Volume, Volumes

Field = NDArray[np.float32]

FINE_MM = 4.0
"""Of the grid: about the PET's own, and finer than a registration of bodies that breathe can be."""
BLOCK = 2
"""Voxels of a grid, along each axis, that are one of the next coarser grid."""

HU_KNOTS = (-1000.0, -250.0, 250.0, 800.0)
HU_VALUES = (0.0, 0.3, 0.9, 1.0)
BODY_HU = -300.0
"""Between air and what a couch is made of at 4 mm on one side, fat on the other."""
NOT_SCANNED_HU = -1020.0
"""Scanners fill what lies outside of the reconstructed circle with -1024 or less."""

HALF_SUV = 0.6
"""Uptake whose feature is 0.5, the muscles': SUV / (SUV + 0.6) tells lung, fat, muscle and organs apart and
hardly a hot lesion from a hotter one."""
BODY_SUV = 0.12
"""Half of fat's uptake: a PET's body ends here."""


class Source(StrEnum):
    CT = "CT"
    PET = "PET"


@dataclass(frozen=True, slots=True)
class Scene:
    """A study as registration sees it.

    Attributes
    ----------
    values : ndarray of float32, shape (z, y, x)
        The feature, 0 for air.
    known : ndarray of float32, shape (z, y, x)
        How much of a voxel the scanner showed, 0 to 1.
    body : ndarray of bool, shape (z, y, x)
    geometry : Geometry
        Axes along LPS.
    """

    values: Field
    known: Field
    body: NDArray[np.bool_]
    geometry: Geometry

    @property
    def spacing_mm(self) -> float:
        return self.geometry.spacing_mm[0]


def usable_ct(volumes: Volumes) -> Volume | None:
    """The study's CT where it lies in the PET's frame of reference, else None."""
    ct = volumes.ct
    frame = volumes.pet.geometry.frame_of_reference_uid
    return ct if ct is not None and ct.geometry.frame_of_reference_uid == frame else None


def see(volumes: Volumes, source: Source) -> Scene | None:
    """A study's scene; None where there is no body in it.

    Parameters
    ----------
    volumes : Volumes
    source : Source
        CT only where :func:`usable_ct` gives one.
    """
    volume = usable_ct(volumes) if source is Source.CT else volumes.pet
    assert volume is not None
    pooled, geometry = pool(volume)
    upright = upright_grid(geometry)
    values, known = onto(pooled, geometry, upright)
    if source is Source.CT:
        known[values < NOT_SCANNED_HU] = 0
        body = find_body(values, known, BODY_HU)
        values = np.interp(values, HU_KNOTS, HU_VALUES).astype(np.float32)
    else:
        values = np.maximum(values, 0)
        smooth = ndimage.gaussian_filter(values, 1.5, truncate=2.0)
        body = find_body(smooth, known, BODY_SUV)
        values = values / (values + np.float32(HALF_SUV))
    if body is None:
        return None
    near = ndimage.maximum_filter(body, 3)
    values[~near] = 0
    return crop(Scene(values, known, body, upright))


def pool(volume: Volume, mm: float = FINE_MM) -> tuple[Field, Geometry]:
    """The means of blocks of voxels of about `mm`, and where they lie. What fills no block is left out."""
    geometry = volume.geometry
    block = [
        max(1, min(int(mm / step + 0.35), size))
        for step, size in zip(geometry.spacing_mm, geometry.shape, strict=True)
    ]
    count = [size // n for size, n in zip(geometry.shape, block, strict=True)]
    result = np.empty(count, np.float32)
    for z in range(count[0]):
        slab = slice(z * block[0], (z + 1) * block[0])
        part = volume.stored[slab, : count[1] * block[1], : count[2] * block[2]].astype(np.float32)
        part = part * volume.scale[slab, None, None].astype(np.float32)
        part += volume.offset[slab, None, None].astype(np.float32)
        result[z] = part.reshape(block[0], count[1], block[1], count[2], block[2]).mean((0, 2, 4))
    affine = geometry.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ ((np.array(block) - 1) / 2)
    affine[:3, :3] *= block
    return result, Geometry((count[0], count[1], count[2]), affine, geometry.frame_of_reference_uid)


def upright_grid(geometry: Geometry, mm: float = FINE_MM) -> Geometry:
    """A grid with axes (z, y, x) along LPS (S, P, L) over all voxels of another."""
    ends = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in geometry.shape], indexing="ij")).reshape(3, -1).T
    corners = geometry.to_lps(ends)
    low, high = corners.min(axis=0), corners.max(axis=0)
    x, y, z = (max(1, int(np.ceil(length / mm - 1e-3))) for length in high - low)
    return lps_grid((z, y, x), low + mm / 2, mm, geometry.frame_of_reference_uid)


def lps_grid(shape: tuple[int, int, int], first_lps_mm: NDArray[np.float64], mm: float, uid: str) -> Geometry:
    """A grid along LPS whose first voxel's centre is given."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag((mm, mm, mm))[::-1]
    affine[:3, 3] = first_lps_mm
    return Geometry(shape, affine, uid)


def onto(
    values: Field, source: Geometry, target: Geometry, way: NDArray[np.float64] | None = None
) -> tuple[Field, Field]:
    """A volume on another grid by linear interpolation, and where it is known.

    Parameters
    ----------
    values : ndarray of float32, shape (z, y, x)
    source, target : Geometry
    way : ndarray of float64, shape (4, 4), optional
        LPS mm of the target to LPS mm of the source.

    Returns
    -------
    values : ndarray of float32, target's shape
        Repeated beyond the source's edges.
    known : ndarray of float32, target's shape
        1 within the source's outermost edges, else 0.
    """
    turn = np.linalg.solve(source.affine, target.affine if way is None else way @ target.affine)
    result = ndimage.affine_transform(
        values, turn[:3, :3], turn[:3, 3], target.shape, order=1, mode="nearest"
    )
    grid = np.ix_(*[np.arange(n, dtype=np.float64) for n in target.shape])
    known = np.ones(target.shape, np.float32)
    for axis in range(3):
        at = sum(turn[axis, other] * grid[other] for other in range(3)) + turn[axis, 3]
        known[np.broadcast_to((at < -0.5) | (at > source.shape[axis] - 0.5), target.shape)] = 0
    return result, known


def find_body(values: Field, known: Field, threshold: float) -> NDArray[np.bool_] | None:
    """The largest part above a threshold, without what is thinner than three voxels, as a couch is.

    Holes are filled slice by slice.
    """
    above = (values > threshold) & (known > 0.5)
    thick = ndimage.minimum_filter(above, 3, mode="nearest")
    labels, count = ndimage.label(thick)
    if not count:
        return None
    largest = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    # the skin that went with the couch comes back
    body = above & ndimage.maximum_filter(largest, 3)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body])


def crop(scene: Scene, margin: int = 4) -> Scene:
    """The scene around its body."""
    (found,) = ndimage.find_objects(scene.body.astype(np.int8))
    box = tuple(slice(max(part.start - margin, 0), part.stop + margin) for part in found)
    first = scene.geometry.to_lps(np.array([[part.start for part in box]]))[0]
    values = np.ascontiguousarray(scene.values[box])
    z, y, x = values.shape
    geometry = lps_grid((z, y, x), first, scene.spacing_mm, scene.geometry.frame_of_reference_uid)
    return Scene(values, scene.known[box], scene.body[box], geometry)


def coarser(scene: Scene) -> Scene:
    """The scene on a grid of twice the spacing: means of what is known."""
    weight = halved(scene.known)
    values = np.asarray(halved(scene.values * scene.known) / np.maximum(weight, 1e-6), np.float32)
    body = halved(scene.body.astype(np.float32)) > 0.5
    z, y, x = values.shape
    mm = scene.spacing_mm
    first = scene.geometry.affine[:3, 3] + mm * (BLOCK - 1) / 2
    geometry = lps_grid((z, y, x), first, BLOCK * mm, scene.geometry.frame_of_reference_uid)
    return Scene(values, weight, body, geometry)


def halved(values: Field) -> Field:
    """Means of blocks of 2 x 2 x 2 voxels of the last three axes; the last ones are filled with zeros."""
    fill = [(0, 0)] * (values.ndim - 3) + [(0, -n % BLOCK) for n in values.shape[-3:]]
    padded = np.pad(values, fill)
    z, y, x = (n // BLOCK for n in padded.shape[-3:])
    blocks = padded.reshape(*values.shape[:-3], z, BLOCK, y, BLOCK, x, BLOCK)
    result: Field = blocks.mean(axis=(-5, -3, -1), dtype=np.float32)
    return result
