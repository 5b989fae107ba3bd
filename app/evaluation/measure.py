"""One case: how far a mask agrees with its reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.evaluation.detection import Detection, detect
from app.evaluation.surface import surface_distances
from app.models.agreement import dice_of
from operators.domain import Box, Geometry

TOLERANCE_MM = 4.0
"""How far apart surfaces may lie to count as the same: about a voxel of PET."""


@dataclass(frozen=True, slots=True)
class CaseMetrics:
    """Agreement of one prediction with its reference. What has no value is None, never 0 or 1.

    Where the reference is empty there is nothing to agree with, so that Dice, surface Dice, distance and
    false-negative volume are None, and the false-positive volume says what the prediction made up. Where
    only the prediction is empty, Dice and surface Dice are 0 and no distance exists.
    (Maier-Hein et al., Nat Methods 2024;21:195; Reinke et al., Nat Methods 2024;21:182.)
    """

    dice: float | None
    surface_dice: float | None
    """At `tolerance_mm`."""
    hd95_mm: float | None
    overlap: Detection
    """Lesions, found where any voxel of them is."""
    iou: Detection
    """Lesions, matched one to one from an intersection over union of 0.1."""
    false_negative_volume_ml: float | None
    """Of reference lesions without a predicted voxel, as autoPET defines it."""
    false_positive_volume_ml: float
    """Of predicted lesions without a reference voxel, as autoPET defines it."""
    mtv_ml: float
    """Metabolic tumour volume: of the predicted mask."""
    reference_mtv_ml: float
    tlg_g: float
    """Total lesion glycolysis, the sum of SUV times volume: of the predicted mask."""
    reference_tlg_g: float
    tolerance_mm: float
    min_lesion_ml: float

    @property
    def mtv_difference_ml(self) -> float:
        """Prediction minus reference."""
        return self.mtv_ml - self.reference_mtv_ml

    @property
    def tlg_difference_g(self) -> float:
        """Prediction minus reference."""
        return self.tlg_g - self.reference_tlg_g


def measure_case(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    suv: NDArray[np.floating],
    geometry: Geometry,
    tolerance_mm: float = TOLERANCE_MM,
    min_lesion_ml: float = 0.0,
) -> CaseMetrics:
    """Measure how far a mask agrees with its reference.

    Parameters
    ----------
    prediction, reference : ndarray of bool, shape (z, y, x)
        Either or both may be empty.
    suv : ndarray, shape (z, y, x)
        SUVbw, g/ml, finite inside both masks.
    geometry : Geometry
        Of all three.
    tolerance_mm : float
        Of the surface Dice.
    min_lesion_ml : float
        Smaller lesions are neither asked for nor held against the prediction in the counts of lesions.

    Returns
    -------
    CaseMetrics

    Raises
    ------
    ValueError
        The arrays' shapes differ, a mask is not bool, or an SUV inside a mask is not finite.
    """
    _check(prediction, reference, suv, geometry)
    ml = geometry.voxel_volume_ml
    box = _box(prediction | reference)
    prediction, reference, suv = prediction[box], reference[box], suv[box]
    tlg_g, reference_tlg_g = (float(suv[mask].sum(dtype=np.float64)) * ml for mask in (prediction, reference))
    if not np.isfinite([tlg_g, reference_tlg_g]).all():
        raise ValueError("an SUV inside a mask is not finite")

    lesions = detect(prediction, reference, min_lesion_ml / ml)
    predicted, wanted = bool(prediction.any()), bool(reference.any())
    surfaces = surface_distances(prediction, reference, geometry.affine) if predicted and wanted else None
    none = 0.0 if wanted else None
    return CaseMetrics(
        dice=dice_of(prediction, reference, [1])[1] if wanted else None,
        surface_dice=none if surfaces is None else surfaces.dice(tolerance_mm),
        hd95_mm=None if surfaces is None else surfaces.hausdorff95(),
        overlap=lesions.overlap,
        iou=lesions.iou,
        false_negative_volume_ml=lesions.missed_voxels * ml if wanted else None,
        false_positive_volume_ml=lesions.false_voxels * ml,
        mtv_ml=int(np.count_nonzero(prediction)) * ml,
        reference_mtv_ml=int(np.count_nonzero(reference)) * ml,
        tlg_g=tlg_g,
        reference_tlg_g=reference_tlg_g,
        tolerance_mm=tolerance_mm,
        min_lesion_ml=min_lesion_ml,
    )


def _check(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    suv: NDArray[np.floating],
    geometry: Geometry,
) -> None:
    if not prediction.shape == reference.shape == suv.shape == geometry.shape:
        raise ValueError(
            f"shapes differ: prediction {prediction.shape}, reference {reference.shape}, SUV {suv.shape}, "
            f"geometry {geometry.shape}"
        )
    if prediction.dtype != np.bool_ or reference.dtype != np.bool_:
        raise ValueError(f"masks are bool, not {prediction.dtype} and {reference.dtype}")


def _box(mask: NDArray[np.bool_]) -> Box:
    """The bounding box of a mask; of one voxel where it is empty."""
    parts = []
    for axis in range(3):
        others = tuple(each for each in range(3) if each != axis)
        planes = np.flatnonzero(mask.any(axis=others))
        parts.append(slice(int(planes[0]), int(planes[-1]) + 1) if len(planes) else slice(0, 1))
    return parts[0], parts[1], parts[2]
