"""Lesions: where they grow, what form they take, and how hot they are; and real tumours laid into a body."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.petct_lesion.training.simulator.canvas import Canvas, smooth_field
from models.petct_lesion.training.simulator.shapes import curve
from models.petct_lesion.training.simulator.types import TOUCHING, VOXEL_MM, Label, Tissue, Tumour

VOXEL_ML = VOXEL_MM**3 / 1000

STATIONS = {
    # middle lines of the chains of nodes on the left side; the right is mirrored
    "neck": ((42, 0, 735), (38, -8, 690), (40, -10, 640)),
    "supraclavicular": ((40, -30, 615), (75, -20, 612)),
    "axilla": ((110, -30, 580), (135, 0, 560), (130, 10, 520)),
    "mediastinum": ((-12, -5, 590), (-12, -2, 540), (4, 18, 505), (6, 24, 450)),
    "hilum": ((28, 8, 530), (44, 14, 505)),
    "internal mammary": ((22, -82, 560), (22, -84, 470)),
    "coeliac": ((10, -8, 330), (-20, -16, 325)),
    "mesentery": ((0, -30, 270), (10, -50, 220), (-20, -40, 180)),
    "para-aortic": ((18, 6, 320), (16, 6, 270), (14, 8, 220)),
    "iliac": ((24, 12, 190), (44, 10, 140), (62, -15, 100)),
    "obturator": ((52, 0, 100), (45, -8, 80)),
    "presacral": ((4, 44, 160), (3, 52, 110)),
    "inguinal": ((78, -62, 70), (70, -62, 10)),
    "popliteal": ((75, 40, -390), (75, 42, -410)),
}

# how often each kind starts a patient's pattern of disease, by tracer
KINDS = (
    "nodes",
    "bone",
    "liver",
    "lung",
    "soft",
    "mass",
    "lymphoma",
    "peritoneum",
    "pleura",
    "brain",
    "beside",
    "spleen",
    "head",
)
KIND_SHARES = {
    "fdg": (0.20, 0.14, 0.09, 0.12, 0.08, 0.12, 0.07, 0.03, 0.03, 0.02, 0.04, 0.02, 0.04),
    "psma": (0.30, 0.40, 0.04, 0.05, 0.03, 0.03, 0.01, 0.01, 0.01, 0.01, 0.09, 0.01, 0.01),
    "sstr": (0.20, 0.16, 0.28, 0.03, 0.06, 0.06, 0.01, 0.08, 0.01, 0.01, 0.08, 0.01, 0.01),
    "fapi": (0.22, 0.15, 0.10, 0.10, 0.08, 0.12, 0.02, 0.08, 0.03, 0.01, 0.05, 0.01, 0.03),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A lesion before it is laid."""

    kind: str
    volume_ml: float
    uptake: float
    """Of its hottest part, in units of the patient's own lesions."""


def draw_count(rng: np.random.Generator) -> int:
    """None in 15 % of bodies, mostly few, sometimes more than a hundred."""
    if rng.random() < 0.15:
        return 0
    return int(np.clip(np.exp(rng.normal(1.7, 1.25)), 1, 150))


def lay_lesions(canvas: Canvas, uptake: dict[str, float], tracer: str, count: int, fwhm_mm: float) -> int:
    """Lay ``count`` lesions; returns how many found a place."""
    rng = canvas.rng
    shares = np.array(KIND_SHARES[tracer])
    favourites = rng.choice(
        len(KINDS), size=min(1 + int(rng.integers(0, 3)), len(KINDS)), replace=False, p=shares / shares.sum()
    )
    centre = {"fdg": 7.5, "psma": 12.0, "sstr": 13.0, "fapi": 6.5}[tracer]
    own = float(np.clip(np.exp(rng.normal(math.log(centre), 0.6)), 2.0, 40))
    bulk = rng.normal(math.log(4.0 if count < 30 else 1.6), 0.85)
    if tracer != "sstr" and count > 12 and rng.random() < 0.12:  # the skeleton is full of disease
        favourites, bulk = np.array([KINDS.index("bone")]), math.log(8.0)
    laid = 0
    for _ in range(count):
        hottest = own * float(np.exp(rng.normal(0, 0.5)))
        size = rng.normal(0, 1.25)
        for attempt in range(4):
            # where the patient's own pattern is out of view, any other is taken
            usual = attempt < 2 and rng.random() < 0.88
            kind = KINDS[
                int(rng.choice(favourites) if usual else rng.choice(len(KINDS), p=shares / shares.sum()))
            ]
            volume = float(np.exp(bulk + size))
            if kind in ("mass", "lymphoma"):
                volume = float(np.exp(rng.uniform(math.log(8), math.log(1000)))) if count < 20 else volume * 4
            if lay_lesion(canvas, uptake, Plan(kind, float(np.clip(volume, 0.2, 1000)), hottest), fwhm_mm):
                laid += 1
                break
    return laid


def lay_lesion(canvas: Canvas, uptake: dict[str, float], plan: Plan, fwhm_mm: float) -> bool:
    """Lay one lesion; False when its place is out of view."""
    rng = canvas.rng
    start = _place(canvas, plan.kind)
    if start is None:
        return False
    home, strays = _home(plan.kind)
    radius = (plan.volume_ml * 3 / (4 * math.pi)) ** (1 / 3) * 10
    reach = max(math.ceil(radius * 2.6 / VOXEL_MM) + 2, 4)
    low = np.maximum(start - reach, 0)
    high = np.minimum(start + reach + 1, canvas.shape)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    tissue = canvas.tissue[box]
    field = blob(rng, plan.kind, tissue.shape, start - low, radius)
    field = field + np.where(np.isin(tissue, home), 0.0, strays).astype(np.float32)
    field[tissue == Tissue.AIR] = np.inf
    mask = _of_volume(field, plan.volume_ml)
    if mask is None:
        return False
    _fill(canvas, box, mask, plan, fwhm_mm, uptake)
    return True


def _place(canvas: Canvas, kind: str) -> NDArray[np.int64] | None:
    """A voxel (z, y, x) to start from."""
    rng = canvas.rng
    if kind in ("nodes", "lymphoma"):
        names = tuple(STATIONS)
        line = curve(STATIONS[names[int(rng.integers(len(names)))]], 9)
        point = line[int(rng.integers(9))] * np.array((rng.choice((-1, 1)), 1, 1)) + rng.normal(0, 5, 3)
        return _in_view(canvas, point)
    tissues = {
        "bone": Tissue.MARROW,
        "liver": Tissue.LIVER,
        "lung": Tissue.LUNG,
        "soft": Tissue.FAT,
        "mass": Tissue.MUSCLE,
        "peritoneum": Tissue.VISCERAL,
        "pleura": Tissue.LUNG,
        "brain": Tissue.BRAIN,
        "spleen": Tissue.SPLEEN,
    }
    if kind == "beside":
        organ = int(rng.choice((Label.URINARY, Label.KIDNEY, Label.HEART, Label.GUT)))
        at = _some(rng, canvas.labels == organ)
        if at is None:
            return None
        return np.asarray(np.clip(at + rng.integers(-7, 8, 3), 0, np.array(canvas.shape) - 1), np.int64)
    if kind == "head":
        return _in_view(canvas, np.array((rng.uniform(-55, 55), rng.uniform(-90, 10), rng.uniform(650, 760))))
    wanted = canvas.tissue == tissues[kind]
    if kind == "bone":
        share = rng.random()
        inner = np.abs(canvas.xyz[0]) < (150 if share < 0.9 else 400)
        wanted &= (
            inner
            & (canvas.xyz[2] < (760 if share < 0.95 else 900))
            & (canvas.xyz[2] > (-60 if share < 0.93 else -900))
        )
    if kind == "pleura":
        wanted &= ~ndimage.binary_erosion(wanted)
    return _some(rng, wanted)


def _in_view(canvas: Canvas, point: NDArray[np.float64]) -> NDArray[np.int64] | None:
    index = np.rint(canvas.index_of(point[None])[0]).astype(np.int64)
    if (
        np.any(index < 1)
        or np.any(index >= np.array(canvas.shape) - 1)
        or canvas.tissue[tuple(index)] == Tissue.AIR
    ):
        return None
    return np.asarray(index, np.int64)


def _some(rng: np.random.Generator, wanted: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    flat = np.flatnonzero(wanted)
    if flat.size == 0:
        return None
    return np.array(np.unravel_index(int(flat[int(rng.integers(flat.size))]), wanted.shape), np.int64)


def _home(kind: str) -> tuple[tuple[int, ...], float]:
    """The tissues a kind keeps to, and how hard the others are for it (in radii)."""
    return {
        "bone": ((Tissue.MARROW,), 0.8),
        "liver": ((Tissue.LIVER,), 1.5),
        "spleen": ((Tissue.SPLEEN,), 1.5),
        "brain": ((Tissue.BRAIN,), 2.0),
        "lung": ((Tissue.LUNG,), 0.8),
        "pleura": ((Tissue.LUNG, Tissue.FAT), 0.5),
        "peritoneum": ((Tissue.VISCERAL,), 0.9),
        "beside": ((Tissue.VISCERAL, Tissue.FAT, Tissue.MUSCLE), 3.0),
        "mass": ((Tissue.MUSCLE, Tissue.FAT), 0.5),
    }.get(kind, ((Tissue.MUSCLE, Tissue.FAT, Tissue.VISCERAL, Tissue.BLOOD, Tissue.ORGAN), 0.7))


def blob(
    rng: np.random.Generator, kind: str, shape: tuple[int, ...], centre: NDArray[np.int64], radius: float
) -> NDArray[np.float32]:
    """Distance in radii from the middle of a blob, lobed, drawn out or ragged."""
    z, y, x = np.indices(shape, np.float32, sparse=True)
    size = (shape[0], shape[1], shape[2])
    lobes = 1 if radius < 8 else int(rng.choice((1, 2, 3, 5, 8), p=(0.4, 0.2, 0.2, 0.1, 0.1)))
    if kind == "lymphoma":
        lobes = int(rng.integers(3, 9))
    field = np.full(shape, np.inf, np.float32)
    middle = centre.astype(float)
    line = rng.normal(0, 1, 3)
    line /= np.linalg.norm(line)
    for lobe in range(lobes):
        stretch = np.exp(rng.normal(0, 0.22 if kind not in ("peritoneum", "pleura") else 0.55, 3))
        stretch /= np.prod(stretch) ** (1 / 3)
        part = radius * (1.0 if lobe == 0 else rng.uniform(0.4, 0.95)) / VOXEL_MM
        q = np.linalg.qr(rng.normal(0, 1, (3, 3)))[0]
        dz, dy, dx = z - middle[0], y - middle[1], x - middle[2]
        r2 = sum(((q[i, 0] * dz + q[i, 1] * dy + q[i, 2] * dx) / (part * stretch[i])) ** 2 for i in range(3))
        field = np.minimum(field, np.sqrt(r2).astype(np.float32))
        step = rng.normal(0, 0.6, 3) + (line * rng.uniform(0.6, 1.4) if lobes > 2 else 0)
        middle = middle + step * radius / VOXEL_MM
        middle = np.clip(middle, 1, np.array(shape) - 2)
    ragged = rng.uniform(0.02, 0.35) if radius > 6 else 0.1
    return np.asarray(field + ragged * smooth_field(rng, size, max(radius * 0.8, 8.0)), np.float32)


def _of_volume(field: NDArray[np.float32], volume_ml: float) -> NDArray[np.bool_] | None:
    """The part around the lowest value near the middle that has the volume."""
    voxels = max(round(volume_ml / VOXEL_ML), 2)
    finite = np.isfinite(field)
    if finite.sum() < voxels + 1:
        return None
    level = np.partition(field[finite], voxels - 1)[voxels - 1]
    faces = [np.take(field, side, axis).min() for axis in range(3) for side in (0, -1)]
    level = min(level, 1.7, *faces)  # a thin limb holds less than was asked for
    mask = field <= level
    parts, count = ndimage.label(mask, TOUCHING)
    if count > 1:
        sizes = np.bincount(parts.ravel())[1:]
        mask = parts == 1 + int(sizes.argmax())
    return np.asarray(mask, np.bool_) if mask.sum() >= 2 else None


def recovery(radius_mm: float, fwhm_mm: float) -> float:
    """How much of its uptake the middle of a sphere keeps after blurring."""
    t = radius_mm / (math.sqrt(2) * fwhm_mm / 2.355)
    return math.erf(t) - 2 / math.sqrt(math.pi) * t * math.exp(-t * t)


def _fill(
    canvas: Canvas,
    box: tuple[slice, ...],
    mask: NDArray[np.bool_],
    plan: Plan,
    fwhm_mm: float,
    uptake: dict[str, float],
) -> None:
    rng = canvas.rng
    volume_ml = float(mask.sum()) * VOXEL_ML
    radius = (volume_ml * 3 / (4 * math.pi)) ** (1 / 3) * 10
    suv, hu = canvas.suv[box], canvas.hu[box]
    near = ndimage.binary_dilation(mask, iterations=2) & (canvas.tissue[box] != Tissue.AIR)
    background = float(np.median(suv[near]))
    large = volume_ml > 12
    cold = rng.random() < (0.55 if volume_ml > 60 else 0.3 if large else 0.05)
    faint = rng.random() < 0.18
    visible = max(1.55 * background, background + 0.8, 1.6)
    peak = visible * rng.uniform(1.0, 1.5) if faint else max(plan.uptake, visible)
    # small lesions lose to blurring what they need to be seen
    kept = recovery(radius, fwhm_mm)
    peak = min(background + (peak - background) / max(kept, 0.25) ** (1.0 if faint else 0.5), 90.0)
    grain = smooth_field(rng, (mask.shape[0], mask.shape[1], mask.shape[2]), max(8.0, radius * 0.5))
    mix = rng.uniform(0.02, 0.15) if not large else rng.uniform(0.05, 0.45)
    share = np.exp(mix * (grain - 1.0))
    if cold and large:
        depth = ndimage.distance_transform_edt(mask).astype(np.float32) * VOXEL_MM
        rim = rng.uniform(0.12, 0.6) * radius
        core = 1 / (1 + np.exp(-(depth - rim + 0.35 * radius * grain) / 2.5))
        if rng.random() < 0.35:  # a cold part on one side
            core = np.maximum(core, 1 / (1 + np.exp(-4 * (np.roll(grain, 3, 0) - rng.uniform(-0.5, 1.0)))))
        floor = rng.uniform(0.3, 1.2) * max(min(uptake["muscle"], background), 0.3) / peak
        share = share * (1 - core) + floor * core
    elif large and rng.random() < 0.4:
        share = share * (0.35 + 0.65 / (1 + np.exp(-2 * (grain + rng.uniform(-0.5, 1.5)))))
    value = np.asarray(peak * share, np.float32)
    suv[mask] = value[mask]
    density = {
        "lung": rng.uniform(-200, 40),
        "liver": rng.uniform(25, 60),
        "bone": rng.choice((rng.uniform(350, 900), rng.uniform(20, 90), 9999.0)),
    }
    number = density.get(plan.kind, rng.uniform(20, 65))
    if number < 9000:
        hu[mask] = number + 8 * grain[mask]
    labels = canvas.labels[box]
    labels[mask] = Label.LESION


@dataclass(frozen=True, slots=True)
class Patch:
    """A real tumour in its place: it is blurred already, so that it goes into the blurred image."""

    box: tuple[slice, slice, slice]
    weight: NDArray[np.float32]
    suv: NDArray[np.float32]


def lay_tumour(canvas: Canvas, tumour: Tumour) -> Patch | None:
    """Find a real tumour's place in muscle or fat, turned, mirrored and scaled; labels and CT are laid.

    Of a few places the one is taken in which most of it lies inside the body. None when there is nothing
    to lay or no room.
    """
    rng = canvas.rng
    sites = np.flatnonzero((canvas.tissue == Tissue.MUSCLE) & (np.abs(canvas.xyz[0]) < 190))
    if sites.size == 0 or not tumour.mask.any():
        return None
    zoom = rng.uniform(0.75, 1.25)
    turn = np.linalg.qr(rng.normal(0, 1, (3, 3)))[0] if rng.random() < 0.4 else _about_z(rng)
    matrix = turn * rng.choice((-1.0, 1.0), 3) / zoom
    side = math.ceil(float(np.linalg.norm(tumour.mask.shape)) * zoom)
    offset = np.array(ndimage.center_of_mass(tumour.mask)) - matrix @ np.full(3, (side - 1) / 2)

    def moved(volume: NDArray[np.float32], outside: float) -> NDArray[np.float32]:
        turned = ndimage.affine_transform(volume, matrix, offset, (side,) * 3, order=1, cval=outside)
        return np.asarray(turned, np.float32)

    share = moved(tumour.mask.astype(np.float32), 0.0)
    # its own spill-out comes along
    weight = np.clip(2 * ndimage.gaussian_filter(np.clip(2 * share, 0, 1), 1.2, truncate=2.5), 0, 1)
    used = ndimage.find_objects((weight > 0.01).astype(np.int8))[0]
    mask, weight = share[used] > 0.5, weight[used]
    size = np.array(canvas.shape)
    if np.any(np.array(mask.shape) > size) or not mask.any():
        return None
    boxes = [
        _box_at(np.array(np.unravel_index(int(site), canvas.shape)), np.array(mask.shape), size)
        for site in rng.choice(sites, 8)
    ]
    box = max(boxes, key=lambda one: int((mask & (canvas.tissue[one] != Tissue.AIR)).sum()))
    if (mask & (canvas.tissue[box] != Tissue.AIR)).sum() < 0.6 * mask.sum():
        return None
    weight = np.where(mask, 1, weight * (canvas.tissue[box] != Tissue.AIR)).astype(np.float32)
    canvas.hu[box] += weight * (moved(tumour.hu, 40.0)[used] - canvas.hu[box])
    canvas.labels[box][mask] = Label.LESION
    canvas.tissue[box][mask] = Tissue.MUSCLE
    return Patch(box, weight, moved(tumour.suv, 0.0)[used] * np.float32(np.exp(rng.normal(0, 0.25))))


def _box_at(
    middle: NDArray[np.int64], extent: NDArray[np.int64], size: NDArray[np.int64]
) -> tuple[slice, slice, slice]:
    """A box of an extent about a voxel, moved into view."""
    z, y, x = (int(low) for low in np.clip(middle - extent // 2, 0, size - extent))
    return slice(z, z + int(extent[0])), slice(y, y + int(extent[1])), slice(x, x + int(extent[2]))


def drop_invisible(labels: NDArray[np.uint8], suv: NDArray[np.float32], patches: Sequence[Patch]) -> int:
    """Take the label from simulated lesions that nobody could see; returns how many lesions are left."""
    parts, _ = ndimage.label(labels == Label.LESION, TOUCHING)
    real = set()
    for patch in patches:
        real |= set(np.unique(parts[patch.box][patch.weight >= 1]).tolist())
    left = 0
    for number, found in enumerate(ndimage.find_objects(parts), start=1):
        box = tuple(slice(max(part.start - 3, 0), part.stop + 3) for part in found)
        inside = parts[box] == number
        ring = (
            ndimage.binary_dilation(inside, iterations=3)
            & ~ndimage.binary_dilation(inside)
            & (labels[box] != Label.LESION)
        )
        around = float(np.median(suv[box][ring])) if ring.any() else 0.0
        if number in real or float(np.percentile(suv[box][inside], 90)) > max(1.3 * around, 1.1):
            left += 1
        else:
            labels[box][inside] = Label.BACKGROUND
    return left


def _about_z(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def total_ml(canvas_labels: NDArray[np.uint8]) -> float:
    """Volume labelled as lesion."""
    return float((canvas_labels == Label.LESION).sum()) * VOXEL_ML
