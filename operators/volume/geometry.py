"""The order and the place of slices, from position and orientation of every one (PS3.3 C.7.6.2).

Neither slice thickness nor file order nor instance numbers are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from operators.domain import Geometry
from operators.errors import GeometryRefusal
from operators.study.attributes import number, numbers, text, texts
from operators.volume.columns import column
from operators.volume.frames import Slice
from operators.volume.tags import tag_label

ORIENTATION_TOLERANCE = 1e-3
"""Of direction cosines, which DS text rounds: 1e-3 moves the edge of a 600 mm plane by 0.6 mm."""

STEP_TOLERANCE = 0.05
"""Of the median step. Scanners write positions from single-precision table readings: steps of a real
whole body vary by 2.5 % (3.19 to 3.29 mm for 3.27). A missing slice is 100 %."""

DRIFT_TOLERANCE = 0.25
"""Of a step: how far a slice may lie from where equal steps put it."""

LATERAL_TOLERANCE = 0.1
"""Of a pixel: how far a slice may lie aside of the normal through the first; a tilt of 1° over the
shortest stack that can be of use is more."""

MAX_SIDE = 8192
"""Rows or columns beyond any PET or CT: refused before memory is asked for."""


def sort_slices(slices: Sequence[Slice]) -> tuple[tuple[Slice, ...], Geometry]:
    """Order slices along their normal and find the volume's affine.

    Parameters
    ----------
    slices : sequence of Slice
        In any order.

    Returns
    -------
    slices : tuple of Slice
        In ascending order along row direction × column direction.
    geometry : Geometry
        Steps along z are their mean.

    Raises
    ------
    GeometryRefusal
        ``FRAME_OF_REFERENCE_MISSING``, ``MIXED_FRAME_OF_REFERENCE``,
        ``MIXED_MATRIX``, ``MATRIX_INVALID``, ``MIXED_SPACING``, ``SPACING_INVALID``,
        ``ORIENTATION_INVALID``, ``MIXED_ORIENTATION``, ``POSITION_INVALID``, ``SINGLE_SLICE``,
        ``GATED_SERIES``, ``DYNAMIC_SERIES``, ``SEVERAL_VOLUMES``, ``DUPLICATE_POSITION``,
        ``MISSING_SLICES``, ``UNEVEN_SPACING``, ``GANTRY_TILT``, ``UNALIGNED_SLICES``.
    """
    headers = [one.header for one in slices]
    frame_of_reference_uid = _frame_of_reference(headers)
    rows, columns = _matrix(headers)
    row_mm, column_mm = _pixel_spacing(headers)
    along_row, along_column = _directions(headers)
    normal = np.cross(along_row, along_column)
    positions = _positions(headers)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    step = _regular_step(along[order], headers)
    sorted_positions = positions[order]
    _require_aligned(sorted_positions, along_row, along_column, min(row_mm, column_mm))
    affine = np.eye(4)
    affine[:3, 0] = normal * step
    affine[:3, 1] = along_column * row_mm
    affine[:3, 2] = along_row * column_mm
    affine[:3, 3] = sorted_positions[0]
    geometry = Geometry((len(slices), rows, columns), affine, frame_of_reference_uid)
    return tuple(slices[i] for i in order), geometry


def _frame_of_reference(headers: Sequence[Dataset]) -> str:
    values = set(column(headers, "FrameOfReferenceUID", text))
    tag = tag_label("FrameOfReferenceUID")
    if len(values) > 1:
        raise GeometryRefusal(
            "MIXED_FRAME_OF_REFERENCE", "The slices are of several frames of reference.", tag
        )
    value = values.pop()
    if not value:
        raise GeometryRefusal("FRAME_OF_REFERENCE_MISSING", "The slices name no frame of reference.", tag)
    return value


def _matrix(headers: Sequence[Dataset]) -> tuple[int, int]:
    sizes = set(zip(column(headers, "Rows", number), column(headers, "Columns", number), strict=True))
    tag = tag_label("Rows")
    if len(sizes) > 1:
        raise GeometryRefusal("MIXED_MATRIX", "The slices have different numbers of rows or columns.", tag)
    rows, columns = sizes.pop()
    if rows is None or columns is None or not (1 <= rows <= MAX_SIDE and 1 <= columns <= MAX_SIDE):
        raise GeometryRefusal("MATRIX_INVALID", "The number of rows or columns is missing or absurd.", tag)
    return int(rows), int(columns)


def _pixel_spacing(headers: Sequence[Dataset]) -> tuple[float, float]:
    """Distance between rows and between columns (0028,0030), mm."""
    tag = tag_label("PixelSpacing")
    spacings = sorted(set(column(headers, "PixelSpacing", numbers)))
    if any(len(spacing) != 2 or not all(1e-3 <= mm <= 1e3 for mm in spacing) for spacing in spacings):
        raise GeometryRefusal("SPACING_INVALID", "A slice has no valid pixel spacing.", tag)
    found = np.array(spacings)
    if np.ptp(found, axis=0).max() > ORIENTATION_TOLERANCE * found.min():
        raise GeometryRefusal("MIXED_SPACING", "The slices have different pixel spacings.", tag)
    return float(found[0, 0]), float(found[0, 1])


def _directions(headers: Sequence[Dataset]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit vectors along a row and along a column (0020,0037)."""
    tag = tag_label("ImageOrientationPatient")
    values = column(headers, "ImageOrientationPatient", numbers)
    if any(len(value) != 6 for value in values):
        raise GeometryRefusal("ORIENTATION_INVALID", "A slice has no valid orientation.", tag)
    cosines = np.array(values).reshape(-1, 2, 3)
    lengths = np.linalg.norm(cosines, axis=2)
    skew = np.einsum("ij,ij->i", cosines[:, 0], cosines[:, 1])
    if np.abs(lengths - 1).max() > ORIENTATION_TOLERANCE or np.abs(skew).max() > ORIENTATION_TOLERANCE:
        raise GeometryRefusal(
            "ORIENTATION_INVALID", "A slice's row and column directions are not at right angles.", tag
        )
    if np.abs(cosines - cosines[0]).max() > ORIENTATION_TOLERANCE:
        raise GeometryRefusal("MIXED_ORIENTATION", "The slices have different orientations.", tag)
    along_row = cosines[0, 0] / np.linalg.norm(cosines[0, 0])
    along_column = cosines[0, 1] - along_row * (along_row @ cosines[0, 1])
    return along_row, along_column / np.linalg.norm(along_column)


def _positions(headers: Sequence[Dataset]) -> NDArray[np.float64]:
    """Image Position (Patient) (0020,0032) of each slice, shape (n, 3)."""
    positions = column(headers, "ImagePositionPatient", numbers)
    if any(len(position) != 3 or max(map(abs, position)) > 1e5 for position in positions):
        raise GeometryRefusal(
            "POSITION_INVALID", "A slice has no valid position.", tag_label("ImagePositionPatient")
        )
    return np.array(positions)


def _regular_step(along: NDArray[np.float64], headers: Sequence[Dataset]) -> float:
    """Return the mean step, mm, of ascending slice positions that are evenly spaced."""
    tag = tag_label("ImagePositionPatient")
    if len(along) < 2:
        raise GeometryRefusal(
            "SINGLE_SLICE", "One slice is no volume: its thickness cannot be measured.", tag
        )
    steps = np.diff(along)
    distinct = steps[steps > max(0.01, 0.02 * steps.max())]
    if len(distinct) < len(steps):
        _refuse_repeated(along, steps, distinct, headers[0])
    typical = float(np.median(steps))
    worst = int(np.argmax(np.abs(steps - typical)))
    if abs(steps[worst] - typical) > STEP_TOLERANCE * typical:
        multiple = steps[worst] / typical
        if round(multiple) >= 2 and abs(multiple - round(multiple)) < 2 * STEP_TOLERANCE * round(multiple):
            raise GeometryRefusal(
                "MISSING_SLICES",
                f"Slices are missing: a gap of {steps[worst]:.2f} mm where the others are {typical:.2f} mm.",
                tag,
            )
        raise GeometryRefusal(
            "UNEVEN_SPACING",
            f"The slices are unevenly spaced: {steps.min():.2f} to {steps.max():.2f} mm.",
            tag,
        )
    step = float(along[-1] - along[0]) / len(steps)
    drift = np.abs(along - along[0] - step * np.arange(len(along))).max()
    if drift > DRIFT_TOLERANCE * step:
        raise GeometryRefusal("UNEVEN_SPACING", f"The slice positions drift by {drift:.2f} mm.", tag)
    return step


def _refuse_repeated(
    along: NDArray[np.float64], steps: NDArray[np.float64], distinct: NDArray[np.float64], header: Dataset
) -> NoReturn:
    places = len(distinct) + 1
    tag = tag_label("ImagePositionPatient")
    breaks = np.flatnonzero(steps > max(0.01, 0.02 * steps.max()))
    counts = np.diff(np.concatenate(([-1], breaks, [len(along) - 1])))
    if counts.min() >= 2:
        kind = next(iter(texts(header, "SeriesType")), "")
        code = {"GATED": "GATED_SERIES", "DYNAMIC": "DYNAMIC_SERIES"}.get(kind, "SEVERAL_VOLUMES")
        raise GeometryRefusal(
            code,
            f"The series holds several volumes at the same {places} places (gated, dynamic or 4D).",
            tag_label("SeriesType"),
        )
    raise GeometryRefusal(
        "DUPLICATE_POSITION", f"{len(along) - places} slices lie where another slice lies.", tag
    )


def _require_aligned(
    positions: NDArray[np.float64],
    along_row: NDArray[np.float64],
    along_column: NDArray[np.float64],
    pixel_mm: float,
) -> None:
    """Refuse a stack that is sheared (gantry tilt) or whose slices lie aside of one another."""
    aside = (positions - positions[0]) @ np.stack((along_row, along_column), axis=1)
    limit = LATERAL_TOLERANCE * pixel_mm
    if np.abs(aside).max() <= limit:
        return
    line = np.linspace(0, 1, len(aside))[:, None] * aside[-1]
    tag = tag_label("ImagePositionPatient")
    if np.abs(aside - line).max() <= limit:
        raise GeometryRefusal(
            "GANTRY_TILT", "The slices are sheared (tilted gantry): they form no upright volume.", tag
        )
    raise GeometryRefusal("UNALIGNED_SLICES", "The slices lie aside of one another.", tag)
