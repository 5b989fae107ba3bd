"""The projections for a page: the PET in grey, the lesions' outlines as lines that stay sharp in print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from operators.domain import Quantified
from operators.results.contours import outlines
from operators.results.pictures import (
    SUV_WINDOW,
    View,
    enlarged,
    inverted_grey,
    maximum_projection,
    silhouette,
    view_along,
)
from operators.results.tracking import colour_of

_PIXEL_MM: Final = 2.0
_LARGEST_SIDE_PX: Final = 1000
_BODY_FROM: Final = 255.0 * (1 - 0.25 / SUV_WINDOW)
"""Grey of a quarter of SUV 1 g/ml: what is lighter all the way down is beside the body."""
_RIM_MM: Final = 15.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A lesion in a panel."""

    number: int
    colour: tuple[int, int, int]
    outlines_mm: tuple[NDArray[np.float64], ...]
    """(x, y) from the panel's top left corner, shape (points, 2) each."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One projection."""

    picture: Image.Image
    width_mm: float
    height_mm: float
    marks: tuple[Mark, ...]


def panels_of(quantified: Quantified) -> tuple[Panel, ...]:
    """Coronal and sagittal maximum intensity projection of the PET, without what is beside the body."""
    return tuple(_panel(quantified, patient_axis) for patient_axis in (1, 0))


def _panel(quantified: Quantified, patient_axis: int) -> Panel:
    pet = quantified.segmented.volumes.pet
    view = view_along(pet.geometry, patient_axis)
    grey: NDArray[np.uint8] = inverted_grey(view.arrange(maximum_projection(pet, view.through)))
    shadows = [
        (lesion, _outlined(silhouette(lesion.box, lesion.mask, view, pet.geometry)))
        for lesion in quantified.lesions
    ]
    first, last = _body(grey, view)
    for _, lines in shadows:
        for line in lines:
            first, last = min(first, int(line[:, 0].min())), max(last, int(line[:, 0].max()))
    step_mm = np.array([view.column_mm, view.row_mm])
    marks = tuple(
        Mark(lesion.number, colour_of(lesion), tuple((line - [first, 0]) * step_mm for line in lines))
        for lesion, lines in shadows
    )
    shown = grey[:, first:last]
    width_mm, height_mm = shown.shape[1] * view.column_mm, shown.shape[0] * view.row_mm
    pixel_mm = max(_PIXEL_MM, max(width_mm, height_mm) / _LARGEST_SIDE_PX)
    return Panel(enlarged(shown, view, pixel_mm), width_mm, height_mm, marks)


def _outlined(shadow: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """Outlines of a shadow in a whole plane, looked for where it is: (column, row) of pixel corners."""
    rows, columns = np.flatnonzero(shadow.any(axis=1)), np.flatnonzero(shadow.any(axis=0))
    if rows.size == 0:
        return ()
    corner = np.array([columns[0], rows[0]], np.float64)
    part = shadow[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return tuple(line + corner for line in outlines(part))


def _body(grey: NDArray[np.uint8], view: View) -> tuple[int, int]:
    """The columns of a projection that hold the body, with a rim; all of them where nothing is dark."""
    dark = np.flatnonzero((grey < _BODY_FROM).any(axis=0))
    if dark.size == 0:
        return 0, grey.shape[1]
    rim = round(_RIM_MM / view.column_mm)
    return max(int(dark[0]) - rim, 0), min(int(dark[-1]) + 1 + rim, grey.shape[1])
