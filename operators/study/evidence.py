"""What a series says of itself: the facts by which it is selected or passed over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.domain import Instance, Series
from operators.study.attributes import items, number, numbers, text, texts
from operators.study.part10 import CT_CLASSES, PET_CLASSES

SAME_POSITION_MM = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The facts about one series, read once.

    Attributes
    ----------
    image_type : tuple of str
        Image Type (0008,0008) of the first instance, upper case.
    attenuation_corrected : bool or None
        None where the header does not say.
    positions_mm : ndarray, shape (n, 3)
        Image Position (Patient) of every slice that states one, LPS.
    normal : ndarray, shape (3,), or None
        The slices' normal, of unit length.
    edges_mm : ndarray, shape (2, 3)
        From the first voxel of a slice to the last of its row and of its column, LPS.
    """

    series: Series
    sop_classes: frozenset[str]
    modality: str
    description: str
    image_type: tuple[str, ...]
    series_type: tuple[str, ...]
    attenuation_corrected: bool | None
    frames_of_reference: frozenset[str]
    positions_mm: NDArray[np.float64]
    normal: NDArray[np.float64] | None
    edges_mm: NDArray[np.float64]
    kernel: str

    @property
    def is_pet(self) -> bool:
        return bool(self.sop_classes & PET_CLASSES)

    @property
    def is_ct(self) -> bool:
        return bool(self.sop_classes & CT_CLASSES)

    @property
    def slices(self) -> int:
        """Number of slices at places of their own."""
        if not len(self.positions_mm):
            return 0
        return len(np.unique(np.round(self.positions_mm / SAME_POSITION_MM), axis=0))

    def interval_mm(self, direction: NDArray[np.float64]) -> tuple[float, float]:
        """Return where the slices, with all of their voxels, begin and end along a direction."""
        along, edges = self.positions_mm @ direction, self.edges_mm @ direction
        return float(along.min() + edges.clip(max=0).sum()), float(along.max() + edges.clip(min=0).sum())

    @property
    def slice_distance_mm(self) -> float:
        """Return the median distance of neighbouring slices along their normal."""
        if self.normal is None or self.slices < 2:
            return float("inf")
        steps = np.diff(np.unique(np.round(self.positions_mm @ self.normal, 2)))
        return float(np.median(steps)) if len(steps) else float("inf")


def gather(series: Series) -> Evidence:
    """Read the facts about a series from its headers."""
    header = series.header
    classes = frozenset(text(instance.header, "SOPClassUID") for instance in series.instances)
    pet_or_ct = classes & (PET_CLASSES | CT_CLASSES)
    positions = [p for i in series.instances for p in _positions(i)] if pet_or_ct else []
    return Evidence(
        series=series,
        sop_classes=classes,
        modality=text(header, "Modality"),
        description=text(header, "SeriesDescription"),
        image_type=tuple(value.upper() for value in texts(header, "ImageType")),
        series_type=tuple(value.upper() for value in texts(header, "SeriesType")),
        attenuation_corrected=_attenuation_corrected(series),
        frames_of_reference=frozenset(text(i.header, "FrameOfReferenceUID") for i in series.instances) - {""},
        positions_mm=np.array(positions, dtype=np.float64).reshape(-1, 3),
        normal=_normal(series.instances[0]),
        edges_mm=_edges_mm(series.instances[0]),
        kernel=text(header, "ConvolutionKernel"),
    )


def _attenuation_corrected(series: Series) -> bool | None:
    """Corrected Image (0028,0051) holds ATTN, or Attenuation Corrected (0018,9759) is YES, in every file."""
    answers: set[bool | None] = set()
    for instance in series.instances:
        corrected = texts(instance.header, "CorrectedImage")
        enhanced = text(instance.header, "AttenuationCorrected").upper()
        if corrected:
            answers.add("ATTN" in {value.upper() for value in corrected})
        elif enhanced:
            answers.add(enhanced == "YES")
        else:
            answers.add(None)
    if answers == {True}:
        return True
    return False if False in answers else None


def _positions(instance: Instance) -> list[tuple[float, ...]]:
    """Return the position of the slice, or of every frame (PS3.3 C.7.6.16.2.3)."""
    frames = items(instance.header, "PerFrameFunctionalGroupsSequence")
    if not frames:
        found = [numbers(instance.header, "ImagePositionPatient")]
    else:
        found = [
            numbers(plane, "ImagePositionPatient")
            for frame in frames
            for plane in items(frame, "PlanePositionSequence")
        ]
    return [position for position in found if len(position) == 3]


def _normal(instance: Instance) -> NDArray[np.float64] | None:
    orientation = _of_plane(instance, "PlaneOrientationSequence", "ImageOrientationPatient")
    if len(orientation) != 6:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if length > 0.5 else None


def _edges_mm(instance: Instance) -> NDArray[np.float64]:
    """Return the edges of a slice (PS3.3 C.7.6.2.1.1); none where the header does not give them."""
    header = instance.header
    orientation = _of_plane(instance, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _of_plane(instance, "PixelMeasuresSequence", "PixelSpacing")
    rows, columns = number(header, "Rows"), number(header, "Columns")
    if len(orientation) != 6 or len(spacing) != 2 or not rows or not columns:
        return np.zeros((2, 3))
    along_row = np.array(orientation[:3]) * spacing[1] * (columns - 1)
    along_column = np.array(orientation[3:]) * spacing[0] * (rows - 1)
    return np.stack([along_row, along_column])


def _of_plane(instance: Instance, group: str, keyword: str) -> tuple[float, ...]:
    """Return numbers of a slice, from the header or from the functional groups of its first frame."""
    found = numbers(instance.header, keyword)
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for first in items(instance.header, sequence)[:1]:
            for item in items(first, group):
                found = found or numbers(item, keyword)
    return found


def stated_slices(series: Series) -> int | None:
    """Return Number of Slices (0054,0081), which a single-frame PET states."""
    stated = number(series.header, "NumberOfSlices")
    return int(stated) if stated is not None and stated > 0 else None
