"""The package on cases with a known truth, through the engine that hospitals run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from app.evaluation.measure import CaseMetrics, measure_case
from models.petct_lesion.training.design import LESION
from operators.segmentation.features import features_of
from operators.segmentation.network.predict import predict
from operators.segmentation.network.types import Image
from operators.segmentation.options import Options
from operators.segmentation.package.types import Package

CT_CHANNEL = 1


@dataclass(frozen=True, slots=True)
class Judged:
    """One case: what the network said, and the truth."""

    name: str
    labels: NDArray[np.uint8]
    """(z, y, x), on the PET's grid."""
    probability: NDArray[np.float16]
    """(z, y, x), of lesion, not calibrated."""
    truth: NDArray[np.bool_]
    """(z, y, x)."""
    voxel_volume_ml: float
    features: dict[str, float]
    """Of the study, as the guard compares them."""
    metrics: CaseMetrics
    seconds: float
    """From the image in memory to the label map."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        return np.asarray(self.labels == LESION)


def judge(
    package: Package,
    name: str,
    image: Image,
    truth: NDArray[np.bool_],
    *,
    with_ct: bool = True,
    min_lesion_ml: float = 0.0,
) -> Judged:
    """Segment a case and measure the result.

    Parameters
    ----------
    package : Package
    name : str
    image : Image
        SUVbw and HU on the PET's grid.
    truth : ndarray of bool, shape (z, y, x)
    with_ct : bool
        False: the CT is withheld.
    min_lesion_ml : float
        Smaller lesions are not counted.
    """
    given = image if with_ct else without_ct(image)
    began = perf_counter()
    found = predict(package, given, Options(device="cpu", probability_of=(LESION,)))
    seconds = perf_counter() - began
    if found.probability is None:
        message = "the engine gave no probabilities"
        raise ValueError(message)
    suv, grid = image.array[0], image.geometry
    metrics = measure_case(found.labels == LESION, truth, suv, grid, min_lesion_ml=min_lesion_ml)
    features = features_of(suv, grid, has_ct=not given.absent)
    return Judged(
        name, found.labels, found.probability, truth, grid.voxel_volume_ml, features, metrics, seconds
    )


def without_ct(image: Image) -> Image:
    """The same study without its CT."""
    array = image.array.copy()
    array[CT_CHANNEL] = 0
    return replace(image, array=array, absent=(CT_CHANNEL,))
