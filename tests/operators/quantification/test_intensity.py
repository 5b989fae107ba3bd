"""First-order statistics against the IBSI's consensus values and against scipy."""

from __future__ import annotations

import csv

import nibabel
import numpy as np
import pytest
import scipy.stats

from operators.quantification.intensity import STATISTICS


@pytest.fixture(scope="module")
def phantom(shared_data):
    """Intensities in the mask of the IBSI digital phantom, and the consensus: (value, tolerance) by tag."""
    folder = shared_data / "ibsi1"
    image = nibabel.load(folder / "digital_phantom" / "image" / "phantom.nii.gz").get_fdata()
    mask = nibabel.load(folder / "digital_phantom" / "mask" / "mask.nii.gz").get_fdata() > 0
    with (folder / "ibsi_1_dig_phantom.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["tag"]: row for row in csv.DictReader(file, delimiter=";")}
    return image[mask], rows


def half_a_digit(text):
    """Half a unit of the last of the three significant digits that the consensus is given to."""
    return 0.5 * 10.0 ** (int(f"{abs(float(text)):e}".split("e")[1]) - 2)


@pytest.mark.data
def test_the_table_is_the_complete_set_of_the_ibsi(phantom):
    _, consensus = phantom
    assert {f"stat_{name}" for name in STATISTICS} == {tag for tag in consensus if tag.startswith("stat_")}
    assert len(STATISTICS) == 18


@pytest.mark.data
@pytest.mark.parametrize("name", STATISTICS)
def test_agrees_with_the_ibsi_consensus(phantom, name):
    values, consensus = phantom
    row = consensus[f"stat_{name}"]
    tolerance = float(row["tolerance"]) + half_a_digit(row["reference value"])
    assert STATISTICS[name](values) == pytest.approx(float(row["reference value"]), abs=tolerance)


def test_moments_and_percentiles_equal_scipys():
    values = np.random.default_rng(0).gamma(2.0, 3.0, 1001)
    expected = {
        "skew": scipy.stats.skew(values),
        "kurt": scipy.stats.kurtosis(values),
        "iqr": scipy.stats.iqr(values),
        "cov": scipy.stats.variation(values),
        "rms": np.sqrt(np.mean(values**2)),
    }
    for name, value in expected.items():
        assert STATISTICS[name](values) == pytest.approx(value, rel=1e-12)


def test_what_cannot_be_computed_is_absent():
    assert STATISTICS["skew"](np.full(7, 0.1)) is None
    assert STATISTICS["kurt"](np.full(7, 0.1)) is None
    assert STATISTICS["cov"](np.array([-1.0, 1.0])) is None
    assert STATISTICS["qcod"](np.array([-1.0, 1.0])) is None
    assert STATISTICS["var"](np.array([3.0])) == 0.0
