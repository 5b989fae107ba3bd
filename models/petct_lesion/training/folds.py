"""Cross-validation over the real patients: each is judged by a network that never saw that patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.petct_lesion.training.patients import Patient

FOLDS = 5


def fold_of(patients: Sequence[Patient], seed: int) -> Mapping[str, int]:
    """Deal the patients out to folds of like tumour volumes.

    Returns
    -------
    mapping of str to int
        The fold that leaves the patient out, by name.
    """
    rng = np.random.default_rng(seed)
    by_volume = sorted(patients, key=lambda patient: int(patient.mask.sum()))
    dealt: dict[str, int] = {}
    for start in range(0, len(by_volume), FOLDS):
        group = by_volume[start : start + FOLDS]
        for patient, fold in zip(group, rng.permutation(FOLDS), strict=False):
            dealt[patient.name] = int(fold)
    return dealt
