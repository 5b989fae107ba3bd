"""The phantom: a PET/CT study whose lesions are known to the voxel.

``write_phantom`` writes it slice by slice and returns the truth, read from the values that were stored:
what a correct reader measures equals it to float precision. The middle of the PET's field of view is the
origin of LPS space; the body lies about it on its back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.demo.anatomy import BACKGROUND_SUV, Anatomy, Ellipsoid, anatomy, fitting_body_mm
from app.demo.dicom_writer import (
    HU_INTERCEPT,
    VENDORS,
    Uids,
    ct_header,
    ct_image,
    ds_significant,
    pet_header,
    pet_image,
    write_image,
)
from app.demo.pet_quantity import PetQuantity, pet_quantity
from app.demo.phantom_spec import ORIENTATIONS, PhantomLesion, PhantomSpec, Point, Shape
from app.demo.rendering import centred_geometry, section
from operators.domain import Box, Geometry

__all__ = ["PhantomLesion", "PhantomSpec", "PhantomTruth", "TrueLesion", "write_phantom"]

HOTTEST_EXCESS = 1.02
"""The hottest voxel of a lesion over the others."""
NOISE_CLIP = 3.0
"""Standard deviations that noise may reach: the background stays below any threshold in use."""
LESION_HU = 45.0
CT_NOISE_HU = 8.0
SEEDED_RADIUS_MM = (10.0, 16.0)
SEEDED_SUV = (6.0, 18.0)
TRIES = 20_000


@dataclass(frozen=True, slots=True)
class TrueLesion:
    """What a correct reader finds of one lesion, from the stored values, as float64."""

    center_mm: Point
    """LPS, of the sphere."""
    radius_mm: float
    suv: float
    """As specified; the stored values are within the quantisation of it."""
    box: Box
    """Bounding box of its voxels on the PET grid, (z, y, x)."""
    mask: NDArray[np.bool_]
    """Inside ``box``: voxels whose centre lies in the sphere."""
    voxels: int
    volume_ml: float
    """Voxel count x voxel volume."""
    sphere_ml: float
    """Of the sphere itself."""
    suv_max: float
    suv_max_index: tuple[int, int, int]
    """(z, y, x)."""
    suv_mean: float
    centroid_mm: Point
    """LPS, of the voxel centres."""


@dataclass(frozen=True, slots=True)
class PhantomTruth:
    study_instance_uid: str
    pet_series_uid: str
    ct_series_uid: str | None
    """None without a CT."""
    geometry: Geometry
    """Of the PET."""
    ct_geometry: Geometry | None
    lesions: tuple[TrueLesion, ...]
    suvbw_factor: NDArray[np.float64]
    """(z,): SUVbw per unit of stored value x rescale slope."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """All lesions, (z, y, x) on the PET grid."""
        mask = np.zeros(self.geometry.shape, np.bool_)
        for lesion in self.lesions:
            mask[lesion.box] |= lesion.mask
        return mask


def write_phantom(folder: Path, spec: PhantomSpec = PhantomSpec()) -> PhantomTruth:  # noqa: B008  frozen
    """Write a phantom study; the same specification always gives the same bytes.

    Parameters
    ----------
    folder : Path
        Made when it is not there. All files of the study lie flat in it.
    spec : PhantomSpec
        What to write.

    Returns
    -------
    PhantomTruth
        The lesions in the order of ``spec.lesions``, or as placed from the seed.

    Raises
    ------
    ValueError
        When a lesion has no voxel, lesions share voxels, or the body has no room for ``n_lesions``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    uids = Uids.of(spec)
    body = anatomy(spec.body_mm or fitting_body_mm(spec.extent_lps_mm), spec.tracer, uptake=spec.organs)
    geometry = centred_geometry(spec.shape, spec.spacing_mm, spec.cosines, uids.frame)
    lesions = place_lesions(spec, body, geometry) if spec.lesions is None else spec.lesions
    spots = tuple(_voxelise(lesion, geometry) for lesion in lesions)
    _require_apart(spots, geometry.shape)
    quantity = pet_quantity(spec)
    suvs = _write_pet(folder, spec, uids=uids, body=body, geometry=geometry, quantity=quantity, spots=spots)
    ct_geometry = _write_ct(folder, spec, uids, body, lesions) if spec.ct else None
    return PhantomTruth(
        study_instance_uid=uids.study,
        pet_series_uid=uids.pet,
        ct_series_uid=uids.ct if spec.ct else None,
        geometry=geometry,
        ct_geometry=ct_geometry,
        lesions=tuple(_truth(spot, suv, geometry) for spot, suv in zip(spots, suvs, strict=True)),
        suvbw_factor=np.array([quantity.suvbw_factor(z) for z in range(geometry.shape[0])]),
    )


# ---- lesions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Spot:
    """A lesion on the PET grid."""

    lesion: PhantomLesion
    box: Box
    mask: NDArray[np.bool_]
    hottest: tuple[int, int, int]
    """Within the box."""

    def on_slice(self, z: int) -> int | None:
        """The index of slice ``z`` within the box."""
        return z - self.box[0].start if self.box[0].start <= z < self.box[0].stop else None


def place_lesions(spec: PhantomSpec, body: Anatomy, geometry: Geometry) -> tuple[PhantomLesion, ...]:
    """Draw lesions from the seed: in the body, in view, apart from each other and from hot organs.

    Apart means more than a voxel's diagonal, so that no two are 26-connected.
    """
    random = np.random.default_rng([spec.seed, 1])
    gap_mm = 1.5 * float(np.linalg.norm(geometry.spacing_mm))
    reach_mm = np.max([part.center_mm + part.radii_mm for part in body.body], axis=0)
    lesions: list[PhantomLesion] = []
    for _ in range(TRIES):
        if len(lesions) == spec.n_lesions:
            break
        center = np.round(random.uniform(-reach_mm, reach_mm), 2)
        radius = round(float(random.uniform(*SEEDED_RADIUS_MM)), 2)
        suv = round(float(random.uniform(*SEEDED_SUV)), 2)
        apart = all(
            math.dist(center, other.center_mm) > radius + other.radius_mm + gap_mm for other in lesions
        )
        if apart and body.has_room(center, radius, gap_mm) and _in_view(center, radius, geometry):
            lesions.append(PhantomLesion((float(center[0]), float(center[1]), float(center[2])), radius, suv))
    if len(lesions) < spec.n_lesions:
        raise ValueError(f"the body has room for {len(lesions)} lesions of {spec.n_lesions}")
    return tuple(lesions)


def _in_view(center_mm: NDArray[np.float64], radius_mm: float, geometry: Geometry) -> bool:
    index = geometry.to_index(center_mm[None])[0]
    margin = radius_mm / np.array(geometry.spacing_mm)
    return bool(np.all(index - margin >= 0) and np.all(index + margin <= np.array(geometry.shape) - 1))


def _voxelise(lesion: PhantomLesion, geometry: Geometry) -> _Spot:
    """The voxels whose centres lie in the sphere, in their bounding box."""
    center = np.array(lesion.center_mm)
    index = geometry.to_index(center[None])[0]
    margin = lesion.radius_mm / np.array(geometry.spacing_mm)
    start = np.clip(np.floor(index - margin).astype(int), 0, geometry.shape)
    stop = np.clip(np.ceil(index + margin).astype(int) + 1, start, geometry.shape)
    z, y, x = np.indices(stop - start).reshape(3, -1) + start[:, None]
    distance = np.linalg.norm(geometry.to_lps(np.stack([z, y, x], axis=1)) - center, axis=1)
    inside = (distance <= lesion.radius_mm).reshape(stop - start)
    if not inside.any():
        raise ValueError(f"the lesion at {lesion.center_mm} holds no voxel centre")
    occupied = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    low = np.array([indices[0] for indices in occupied])
    high = np.array([indices[-1] + 1 for indices in occupied])
    nearest = np.unravel_index(int(distance.argmin()), inside.shape) - low
    tight = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    box = tuple(slice(int(a), int(b)) for a, b in zip(start + low, start + high, strict=True))
    return _Spot(
        lesion=lesion,
        box=(box[0], box[1], box[2]),
        mask=inside[tight],
        hottest=(int(nearest[0]), int(nearest[1]), int(nearest[2])),
    )


def _require_apart(spots: tuple[_Spot, ...], shape: Shape) -> None:
    taken: set[int] = set()
    for spot in spots:
        z, y, x = np.nonzero(spot.mask)
        start = [axis.start for axis in spot.box]
        voxels = set(np.ravel_multi_index((z + start[0], y + start[1], x + start[2]), shape).tolist())
        if taken & voxels:
            raise ValueError(f"the lesion at {spot.lesion.center_mm} shares voxels with another")
        taken |= voxels


def _truth(spot: _Spot, suv: NDArray[np.float64], geometry: Geometry) -> TrueLesion:
    """Measure the stored values of one lesion, given in the order of its mask's voxels."""
    start = np.array([axis.start for axis in spot.box])
    indices = np.argwhere(spot.mask) + start
    centroid = geometry.to_lps(indices).mean(axis=0)
    hottest = indices[int(suv.argmax())]
    return TrueLesion(
        center_mm=spot.lesion.center_mm,
        radius_mm=spot.lesion.radius_mm,
        suv=spot.lesion.suv,
        box=spot.box,
        mask=spot.mask,
        voxels=len(indices),
        volume_ml=len(indices) * geometry.voxel_volume_ml,
        sphere_ml=4 / 3 * math.pi * spot.lesion.radius_mm**3 / 1000,
        suv_max=float(suv.max()),
        suv_max_index=(int(hottest[0]), int(hottest[1]), int(hottest[2])),
        suv_mean=float(suv.mean()),
        centroid_mm=(float(centroid[0]), float(centroid[1]), float(centroid[2])),
    )


# ---- PET ---------------------------------------------------------------------------------------


def _write_pet(
    folder: Path,
    spec: PhantomSpec,
    *,
    uids: Uids,
    body: Anatomy,
    geometry: Geometry,
    quantity: PetQuantity,
    spots: tuple[_Spot, ...],
) -> list[NDArray[np.float64]]:
    """Write the PET and return each lesion's stored SUVs in the order of its mask's voxels."""
    vendor = VENDORS[spec.vendor]
    dtype = np.dtype(np.int16 if vendor.signed else np.uint16)
    header = pet_header(spec, uids, geometry, quantity)
    top = _suv_ceiling(spec, body, spots)
    smallest_factor = min(quantity.suvbw_factor(z) for z in range(geometry.shape[0]))
    stored_suvs: list[list[NDArray[np.float64]]] = [[] for _ in spots]
    for z, plane in enumerate(_suv_planes(spec, body, geometry, spots)):
        factor = quantity.suvbw_factor(z)
        peak = float(plane.max()) / factor if vendor.slope_per_slice else top / smallest_factor
        slope_text = ds_significant(peak / 32767 or 1.0)
        slope = float(slope_text)
        stored = np.rint(plane / (slope * factor)).clip(0, 32767).astype(dtype)
        image = pet_image(header, z, stored, slope_text=slope_text, geometry=geometry, quantity=quantity)
        write_image(image, folder, spec.transfer_syntax_uid)
        for values, spot in zip(stored_suvs, spots, strict=True):
            if (k := spot.on_slice(z)) is not None:
                values.append(stored[spot.box[1:]][spot.mask[k]].astype(np.float64) * slope * factor)
    return [np.concatenate(values) for values in stored_suvs]


def _suv_ceiling(spec: PhantomSpec, body: Anatomy, spots: tuple[_Spot, ...]) -> float:
    organ = max(body.suv_max, BACKGROUND_SUV) * (1 + NOISE_CLIP * spec.noise)
    return max([organ, *(spot.lesion.suv * HOTTEST_EXCESS for spot in spots)])


def _suv_planes(
    spec: PhantomSpec, body: Anatomy, geometry: Geometry, spots: tuple[_Spot, ...]
) -> Iterator[NDArray[np.float32]]:
    for z in range(geometry.shape[0]):
        plane = np.zeros(geometry.shape[1:], np.float32)
        for ellipsoid in body.ellipsoids:
            _paint(plane, ellipsoid, ellipsoid.suv, geometry, z)
        if spec.noise and plane.any():
            random = np.random.default_rng([spec.seed, 2, z])
            noise = random.standard_normal(geometry.shape[1:], np.float32)
            plane *= 1 + spec.noise * np.clip(noise, -NOISE_CLIP, NOISE_CLIP)
        for spot in spots:
            if (k := spot.on_slice(z)) is not None:
                window = plane[spot.box[1:]]
                window[spot.mask[k]] = spot.lesion.suv
                if k == spot.hottest[0]:
                    window[spot.hottest[1:]] = spot.lesion.suv * HOTTEST_EXCESS
        yield plane


# ---- CT ----------------------------------------------------------------------------------------


def _write_ct(
    folder: Path, spec: PhantomSpec, uids: Uids, body: Anatomy, lesions: tuple[PhantomLesion, ...]
) -> Geometry:
    cosines = ORIENTATIONS["axial"]
    geometry = centred_geometry(*_ct_grid(spec), cosines, uids.ct_frame)
    header = ct_header(spec, uids, geometry, cosines)
    nodules = [_nodule(lesion) for lesion in lesions]
    for z in range(geometry.shape[0]):
        plane = np.full(geometry.shape[1:], -1000.0, np.float32)
        for ellipsoid in (*body.ellipsoids, *nodules):
            _paint(plane, ellipsoid, ellipsoid.hu, geometry, z)
        random = np.random.default_rng([spec.seed, 3, z])
        plane += CT_NOISE_HU * random.standard_normal(geometry.shape[1:], np.float32)
        stored = np.rint(plane - HU_INTERCEPT).clip(0, 4095).astype(np.int16)
        write_image(ct_image(header, z, stored, geometry), folder, spec.transfer_syntax_uid)
    return geometry


def _ct_grid(spec: PhantomSpec) -> tuple[Shape, Point]:
    """Shape and spacing, (z, y, x), of an axial CT over the PET's field of view."""
    extent, fine = spec.extent_lps_mm[::-1], spec.spacing_lps_mm[::-1] / (1.0, 2.0, 2.0)
    if spec.ct_spacing_mm is not None:
        spacing = np.array(spec.ct_spacing_mm)
    else:
        spacing = fine if spec.ct_shape is None else extent / np.array(spec.ct_shape)
    z, y, x = spec.ct_shape or np.ceil(extent / spacing - 1e-6).astype(int)
    return (int(z), int(y), int(x)), (float(spacing[0]), float(spacing[1]), float(spacing[2]))


def _nodule(lesion: PhantomLesion) -> Ellipsoid:
    return Ellipsoid(
        "lesion", np.array(lesion.center_mm), np.full(3, lesion.radius_mm), LESION_HU, lesion.suv
    )


def _paint(plane: NDArray[Any], ellipsoid: Ellipsoid, value: float, geometry: Geometry, z: int) -> None:
    if (found := section(ellipsoid, geometry, z)) is not None:
        rows, columns, inside = found
        plane[rows, columns][inside] = value
