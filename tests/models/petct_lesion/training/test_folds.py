"""Folds: every patient left out once, volumes spread evenly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from models.petct_lesion.training.folds import FOLDS, fold_of


def patients(count: int) -> list[Any]:
    return [SimpleNamespace(name=f"P{n}", mask=np.ones((1, 1, 1 + n), bool)) for n in range(count)]


def test_every_patient_is_left_out_once_and_folds_are_alike() -> None:
    dealt = fold_of(patients(38), 0)
    sizes = np.bincount(list(dealt.values()), minlength=FOLDS)
    assert len(dealt) == 38
    assert sizes.max() - sizes.min() <= 1
    means = [
        np.mean([int(name[1:]) for name, fold in dealt.items() if fold == each]) for each in range(FOLDS)
    ]
    assert max(means) - min(means) < 4


def test_the_seed_decides() -> None:
    assert fold_of(patients(38), 1) == fold_of(patients(38), 1)
    assert fold_of(patients(38), 1) != fold_of(patients(38), 2)
