"""Features of a patient as they are kept."""

from __future__ import annotations

import numpy as np
import pytest

from models.petct_lesion.training.patients import read_patients
from models.sts_metastasis.training.measure import agreement, by_outline, read_features
from tests.models.sts_metastasis.test_package import HOME


def test_agreement_of_equal_measurements_is_one():
    a = np.array([1.0, 2.0, 5.0, 9.0])
    assert agreement(a, a) == pytest.approx(1.0)


def test_agreement_counts_a_shift_as_disagreement():
    a = np.array([1.0, 2.0, 5.0, 9.0])
    assert agreement(a, a * 3) < 0.7


def test_agreement_is_that_of_a_published_table():
    """Shrout, Fleiss, Psychol Bull 1979;86:420: four judges of six targets, ICC(2,1) 0.29."""
    judges = np.array(
        [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]], float
    )
    assert agreement(*np.exp(judges)) == pytest.approx(0.29, abs=0.005)


@pytest.mark.slow
@pytest.mark.data
def test_the_kept_features_of_an_outline_are_measured_again(shared_data, tmp_path):
    (tmp_path / "sts").mkdir()
    for name in ("sts/STS_019.tar.xz", "sts_pet_masks.tar.xz"):
        (tmp_path / name).symlink_to(shared_data / name)
    found = by_outline(read_patients(tmp_path, tmp_path / "cache"))["STS_019"]
    [kept] = [
        row for row in read_features(HOME / "evaluation" / "features.csv") if row["patient"] == "STS_019"
    ]
    for name, value in found.items():
        assert value == pytest.approx(float(kept[f"outline_{name}"]), rel=1e-5)
