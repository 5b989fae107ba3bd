"""The features of every patient: by the expert's outline, and as the product's own network outlines."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.petct_lesion.training.design import LESION
from models.petct_lesion.training.folds import fold_of
from models.petct_lesion.training.judge import judge
from models.petct_lesion.training.patients import Patient
from operators.domain import Volume
from operators.quantification.lesions import measure_lesions
from operators.quantification.totals import total
from operators.response.prognosis.features import FEATURES
from operators.segmentation.package.read import read_package

FOLD_SEED = 0
"""That the lesion network's folds were dealt with."""
SMALLEST_ML = 0.25
"""Of the network's regions: the FDG protocol leaves out smaller ones."""
NAMES = (
    "hottest_suv_max", "hottest_suv_peak", "largest_suv_max", "largest_suv_peak", "largest_suv_mean",
    "largest_volume_ml", "largest_uptake_g", "largest_diameter_mm", "tumour_volume_ml",
    "total_lesion_uptake_g", "whole_tumour_suv_mean",
)  # fmt: skip
"""Features that one tumour has."""


def by_outline(patients: Sequence[Patient]) -> dict[str, dict[str, float]]:
    """Return the features of each patient, by name, inside the expert's outline."""
    return {patient.name: features(patient, patient.truth, 0.0) for patient in patients}


def by_network(patients: Sequence[Patient], packages: Path) -> dict[str, dict[str, float]]:
    """Return the features of each patient as the lesion network outlines that never saw the patient.

    Parameters
    ----------
    patients : sequence of Patient
    packages : Path
        Holds ``fold0/petct_lesion`` to ``fold4/petct_lesion``, as the lesion model's cross-validation
        leaves them.

    Raises
    ------
    PackageError
        A fold's package is not there.
    ValueError
        The network finds nothing in a patient.
    """
    dealt = fold_of(patients, FOLD_SEED)
    found = {}
    for patient in patients:
        package = read_package(packages / f"fold{dealt[patient.name]}" / "petct_lesion")
        labels = judge(package, patient.name, patient.own, patient.truth).labels
        found[patient.name] = features(patient, np.asarray(labels == LESION), SMALLEST_ML)
    return found


def features(patient: Patient, mask: NDArray[np.bool_], smallest_ml: float) -> dict[str, float]:
    """Compute the features of a mask, (z, y, x) on the PET's grid."""
    suv = patient.own.array[0]
    slices = suv.shape[0]
    pet = Volume(suv, np.ones(slices), np.zeros(slices), "g/ml{SUVbw}", patient.own.geometry, (), None, "")
    lesions = tuple(each for each in measure_lesions(pet, mask) if each.volume_ml >= smallest_ml)
    quantified: Any = SimpleNamespace(
        lesions=lesions,
        totals=total(lesions),
        segmented=SimpleNamespace(volumes=SimpleNamespace(pet=pet)),
    )
    values = {name: FEATURES[name].compute(quantified) if lesions else None for name in NAMES}
    known = {name: value for name, value in values.items() if value is not None}
    if len(known) < len(NAMES):
        message = f"{patient.name}: nothing was found"
        raise ValueError(message)
    return known


def agreement(*ways: NDArray[np.float64]) -> float:
    """Return the intraclass correlation of measurements' logarithms: absolute agreement, single, two-way.

    Parameters
    ----------
    *ways : ndarray of float64, shape (patients,)
        Above 0.

    References
    ----------
    McGraw, Wong, Psychol Methods 1996;1:30: ICC(A,1).
    """
    x = np.log(np.stack(ways, axis=1))
    n, k = x.shape
    of_rows, of_columns, mean = x.mean(axis=1), x.mean(axis=0), x.mean()
    rows = k * ((of_rows - mean) ** 2).sum() / (n - 1)
    columns = n * ((of_columns - mean) ** 2).sum() / (k - 1)
    rest = x - of_rows[:, None] - of_columns[None, :] + mean
    error = (rest**2).sum() / ((n - 1) * (k - 1))
    return float((rows - error) / (rows + (k - 1) * error + k * (columns - error) / n))


def read_outcomes(path: Path) -> dict[str, bool]:
    """Return who had lung metastases, by patient."""
    with path.open(newline="") as file:
        return {row["id"]: row["lung_mets"] == "1" for row in csv.DictReader(file)}


def write_features(
    path: Path,
    outlined: Mapping[str, Mapping[str, float]],
    found: Mapping[str, Mapping[str, float]],
    outcomes: Mapping[str, bool],
) -> None:
    """Write the table: a row for each patient, columns ``outline_…`` and ``network_…``."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["patient", "event", *(f"{by}_{name}" for by in WAYS for name in NAMES)])
        for patient in sorted(outlined):
            numbers = [way[patient][name] for way in (outlined, found) for name in NAMES]
            writer.writerow([patient, int(outcomes[patient]), *(f"{number:.6g}" for number in numbers)])


def read_features(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of the table."""
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


WAYS = ("outline", "network")
