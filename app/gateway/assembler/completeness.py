"""Whether the series of a study prove themselves complete, from cheap facts of their headers.

A proof lets a study go sooner; what cannot be proven waits for its quiet time. Nothing here refuses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from operators.study.attributes import number, numbers, text, texts
from operators.study.part10 import CT_CLASSES, PET_CLASSES, DamagedFileError, read_part10

STEP_TOLERANCE = 0.1
"""Part of the median step between slices by which a step may differ."""
SAME_DIRECTION = 1e-3
"""Difference of direction cosines up to which slices are parallel."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one PET or CT instance says about the completeness of its series."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    frames: int
    instance_number: int | None
    stated_images: int | None
    """How many images its series has, where a PET states it."""
    is_localizer: bool
    orientation: tuple[float, ...]
    position_mm: tuple[float, ...]
    """Image Position (Patient), LPS."""


def read_facts(path: Path) -> Facts | None:
    """Read the facts about one instance; None when its header cannot be read."""
    try:
        header = read_part10(path).header
    except DamagedFileError:
        return None
    instance_number = number(header, "InstanceNumber")
    return Facts(
        study_instance_uid=text(header, "StudyInstanceUID"),
        series_instance_uid=text(header, "SeriesInstanceUID"),
        sop_class_uid=text(header, "SOPClassUID"),
        frames=int(number(header, "NumberOfFrames") or 1),
        instance_number=None if instance_number is None else int(instance_number),
        stated_images=stated_images(header),
        is_localizer="LOCALIZER" in {value.upper() for value in texts(header, "ImageType")},
        orientation=numbers(header, "ImageOrientationPatient"),
        position_mm=numbers(header, "ImagePositionPatient"),
    )


def stated_images(header: Dataset) -> int | None:
    """Return how many images a PET series has by its own account (PS3.3 C.8.9.1 and Image Index C.8.9.4.1.9).

    Number of Slices (0054,0081), times Number of Time Slices (0054,0101) in a dynamic series, times
    Number of R-R Intervals (0054,0061) and of Time Slots (0054,0071) in a gated one.
    """
    factors = [number(header, "NumberOfSlices")]
    kinds = {value.upper() for value in texts(header, "SeriesType")}
    if "DYNAMIC" in kinds:
        factors.append(number(header, "NumberOfTimeSlices"))
    if "GATED" in kinds:
        factors += [number(header, "NumberOfRRIntervals") or 1, number(header, "NumberOfTimeSlots")]
    stated = 1.0
    for factor in factors:
        if factor is None or factor < 1:
            return None
        stated *= factor
    return int(stated)


def proves_complete(facts: Iterable[Facts | None]) -> bool:
    """Tell whether a study has a PET and a CT and every series of either proves complete.

    Parameters
    ----------
    facts : iterable of Facts or None
        About every PET and CT instance; one that cannot be read proves nothing.
    """
    by_series: dict[str, list[Facts]] = defaultdict(list)
    for one in facts:
        if one is None or not one.series_instance_uid:
            return False
        by_series[one.series_instance_uid].append(one)
    classes = {one.sop_class_uid for series in by_series.values() for one in series}
    both = bool(classes & PET_CLASSES) and bool(classes & CT_CLASSES)
    return both and all(_is_complete(series) for series in by_series.values())


def _is_complete(series: Sequence[Facts]) -> bool:
    first = series[0]
    if len({one.sop_class_uid for one in series}) > 1:
        return False
    if all(one.frames > 1 for one in series):
        return True  # a multi-frame object is whole in itself
    if first.sop_class_uid in PET_CLASSES:
        return {one.stated_images for one in series} == {len(series)}
    if all(one.is_localizer for one in series):
        return True  # its views are at angles of their own, and the MAP passes it over
    return _has_no_gap(series)


def _has_no_gap(series: Sequence[Facts]) -> bool:
    """Whether numbers are contiguous and slices parallel, each a step from the last."""
    found = sorted(one.instance_number for one in series if one.instance_number is not None)
    if not found or found != list(range(found[0], found[0] + len(series))):
        return False
    if any(len(one.orientation) != 6 or len(one.position_mm) != 3 for one in series) or len(series) < 2:
        return False
    orientations = np.array([one.orientation for one in series])
    if np.abs(orientations - orientations[0]).max() > SAME_DIRECTION:
        return False
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    steps = np.diff(np.sort(np.array([one.position_mm for one in series]) @ normal))
    median = float(np.median(steps))
    return median > 0 and bool(np.all(np.abs(steps - median) <= STEP_TOLERANCE * median))
