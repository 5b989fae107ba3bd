"""Normalisation against nnU-Net's and MONAI's own classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from operators.segmentation.network.normalise import normalise
from operators.segmentation.package.types import Normalisation, Scheme
from tests.conftest import missing

CT = Normalisation(Scheme.CLIP_ZSCORE, mean=99.5, sd=171.2, low=-958.0, high=326.0)
CT_PROPERTIES = {"mean": 99.5, "std": 171.2, "percentile_00_5": -958.0, "percentile_99_5": 326.0}


def hounsfield(seed=0):
    return np.random.default_rng(seed).normal(-300, 600, (31, 40, 27)).astype(np.float32)


def normalised(image, rule, mask=None):
    given = torch.from_numpy(image.copy())
    result = normalise(given, rule, None if mask is None else torch.from_numpy(mask))
    assert result is given
    return result.numpy()


def nnunets(name, image, *, mask=None, properties=None):
    try:
        from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes
    except ImportError:
        missing("nnunetv2")
    run = getattr(schemes, name)(mask is not None, properties or {})
    return run.run(image.copy(), None if mask is None else np.where(mask, 0, -1))


@pytest.mark.parametrize(
    ("name", "rule", "properties"),
    [
        ("ZScoreNormalization", Normalisation(Scheme.ZSCORE), None),
        ("CTNormalization", CT, CT_PROPERTIES),
        ("RescaleTo01Normalization", Normalisation(Scheme.MINMAX), None),
        ("NoNormalization", Normalisation(Scheme.NONE), None),
    ],
)
def test_equals_nnunets(name, rule, properties):
    image = hounsfield()
    expected = nnunets(name, image, properties=properties)
    assert np.abs(normalised(image, rule) - expected).max() < 2e-6 * max(1, np.abs(expected).max())


def test_masked_zscore_leaves_the_rest_alone():
    image = hounsfield()
    mask = np.zeros(image.shape, np.bool_)
    mask[5:20, 3:30, 2:20] = True
    expected = nnunets("ZScoreNormalization", image, mask=mask)
    found = normalised(image, Normalisation(Scheme.ZSCORE, masked=True), mask)
    assert np.array_equal(found[~mask], image[~mask])
    assert np.abs(found - expected)[mask].max() < 2e-6


@pytest.mark.parametrize("name", ["ZScoreNormalization", "RescaleTo01Normalization"])
def test_a_constant_image_becomes_zeros(name):
    image = np.full((3, 4, 5), 7.0, np.float32)
    scheme = Scheme.ZSCORE if name.startswith("Z") else Scheme.MINMAX
    assert not nnunets(name, image).any()
    assert not normalised(image, Normalisation(scheme)).any()


def test_equals_monais_chain_of_nonzero_zscore_and_range():
    from monai.transforms import NormalizeIntensity, ScaleIntensity, ScaleIntensityRange

    image = hounsfield()
    image[:4] = 0
    expected = NormalizeIntensity(nonzero=True)(image.copy())
    found = normalised(image, Normalisation(Scheme.ZSCORE, masked=True))
    assert np.abs(found - expected).max() < 5e-6
    expected = ScaleIntensity(-1, 1)(expected)
    found = normalised(found, Normalisation(Scheme.MINMAX, to_low=-1.0, to_high=1.0))
    assert np.abs(found - expected.numpy()).max() < 5e-6
    expected = ScaleIntensityRange(-57, 164, 0, 1, clip=True)(image.copy())
    rule = Normalisation(Scheme.RANGE, low=-57, high=164, to_low=0.0, to_high=1.0, clip=True)
    assert np.abs(normalised(image, rule) - expected.numpy()).max() < 1e-6


def test_range_without_clip_goes_beyond_its_bounds():
    image = np.array([[[-100.0, 0.0, 300.0]]], np.float32)
    rule = Normalisation(Scheme.RANGE, low=0, high=100, to_low=-1.0, to_high=1.0)
    assert normalised(image, rule).ravel().tolist() == [-3.0, -1.0, 5.0]


def test_log1p_of_uptake():
    image = np.array([[[-3.0, -0.0, 0.0, 1e-6, 1.0, np.e - 1, 30.0, 1e6]]], np.float32)
    found = normalised(image, Normalisation(Scheme.LOG1P))
    expected = [0, 0, 0, 1e-6, 0.69314718, 1.0, 3.43398720, 13.81551156]  # tables of the natural logarithm
    assert found.ravel().tolist() == pytest.approx(expected, rel=2e-7, abs=1e-12)
    assert found.dtype == np.float32


def test_log1p_then_a_range():
    image = np.array([[[-1.0, 0.0, 1.0, 99.0]]], np.float32)
    half = Normalisation(Scheme.RANGE, low=0.0, high=2.0, to_low=0.0, to_high=1.0, clip=True)
    found = normalised(normalised(image, Normalisation(Scheme.LOG1P)), half)
    assert found.ravel().tolist() == pytest.approx([0, 0, 0.34657359, 1.0])


def test_log1p_makes_no_number_of_what_is_none():
    image = np.array([[[np.nan, np.inf]]], np.float32)
    found = normalised(image, Normalisation(Scheme.LOG1P)).ravel()
    assert np.isnan(found[0])
    assert np.isposinf(found[1])


def test_a_rule_without_its_numbers_is_refused():
    with pytest.raises(ValueError, match="needs low, high, mean, sd"):
        normalise(torch.zeros(1, 1, 1), Normalisation(Scheme.CLIP_ZSCORE, mean=1.0))
