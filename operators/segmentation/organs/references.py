"""Reference regions: the liver's sphere, the blood pool's cylinder and others, placed in an organ map.

Sources: PERCIST 1.0 (Wahl et al., J Nucl Med 2009;50 Suppl 1:122S; recalled, not verified against the primary
source): a sphere of 3 cm in the right lobe of the liver; where that is diseased, the blood pool, a
cylinder of 1 cm x 2 cm in the descending thoracic aorta. PROMISE (Seifert et al., Eur Urol 2023;83:405; read
in a transcription) compares with blood pool, liver or spleen, and parotid gland. The size of a sphere in the
spleen (2 cm), a parotid gland (1 cm) and a kidney (1.5 cm), how all are placed, and what uptake is plausible
are this module's own choice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Box, Geometry, Note, OrganMap, ReferenceRegion, Volume
from operators.segmentation.organs.boxes import label_boxes

SPHERE_RADIUS_MM = 15.0
CYLINDER_RADIUS_MM = 5.0
CYLINDER_HEIGHT_MM = 20.0
SPLEEN_RADIUS_MM = 10.0
PAROTID_RADIUS_MM = 5.0
KIDNEY_RADIUS_MM = 7.5

WANTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fdg": ("liver", "blood_pool"),
        "psma": ("liver", "blood_pool", "spleen", "parotid", "kidney"),
        "sstr": ("liver", "blood_pool", "spleen", "kidney"),
        "fapi": ("liver", "blood_pool"),
    }
)
"""Regions that a tracer's rules ask for, by the name of its protocol; any other has the first two."""
USUAL = ("liver", "blood_pool")

PLAUSIBLE_SUV: Mapping[tuple[str, str], tuple[float, float]] = MappingProxyType(
    {("fdg", "liver"): (1.0, 3.5), ("fdg", "blood_pool"): (0.7, 3.0)}
)
"""SUVmean, g/ml, that a region of a tracer may have without a remark; own choice. The organs of other
tracers vary too much to say."""
PLAUSIBLE_COV = 0.25
"""SD over mean up to which a region is even enough; own choice. Not asked of parotid glands and kidneys:
small for a scanner's resolution the ones, uneven by nature the others."""
_EVEN = ("liver", "blood_pool", "spleen")

LEAST_CONFIDENCE = 0.5
"""Of an organ, to have a region placed in it; own choice."""

SMOOTHED_MM = 4.0
"""Standard deviation of the smoothing in which hot and cold spots are looked for: noise is neither."""

ODD_MEDIANS = 1.5
ODD_DEVIATIONS = 2.0
"""Voxels above 1.5 x the organ's median + 2 SD (from the median absolute deviation), lesions, or below median
/ 1.5 - 2 SD, such as cysts or what breathing has put beside the organ, are no reference."""
_SD_PER_MAD = 1.4826

Shape = Callable[[NDArray[np.float64]], NDArray[np.bool_]]
"""Which of some places in mm from the region's centre, (n, 3) along L, P and S, belong to the region."""
Side = Callable[[NDArray[np.float64]], NDArray[np.bool_]]
"""Which of an organ's places in LPS mm, (n, 3), are on the side where the region may have its centre."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A row of the table of reference regions."""

    name: str
    title: str
    labels: tuple[str, ...]
    """Of organ packages; the one with most room is taken."""
    radius_mm: float
    """Of the largest sphere round the centre that lies in the region."""
    reach_mm: float
    """Of the smallest sphere that holds the region."""
    shape: Shape
    side: Side


def _sphere(radius_mm: float) -> Shape:
    def inside(offsets: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(np.linalg.norm(offsets, axis=1) <= radius_mm)

    return inside


def _cylinder(offsets: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.hypot(offsets[:, 0], offsets[:, 1]) <= CYLINDER_RADIUS_MM
    return inside & (np.abs(offsets[:, 2]) <= CYLINDER_HEIGHT_MM / 2)


def _right_half(places: NDArray[np.float64]) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = places[:, 0] < places[:, 0].mean()
    return right


def _behind(places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The part nearest to the back: of the aorta that is its descending thoracic part."""
    behind: NDArray[np.bool_] = places[:, 1] >= np.quantile(places[:, 1], 0.6)
    return behind


def _anywhere(places: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.ones(len(places), np.bool_)


def _ball(name: str, title: str, labels: tuple[str, ...], radius_mm: float, side: Side) -> Placement:
    return Placement(name, title, labels, radius_mm, radius_mm, _sphere(radius_mm), side)


PLACEMENTS = (
    _ball("liver", "liver", ("liver",), SPHERE_RADIUS_MM, _right_half),
    Placement(
        "blood_pool",
        "blood pool",
        ("aorta",),
        CYLINDER_RADIUS_MM,
        float(np.hypot(CYLINDER_RADIUS_MM, CYLINDER_HEIGHT_MM / 2)),
        _cylinder,
        _behind,
    ),
    _ball("spleen", "spleen", ("spleen",), SPLEEN_RADIUS_MM, _anywhere),
    _ball(
        "parotid",
        "parotid gland",
        ("parotid_gland_right", "parotid_gland_left"),
        PAROTID_RADIUS_MM,
        _anywhere,
    ),
    _ball("kidney", "kidney", ("kidney_right", "kidney_left"), KIDNEY_RADIUS_MM, _anywhere),
)


def place_references(
    pet: Volume,
    organs: OrganMap | None,
    lesions: NDArray[np.bool_] | None = None,
    *,
    wanted: Collection[str] = USUAL,
    confidence: Mapping[str, float] | None = None,
    reasons: Mapping[str, str] | None = None,
) -> tuple[tuple[ReferenceRegion, ...], tuple[Note, ...]]:
    """Place every reference region that finds room in its organ, clear of hot and cold spots and of lesions.

    Parameters
    ----------
    pet : Volume
        SUVbw.
    organs : OrganMap or None
        None: nothing was found.
    lesions : ndarray of bool, shape (z, y, x), optional
        What regions keep clear of, on the grid of `pet`.
    wanted : collection of str
        Names of the regions, see `WANTED`.
    confidence : mapping, optional
        How sure each organ is, by its label; below `LEAST_CONFIDENCE` no region is placed in it.
    reasons : mapping, optional
        Why an organ is absent or doubtful, by its label, as a clause.

    Returns
    -------
    tuple of ReferenceRegion
    tuple of Note
        One for each that found no place, with the reason.
    """
    place = _Placing(pet, organs, lesions, confidence or {}, reasons or {})
    regions: list[ReferenceRegion] = []
    notes: list[Note] = []
    for placement in PLACEMENTS:
        if placement.name not in wanted:
            continue
        placed = _placed(place, placement)
        if isinstance(placed, ReferenceRegion):
            regions.append(placed)
        else:
            notes.append(Note("REFERENCE_NOT_PLACED", f"Reference region {placement.title}: {placed}."))
    return tuple(regions), tuple(notes)


def is_plausible(region: ReferenceRegion, tracer: str) -> bool:
    """Whether a region's mean uptake is one that the tracer has there; another decides no rule."""
    low, high = PLAUSIBLE_SUV.get((tracer, region.name), (0.0, np.inf))
    return bool(low <= region.suv_mean <= high)


def implausible(regions: Iterable[ReferenceRegion], tracer: str) -> tuple[Note, ...]:
    """What is remarkable of reference regions: uptake out of the usual, or uneven.

    Parameters
    ----------
    regions : iterable of ReferenceRegion
    tracer : str
        Name of the protocol.
    """
    notes = []
    titles = {placement.name: placement.title for placement in PLACEMENTS}
    for region in regions:
        title = titles.get(region.name, region.name)
        low, high = PLAUSIBLE_SUV.get((tracer, region.name), (0.0, np.inf))
        if not is_plausible(region, tracer):
            sentence = (
                f"The reference region in the {title} has an SUVmean of {region.suv_mean:.2f}; {low:g} to "
                f"{high:g} is usual for this tracer. It is not used. Check its place, the injected dose "
                "and the weight."
            )
            notes.append(Note("REFERENCE_IMPLAUSIBLE", sentence))
        if region.name in _EVEN and region.suv_sd > PLAUSIBLE_COV * region.suv_mean:
            sentence = (
                f"The uptake in the reference region in the {title} varies by "
                f"{100 * region.suv_sd / max(region.suv_mean, 1e-6):.0f} % (SD over mean; up to "
                f"{100 * PLAUSIBLE_COV:.0f} % is usual): the image is noisy, or the tissue is not healthy."
            )
            notes.append(Note("REFERENCE_UNEVEN", sentence))
    return tuple(notes)


def region_mask(region: ReferenceRegion, geometry: Geometry) -> NDArray[np.bool_]:
    """The voxels of a reference region, (z, y, x) on the grid that it was placed on; for pictures.

    Parameters
    ----------
    region : ReferenceRegion
    geometry : Geometry
        Of the PET.
    """
    mask = np.zeros(geometry.shape, np.bool_)
    placement = next((one for one in PLACEMENTS if one.name == region.name), None)
    if placement is None or region.centre_lps_mm is None:
        return mask
    centre = np.rint(geometry.to_index(np.array(region.centre_lps_mm)[None])[0]).astype(np.int64)
    voxels = centre + _footprint(placement, geometry)
    inside = ((voxels >= 0) & (voxels < geometry.shape)).all(axis=1)
    mask[tuple(voxels[inside].T)] = True
    return mask


@dataclass(frozen=True, slots=True)
class _Placing:
    """What every placement looks at."""

    pet: Volume
    organs: OrganMap | None
    lesions: NDArray[np.bool_] | None
    confidence: Mapping[str, float]
    reasons: Mapping[str, str]


def _placed(place: _Placing, placement: Placement) -> ReferenceRegion | str:
    """The region in the label with most room for it, or why there is none."""
    tried = [_in_label(place, placement, label) for label in placement.labels]
    rooms = [one for one in tried if not isinstance(one, str)]
    if not rooms:
        return str(tried[0])
    label, centre, _ = max(rooms, key=lambda room: room[2])
    return _measured(place, placement, label, centre)


def _in_label(
    place: _Placing, placement: Placement, label: str
) -> tuple[str, NDArray[np.int64], float] | str:
    """The label with the region's centre and the room about it in mm, or why there is none."""
    organ_name = label.replace("_", " ")
    sure = place.confidence.get(label)
    if sure is not None and sure < LEAST_CONFIDENCE:
        return place.reasons.get(label) or f"no {organ_name} was found with enough confidence"
    if place.organs is None:
        return place.reasons.get(label) or f"no {organ_name} was found"
    labels = place.organs.labels
    value = next((v for v, anatomy in place.organs.anatomy.items() if anatomy.name == label), None)
    if value is None:
        return f"the organ model does not know the {organ_name}"
    box = label_boxes(labels).get(value)
    if box is None:
        return place.reasons.get(label) or f"no {organ_name} was found"
    organ = labels[box] == value
    clear = organ & ~_odd(place.pet, box, organ)
    if place.lesions is not None:
        clear &= ~place.lesions[box]
    found = _deepest(clear, organ, box, placement, place.pet.geometry)
    if found is None:
        return f"the {organ_name} has no place for it that is clear of hot or cold spots and lesions"
    return label, *found


def _measured(
    place: _Placing, placement: Placement, label: str, centre: NDArray[np.int64]
) -> ReferenceRegion:
    assert place.organs is not None
    pet, algorithm = place.pet, place.organs.algorithm
    voxels = centre + _footprint(placement, pet.geometry)
    z, y, x = voxels.T
    values = pet.stored[z, y, x].astype(np.float64) * pet.scale[z] + pet.offset[z]
    left, posterior, superior = pet.geometry.to_lps(centre[None])[0].tolist()
    return ReferenceRegion(
        name=placement.name,
        suv_mean=float(values.mean()),
        suv_sd=float(values.std()),
        voxels=len(values),
        volume_ml=len(values) * pet.geometry.voxel_volume_ml,
        centre_lps_mm=(left, posterior, superior),
        source=algorithm.network.package if algorithm.network else algorithm.title,
        confidence=place.confidence.get(label),
    )


def _odd(pet: Volume, box: Box, organ: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of the box that are too hot or too cold for the organ that they are in."""
    spread = [SMOOTHED_MM / mm for mm in pet.geometry.spacing_mm]
    values = ndimage.gaussian_filter(pet.values(box), spread, mode="nearest")
    median = float(np.median(values[organ]))
    deviation = _SD_PER_MAD * float(np.median(np.abs(values[organ] - median)))
    hot: NDArray[np.bool_] = values > ODD_MEDIANS * median + ODD_DEVIATIONS * deviation
    return hot | (values < median / ODD_MEDIANS - ODD_DEVIATIONS * deviation)


def _deepest(
    clear: NDArray[np.bool_],
    organ: NDArray[np.bool_],
    box: Box,
    placement: Placement,
    geometry: Geometry,
) -> tuple[NDArray[np.int64], float] | None:
    """Index (z, y, x) of the centre farthest from what is not clear, of those with room for it; how far."""
    start = np.array([side.start for side in box])
    padded = np.pad(clear, 1)  # beyond the box, and beyond the volume, is no organ
    depth = ndimage.distance_transform_edt(padded, sampling=geometry.spacing_mm)[1:-1, 1:-1, 1:-1]
    places = np.argwhere(organ)
    on_side = places[placement.side(geometry.to_lps(places + start))]
    depths = depth[tuple(on_side.T)]
    candidates = on_side[depths > placement.radius_mm]
    order = np.argsort(-depths[depths > placement.radius_mm], kind="stable")
    offsets = _footprint(placement, geometry)
    for centre in candidates[order]:
        voxels = centre + offsets
        if (voxels >= 0).all() and (voxels < clear.shape).all() and clear[tuple(voxels.T)].all():
            return centre + start, float(depth[tuple(centre)])
    return None


def _footprint(placement: Placement, geometry: Geometry) -> NDArray[np.int64]:
    """Offsets (z, y, x) of the region's voxels from its centre voxel, shape (n, 3)."""
    reach = [int(placement.reach_mm // spacing) for spacing in geometry.spacing_mm]
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1)
    offsets: NDArray[np.int64] = grid.reshape(-1, 3)
    return offsets[placement.shape(offsets @ geometry.affine[:3, :3].T)]
