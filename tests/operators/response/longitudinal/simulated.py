"""Follow-ups with known truth: one simulated body, imaged twice, its lesions changed, the patient moved."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from models.petct_lesion.training.simulator.body import paint_body
from models.petct_lesion.training.simulator.form import draw_build
from models.petct_lesion.training.simulator.types import Tissue
from models.petct_lesion.training.simulator.uptake import draw_uptake
from operators.domain import (
    Algorithm,
    Claim,
    Correspondence,
    Fate,
    Geometry,
    Quantified,
    Registration,
    Segmented,
    Volume,
    Volumes,
)
from operators.quantification.quantify import quantify
from tests.operators.conftest import build_volumes

APART_MM = 62.0
FATES = ("same", "grown", "shrunk", "gone", "new", "split", "merged")


@dataclass(frozen=True)
class Sphere:
    lesion: int
    centre: np.ndarray
    radius_mm: float
    suv: float


@dataclass(frozen=True)
class Anatomy:
    """A body without lesions on a 4 mm grid, where the current study shows it."""

    suv: np.ndarray
    hu: np.ndarray
    tissue: np.ndarray
    geometry: Geometry

    @property
    def centre(self) -> np.ndarray:
        return self.geometry.to_lps((np.array(self.geometry.shape)[None] - 1) / 2)[0]


@dataclass(frozen=True)
class Pose:
    """How the body lies in another study: turned, shifted, bent, of another weight."""

    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bend_mm: float = 0.0
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    seed: int = 0

    def to_body(self, points: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """From the posed study's LPS to the body's."""
        turn = Rotation.from_euler("xyz", self.turn_deg, degrees=True).as_matrix()
        body = (points - centre - self.shift_mm) @ turn.T / self.scale + centre
        rng = np.random.default_rng(self.seed + 77)
        away = np.zeros_like(body)
        for _ in range(4):
            along, across = rng.normal(size=3), rng.normal(size=3)
            phase = body @ along / np.linalg.norm(along) * 2 * np.pi / (260 * rng.uniform(0.8, 1.4))
            wave = np.sin(phase + rng.uniform(0, 6.28))
            away += across / np.linalg.norm(across) * wave[:, None]
        return body + self.bend_mm * away / 2

    def from_body(self, points: np.ndarray, centre: np.ndarray) -> np.ndarray:
        found = points.copy()
        for _ in range(30):
            found = found - 0.8 * (self.to_body(found, centre) - points)
        return found


@dataclass(frozen=True)
class Scenario:
    pose: Pose
    spacing_mm: tuple[float, float, float] = (4.0, 4.0, 4.0)
    bed: tuple[float, float] = (0.03, 0.97)
    """Part of the body's length that the prior shows."""


SCENARIOS = {
    "moved": Scenario(Pose((3, -4, 6), (25, -18, 40))),
    "bent": Scenario(Pose((2, 1, -3), (10, 12, -30), 12.0, seed=1)),
    "lighter": Scenario(Pose((1, -2, 2), (5, 9, 20), 5.0, (0.91, 0.9, 1.0), seed=2)),
    "heavier": Scenario(Pose((-1, 2, -2), (5, 9, 20), 5.0, (1.09, 1.1, 1.0), seed=3)),
    "upper beds": Scenario(Pose((2, 2, 3), (8, -12, 90), 7.0, seed=4), bed=(0.3, 1.0)),
    "lower beds": Scenario(Pose((2, 2, -3), (8, -12, -60), 7.0, seed=6), bed=(0.0, 0.6)),
    "voxels": Scenario(Pose((-2, 3, 2), (-8, 5, 15), 7.0, seed=5), (5.0, 2.8, 2.8)),
}


def upright(shape, spacing_mm, first, frame="1.2.3") -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing_mm)[::-1]
    affine[:3, 3] = first
    return Geometry(tuple(int(n) for n in shape), affine, frame)


def draw_anatomy(seed: int, tracer: str, **build) -> Anatomy:
    rng = np.random.default_rng([seed, 5])
    drawn = replace(draw_build(rng), **build)
    canvas = paint_body(rng, drawn, draw_uptake(rng, tracer, load=0.0), tracer)
    z, y, x = canvas.shape
    return Anatomy(
        canvas.suv, canvas.hu, canvas.tissue, upright((z, y, x), (4, 4, 4), (-2.0 * x, -2.0 * y, 0))
    )


def image(anatomy: Anatomy, geometry: Geometry, pose: Pose, spheres, *, noise, fwhm_mm, seed, gain=1.0):
    """SUV, HU and the lesion of each voxel."""
    rng = np.random.default_rng([seed, 9])
    places = pose.to_body(geometry.to_lps(np.indices(geometry.shape).reshape(3, -1).T), anatomy.centre)
    at = anatomy.geometry.to_index(places).T
    suv = gain * ndimage.map_coordinates(anatomy.suv, at, order=1).reshape(geometry.shape)
    hu = ndimage.map_coordinates(anatomy.hu, at, order=1, cval=-1000).reshape(geometry.shape)
    lesions = np.zeros(geometry.shape, np.int16)
    places = places.reshape(*geometry.shape, 3)
    for sphere in spheres:
        inside = np.abs(places - sphere.centre).max(-1) < sphere.radius_mm
        inside[inside] = np.linalg.norm(places[inside] - sphere.centre, axis=1) <= sphere.radius_mm
        lesions[inside], suv[inside], hu[inside] = sphere.lesion, sphere.suv, 45
    width = [fwhm_mm / 2.355 / mm for mm in geometry.spacing_mm]
    suv = ndimage.gaussian_filter(suv, width)
    grain = ndimage.gaussian_filter(rng.standard_normal(geometry.shape), width)
    suv = np.maximum(suv + noise * grain / grain.std() * (0.04 + np.maximum(suv, 0)) ** 0.6, 0)
    hu = ndimage.gaussian_filter(hu, 0.4) + 12 * rng.standard_normal(geometry.shape)
    row = geometry.shape[1] - 4  # the couch
    hu[:, row : row + 2] = np.maximum(hu[:, row : row + 2], -450)
    return suv.astype(np.float32), np.clip(hu, -1024, 3000).astype(np.int16), lesions


def volume(stored: np.ndarray, geometry: Geometry, unit: str = "g/ml{SUVbw}") -> Volume:
    n = len(stored)
    return Volume(stored, np.ones(n), np.zeros(n), unit, geometry, (), None, "")


def volumes_of(suv: np.ndarray, hu: np.ndarray | None, geometry: Geometry) -> Volumes:
    built = build_volumes(volume(suv, geometry))
    return built if hu is None else replace(built, ct=volume(hu, geometry, "[hnsf'U]"))


def measured(volumes: Volumes, mask: np.ndarray) -> Quantified:
    return quantify(Segmented(volumes, mask, Claim.LESION, Algorithm("truth", "", "1", (), "", "cpu"), ()))


@dataclass(frozen=True)
class Case:
    current: Quantified
    prior: Quantified
    expected: frozenset[tuple[Fate, tuple[int, ...], tuple[int, ...]]]
    centres: np.ndarray
    """Of the lesions in the current study, LPS mm, and only those that the prior shows."""
    there: np.ndarray
    """Where these are in the prior."""

    def pet_only(self) -> Case:
        return replace(self, current=_without_ct(self.current), prior=_without_ct(self.prior))


def _without_ct(quantified: Quantified) -> Quantified:
    volumes = replace(quantified.segmented.volumes, ct=None)
    return replace(quantified, segmented=replace(quantified.segmented, volumes=volumes))


def lay_lesions(anatomy: Anatomy, seed: int, most: int = 14):
    """Centres, and the spheres of the current and of the prior study: fates in turn."""
    rng = np.random.default_rng([seed, 31])
    soft = (Tissue.MUSCLE, Tissue.MARROW, Tissue.LIVER, Tissue.VISCERAL, Tissue.LUNG)
    inner = ndimage.binary_erosion(np.isin(anatomy.tissue, soft))
    inner[:7] = inner[-7:] = (
        False  # a lesion that the border cuts is shown in part: its fate is a matter of taste
    )
    places = anatomy.geometry.to_lps(np.argwhere(inner))
    centres, current, prior = [], [], []
    for place in places[rng.permutation(len(places))]:
        if all(np.linalg.norm(place - other) > APART_MM for other in centres):
            centres.append(place)
        if len(centres) == most:
            break
    for lesion, centre in enumerate(centres, 1):
        fate = FATES[(lesion - 1) % len(FATES)]
        radius, suv = rng.uniform(6, 13), rng.uniform(5, 15)
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        whole = [Sphere(lesion, centre + axis * mm, 11, suv) for mm in (-11, 0, 11)]
        halves = [Sphere(lesion, centre + axis * mm, 7.5, suv) for mm in (-13.2, 13.2)]
        one = Sphere(lesion, centre, radius, suv)
        large, small = replace(one, radius_mm=1.4 * radius), replace(one, radius_mm=0.7 * radius)
        then, now = {
            "same": ([one], [one]),
            "grown": ([small], [large]),
            "shrunk": ([large], [small]),
            "gone": ([one], []),
            "new": ([], [one]),
            "split": (whole, halves),
            "merged": (halves, whole),
        }[fate]
        prior += then
        current += now
    return np.array(centres), current, prior


def simulate(anatomy: Anatomy, scenario: Scenario, seed: int) -> Case:
    pose = scenario.pose
    centres, now, then = lay_lesions(anatomy, seed)
    here = anatomy.geometry
    ends = here.to_lps(np.array(list(np.ndindex(2, 2, 2))) * (np.array(here.shape) - 1))
    posed = pose.from_body(ends, anatomy.centre)
    low, high = posed.min(axis=0) - 8, posed.max(axis=0) + 8
    length = high[2] - low[2]
    low[2], high[2] = low[2] + scenario.bed[0] * length, low[2] + scenario.bed[1] * length
    shape = np.ceil((high - low)[::-1] / scenario.spacing_mm)
    beyond = upright(shape, scenario.spacing_mm, low, "1.2.9")
    suv, hu, lesions = image(anatomy, here, Pose(), now, noise=0.12, fwhm_mm=6, seed=10 * seed)
    before = image(anatomy, beyond, pose, then, noise=0.16, fwhm_mm=7, seed=10 * seed + 1, gain=0.88)
    current = measured(volumes_of(suv, hu, here), lesions > 0)
    prior = measured(volumes_of(before[0], before[1], beyond), before[2] > 0)
    there = pose.from_body(centres, anatomy.centre)
    index = beyond.to_index(there)
    shown = np.all((index > 0) & (index < np.array(beyond.shape) - 1), axis=1)
    expected = _expected(_numbers(current, lesions), _numbers(prior, before[2]), shown)
    return Case(current, prior, frozenset(expected), centres[shown], there[shown])


def _numbers(quantified: Quantified, lesions: np.ndarray) -> dict[int, tuple[int, ...]]:
    """Numbers of the measured lesions by the true ones."""
    found: dict[int, set[int]] = {}
    for lesion in quantified.lesions:
        for true in np.unique(lesions[lesion.box][lesion.mask]).tolist():
            found.setdefault(true, set()).add(lesion.number)
    return {true: tuple(sorted(numbers)) for true, numbers in found.items()}


def _expected(now, then, shown):
    for true, covered in enumerate(shown.tolist(), 1):
        prior, current = then.get(true, ()), now.get(true, ())
        if prior and current:
            fate = Fate.SPLIT if len(current) > 1 else Fate.MERGED if len(prior) > 1 else Fate.MATCHED
            yield fate, prior, current
        elif prior:
            yield Fate.RESOLVED, prior, ()
        elif current:
            for number in current:
                yield Fate.NEW if covered else Fate.NOT_COVERED, (), (number,)


def as_set(correspondences: tuple[Correspondence, ...]):
    return frozenset((one.fate, one.prior, one.current) for one in correspondences)


def still() -> Registration:
    return Registration(True, "", "identity", np.eye(4), measures={"error_mm": 2.0})
