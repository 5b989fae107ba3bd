"""Physiological uptake by rules: which basins of the uptake are the tracer's organs.

For sites without any model. Each organ has a zone of the body, in standard heights, distances from the
midline and depths of the trunk, and a test that its uptake there has to pass. What passes is removed; what
lies in the zone and does not pass is suspected: it stays, and is said to be uncertain. Where the body shows
no landmark, nothing is removed. Zones and tests are this module's own choice, made on simulated bodies and
one patient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Algorithm, Anatomy, OrganMap, PhysiologicalOrgan, Volumes
from operators.segmentation.physiological.basins import Basin, find_basins
from operators.segmentation.physiological.frame import VERTEX_MM, VOXEL_MM, Frame, frame_of
from operators.segmentation.physiological.types import Physiology

METHOD = "uptake_rules"
ELSEWHERE = 255
"""Label of uptake that is no organ's."""

KIDNEY_REACH_MM = 20.0
SKULL_MM = 725.0
"""Standard height from which on uptake in the head may be the brain's."""

ENOUGH_ORGANS = 2
"""Of the tracer's organs that have to be found before what is left may be called lesions: they show that the
body lies as the rules take it to lie."""
_TOO_FEW = "Rules found too few of the tracer's organs to be sure of the places of the others."

_PARTLY = 0.02
"""A voxel of the frame is of the uptake from this share on."""
_VOXEL_ML = VOXEL_MM**3 / 1000


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of the body; bounds are inclusive."""

    height_mm: tuple[float, float]
    """In standard heights, see `frame`."""
    left_mm: tuple[float, float]
    """From the midline to the patient's left."""
    depth: tuple[float, float]
    """0 at the front of the trunk, 1 at the back."""
    mirrored: bool = False
    """Whether `left_mm` holds on both sides."""

    def holds(self, basin: Basin) -> bool:
        left = abs(basin.left_mm) if self.mirrored else basin.left_mm
        pairs = ((basin.height_mm, self.height_mm), (left, self.left_mm), (basin.depth, self.depth))
        return all(low <= value <= high for value, (low, high) in pairs)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a test may look at."""

    frame: Frame
    basins: NDArray[np.int32]
    """(z, y, x): number of each voxel's basin."""

    def mask(self, basins: Sequence[Basin]) -> NDArray[np.bool_]:
        return np.isin(self.basins, [basin.number for basin in basins])

    def median_hu(self, basin: Basin) -> float | None:
        """Of the hotter half of a basin, for the rest may be spill-out; None without a CT."""
        if self.frame.hu is None:
            return None
        inside = self.basins[basin.box] == basin.number
        hot = inside & (self.frame.suv[basin.box] >= 0.5 * basin.peak)
        return float(np.median(self.frame.hu[basin.box][hot]))


Test = Callable[[Sequence[Basin], Scene], Sequence[Basin]]
"""Which of the basins in an organ's zone are the organ's."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Where an organ's uptake lies, and what it looks like."""

    zone: Zone
    test: Test
    suspects: Callable[[Basin], bool] = lambda _: True
    """Which other basins of the zone may be the organ's as well."""


# ---- tests ---------------------------------------------------------------------------------------


def _none(_basins: Sequence[Basin], _scene: Scene) -> Sequence[Basin]:
    return ()


def _large(least_ml: float) -> Test:
    def test(basins: Sequence[Basin], _scene: Scene) -> Sequence[Basin]:
        return [basin for basin in basins if basin.volume_ml >= least_ml]

    return test


def _paired(least_ml: float, most_ml: float, apart_mm: float) -> Test:
    """Both sides have some, of like uptake and at like heights."""

    def test(basins: Sequence[Basin], _scene: Scene) -> Sequence[Basin]:
        fitting = [basin for basin in basins if least_ml <= basin.volume_ml <= most_ml]
        sides = [[b for b in fitting if b.left_mm < 0], [b for b in fitting if b.left_mm > 0]]
        return [
            one
            for own, opposite in (sides, sides[::-1])
            for one in own
            if any(
                abs(one.height_mm - other.height_mm) <= apart_mm and 1 / 4 <= one.peak / other.peak <= 4
                for other in opposite
            )
        ]

    return test


def _brain(basins: Sequence[Basin], scene: Scene) -> Sequence[Basin]:
    """A large mass of uptake that fills the skull, and what it encloses; or its base, cut by the view."""
    if VERTEX_MM not in scene.frame.landmarks:
        top = int(np.flatnonzero(scene.frame.body.any((1, 2)))[-1])
        cut = [basin for basin in basins if basin.box[0].stop >= top - 1]
        width = np.flatnonzero(scene.mask(cut).any((0, 1)))
        if len(width) and (width[-1] - width[0] + 1) * VOXEL_MM >= 80:
            return cut
    in_skull = [basin for basin in basins if basin.height_mm >= SKULL_MM]
    large = [basin for basin in in_skull if basin.volume_ml >= 20]
    if sum(basin.volume_ml for basin in large) < 150 or max(b.volume_ml for b in large) < 80:
        return ()
    filled = _closed(scene.mask(large), 20.0)
    return [
        basin
        for basin in in_skull
        if basin in large or filled[basin.box][scene.basins[basin.box] == basin.number].mean() >= 0.6
    ]


def _heart(basins: Sequence[Basin], scene: Scene) -> Sequence[Basin]:
    """The left ventricle's wall: left of the midline, hollow or as large as the whole of it."""
    walls = [basin for basin in basins if basin.volume_ml >= 25 and 5 <= basin.left_mm <= 85]
    if not walls:
        return ()
    wall = max(walls, key=lambda basin: basin.volume_ml)
    mask = scene.mask([wall])[wall.box]
    filled = _closed(np.pad(mask, 6), 24.0).sum() / max(mask.sum(), 1)
    if filled < 1.2 and wall.volume_ml < 60:
        return ()
    around = _closed(scene.mask([wall]), 24.0)
    joined = [
        basin
        for basin in basins
        if basin is not wall and around[basin.box][scene.basins[basin.box] == basin.number].mean() > 0.6
    ]
    return [wall, *joined]


def _bladder(basins: Sequence[Basin], scene: Scene) -> Sequence[Basin]:
    """Water by CT; without one, large and hot."""
    kept = []
    hottest = max((basin.peak for basin in basins), default=0.0)
    for basin in basins:
        hu = scene.median_hu(basin)
        if hu is None:
            fits = basin.volume_ml >= 25 and basin.peak >= max(5.0, 0.5 * hottest)
        else:
            fits = basin.volume_ml >= 8 and (-25 <= hu <= 32 or hu >= 110)  # urine, or contrast in it
        if fits:
            kept.append(basin)
    return kept


def _kidneys(basins: Sequence[Basin], scene: Scene) -> Sequence[Basin]:
    """Of a kidney's size and uptake, with what lies at it; on a side without, what is paired (urine)."""
    whole = [basin for basin in basins if _is_kidney(basin)]
    sides = {basin.left_mm > 0 for basin in whole}
    pair = [b for b in _paired(0.3, 150.0, 70.0)(basins, scene) if (b.left_mm > 0) not in sides]
    near = ndimage.distance_transform_edt(~scene.mask(whole)) * VOXEL_MM <= KIDNEY_REACH_MM
    joined = [
        basin
        for basin in basins
        if whole
        and basin.volume_ml < 60
        and near[basin.box][scene.basins[basin.box] == basin.number].mean() >= 0.5
    ]
    return [basin for basin in basins if basin in whole or basin in pair or basin in joined]


def _is_kidney(basin: Basin) -> bool:
    return (
        25 <= basin.volume_ml <= 400
        and basin.peak >= 8
        and abs(basin.left_mm) <= 82
        and 48 <= basin.extent_mm[0] <= 200
        and max(basin.extent_mm[1:]) <= 104
    )


def _bowel_loops(basins: Sequence[Basin], _scene: Scene) -> Sequence[Basin]:
    """Large and spread out."""
    return [b for b in basins if b.volume_ml >= 25 and sorted(b.extent_mm)[1] >= 56]


def _is_thin(basin: Basin) -> bool:
    return basin.volume_ml <= 20 and min(basin.extent_mm[1:]) <= 28


def _closed(mask: NDArray[np.bool_], reach_mm: float) -> NDArray[np.bool_]:
    """A mask with its hollows filled: what is within a distance of it and of nothing else."""
    near = ndimage.distance_transform_edt(~mask) * VOXEL_MM <= reach_mm
    depth = ndimage.distance_transform_edt(np.pad(near, 1, mode="edge"))[1:-1, 1:-1, 1:-1] * VOXEL_MM
    closed: NDArray[np.bool_] = (depth > reach_mm) | mask
    return closed


# ---- the table -----------------------------------------------------------------------------------

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "brain": Rule(
            Zone((640, 960), (-90, 90), (0.0, 1.0)), _brain, lambda basin: basin.height_mm >= SKULL_MM
        ),
        "lacrimal glands": Rule(
            Zone((690, 790), (18, 62), (-0.05, 0.28), mirrored=True), _paired(0.1, 10.0, 20.0)
        ),
        "parotid glands": Rule(
            Zone((640, 745), (32, 85), (0.38, 0.9), mirrored=True), _paired(1.0, 80.0, 30.0)
        ),
        "submandibular glands": Rule(
            Zone((600, 690), (12, 52), (0.05, 0.5), mirrored=True), _paired(1.0, 40.0, 25.0)
        ),
        "pituitary": Rule(
            Zone((720, 810), (-14, 14), (0.25, 0.7)), lambda basins, _: basins if len(basins) == 1 else ()
        ),
        "heart": Rule(Zone((370, 520), (-35, 100), (0.05, 0.68)), _heart),
        "liver": Rule(Zone((240, 450), (-140, 20), (0.2, 0.75)), _large(150.0), lambda _: False),
        "spleen": Rule(Zone((270, 440), (62, 150), (0.42, 0.95)), _large(40.0)),
        "kidneys": Rule(Zone((200, 352), (18, 93), (0.54, 0.95), mirrored=True), _kidneys),
        "adrenal glands": Rule(
            Zone((290, 400), (12, 62), (0.42, 0.82), mirrored=True), _paired(0.1, 12.0, 45.0)
        ),
        "gallbladder": Rule(Zone((220, 360), (-110, -20), (0.1, 0.5)), _none),
        "urinary bladder": Rule(Zone((-15, 175), (-45, 45), (0.12, 0.58)), _bladder),
        "ureters": Rule(Zone((55, 300), (10, 75), (0.35, 0.8), mirrored=True), _none, _is_thin),
        "small bowel": Rule(Zone((60, 400), (-130, 130), (0.05, 0.62)), _bowel_loops),
        "bowel": Rule(Zone((20, 400), (-150, 150), (0.02, 0.62)), _none),
    }
)
"""By name of the protocol's organ, in the order in which they take basins."""


def physiology_by_rules(
    volumes: Volumes, mask: NDArray[np.bool_], anatomy: OrganMap | None = None
) -> Physiology:
    """Find the uptake of the protocol's organs in a mask.

    Parameters
    ----------
    volumes : Volumes
    mask : ndarray of bool, shape (z, y, x)
        Uptake, on the PET's grid.
    anatomy : OrganMap, optional
        Organs by rules of anatomy, on the PET's grid: uptake that lies mostly in one of them is its own.

    Returns
    -------
    Physiology
        With every organ unaccounted for where the body shows no landmark.
    """
    wanted = volumes.selection.protocol.physiological
    frame = frame_of(volumes.pet, volumes.ct)
    heights = None if frame is None else frame.heights
    if frame is None or heights is None:
        reason = "neither shoulders, nor head, nor legs can be told in these images"
        return _answer(np.zeros(mask.shape, np.uint8), wanted, {organ.name: reason for organ in wanted})
    uptake = frame.grid.bring(mask.astype(np.float32)) > _PARTLY
    numbers, basins = find_basins(frame, heights, uptake)
    scene = Scene(frame, numbers)
    within = _in_anatomy(scene, basins, wanted, anatomy)
    labels = np.where(numbers > 0, ELSEWHERE, 0).astype(np.uint8)
    free, found = list(basins), 0
    for name, rule in RULES.items():
        place = next((place for place, organ in enumerate(wanted) if organ.name == name), None)
        if place is None:
            continue
        own = [basin for basin in free if within.get(basin.number) == name]
        inside = [basin for basin in free if rule.zone.holds(basin) and basin not in own]
        own += rule.test(inside, scene)
        suspected = [basin for basin in inside if basin not in own and rule.suspects(basin)]
        for chosen, value in ((own, _value(place)), (suspected, _value(place, suspected=True))):
            _draw(labels, scene, chosen, value)
        free = [basin for basin in free if basin not in own]
        found += bool(own)
    missing = {organ.name: "no rule finds it" for organ in wanted if organ.name not in RULES}
    if found < ENOUGH_ORGANS:
        # alone, an organ may be a tumour where the organ would lie: it stays, and is suspected
        own_values = [_value(place) for place in range(len(wanted))]
        labels[np.isin(labels, own_values)] += 1
    doubt = "" if found >= ENOUGH_ORGANS else _TOO_FEW
    return _answer(frame.grid.back(labels), wanted, missing, doubt)


def _draw(labels: NDArray[np.uint8], scene: Scene, basins: Sequence[Basin], value: int) -> None:
    for basin in basins:
        inside = scene.basins[basin.box] == basin.number
        labels[basin.box][inside] = value


def _value(place: int, *, suspected: bool = False) -> int:
    return 2 * place + (2 if suspected else 1)


def _in_anatomy(
    scene: Scene,
    basins: Sequence[Basin],
    wanted: Sequence[PhysiologicalOrgan],
    anatomy: OrganMap | None,
) -> dict[int, str]:
    """The organ that each basin lies mostly in, by number of the basin."""
    if anatomy is None:
        return {}
    found: dict[int, str] = {}
    for organ in wanted:
        names = {name for part in organ.labels for name in part.split("|")}
        values = [value for value, place in anatomy.anatomy.items() if place.name in names]
        on_frame = scene.frame.grid.bring(np.isin(anatomy.labels, values).astype(np.float32)) > 0.5
        if on_frame.any():
            near = ndimage.binary_dilation(on_frame, iterations=2)
            for basin in basins:
                inside = scene.basins[basin.box] == basin.number
                if near[basin.box][inside].mean() >= 0.6 and basin.volume_ml >= 20:
                    found.setdefault(basin.number, organ.name)
    return found


def _answer(
    labels: NDArray[np.uint8],
    wanted: Sequence[PhysiologicalOrgan],
    missing: Mapping[str, str],
    doubt: str = "",
) -> Physiology:
    names = [organ.labels[0].split("|")[0] for organ in wanted]
    anatomy = {_value(place): Anatomy(name, None) for place, name in enumerate(names)}
    algorithm = Algorithm(
        name=METHOD,
        title="Rules of physiological uptake",
        version=installed_version("theramap"),
        parameters=(),
        citation="rules of this software",
        device="cpu",
    )
    return Physiology(
        organs=OrganMap(labels, anatomy, algorithm),
        wanted=tuple(wanted),
        values={organ.name: (_value(place),) for place, organ in enumerate(wanted)},
        suspected={organ.name: (_value(place, suspected=True),) for place, organ in enumerate(wanted)},
        unaccounted=dict(missing),
        doubt=doubt,
    )
