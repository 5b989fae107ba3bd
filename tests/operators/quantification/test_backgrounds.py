"""Tumour-to-background ratios and PERCIST's measurability."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Claim, ReferenceRegion
from operators.quantification.backgrounds import background_ratios, measurable, percist_threshold
from operators.quantification.quantify import quantify
from operators.segmentation.segment import segment
from operators.segmentation.site import SegmentationSite

LIVER = ReferenceRegion("liver", 2.0, 0.25)
BLOOD_POOL = ReferenceRegion("blood_pool", 1.5, 0.25)


@pytest.fixture
def segmented(make_volume, make_volumes):
    stored = np.ones((20, 20, 20), np.int16)
    stored[6:14, 6:14, 6:14] = 9
    pet = make_volume(stored, spacing_mm=(2.0, 2.0, 2.0))
    found = segment(make_volumes(pet, threshold=4.0), SegmentationSite(device="cpu"))
    return replace(found, claim=Claim.LESION)


def test_ratios_are_of_suvmax_to_each_mean():
    spleen, parotid = ReferenceRegion("spleen", 4.0, 1.0), ReferenceRegion("parotid", 16.0, 2.0)
    assert background_ratios(8.0, (LIVER, BLOOD_POOL, spleen, parotid)) == pytest.approx(
        {"liver": 4.0, "blood_pool": 8.0 / 1.5, "spleen": 2.0, "parotid": 0.5}
    )


def test_a_background_without_uptake_gives_no_ratio():
    assert background_ratios(8.0, (ReferenceRegion("liver", 0.0, 0.0),)) == {}


# (references, a lesion in the liver, threshold, its reference)
THRESHOLDS = [
    ((LIVER, BLOOD_POOL), False, 1.5 * 2.0 + 2 * 0.25, "liver"),
    ((LIVER,), False, 3.5, "liver"),
    ((LIVER, BLOOD_POOL), True, 2.0 * 1.5 + 2 * 0.25, "blood_pool"),
    ((BLOOD_POOL,), False, 3.5, "blood_pool"),
    ((LIVER,), True, None, None),
    ((), False, None, None),
    ((ReferenceRegion("spleen", 4.0, 1.0),), False, None, None),
]


@pytest.mark.parametrize(("references", "in_liver", "suv", "name"), THRESHOLDS)
def test_threshold_by_references(segmented, make_lesion, make_site, references, in_liver, suv, name):
    lesions = (make_lesion(1), make_lesion(2, site=make_site("liver" if in_liver else "spleen")))
    threshold = percist_threshold(replace(segmented, references=references), lesions)
    assert (threshold.suv_peak, threshold.reference) == (suv, name)
    assert threshold.reason.endswith(".")


def test_the_threshold_is_said_in_words(segmented, make_lesion, make_site):
    both = replace(segmented, references=(LIVER, BLOOD_POOL))
    assert percist_threshold(both, ()).reason == (
        "SUVpeak of at least 3.50 g/ml: 1.5 x the liver's mean + 2 SD."
    )
    assert percist_threshold(both, (make_lesion(site=make_site("liver")),)).reason == (
        "SUVpeak of at least 3.50 g/ml: 2 x the blood pool's mean + 2 SD, as the liver holds lesions."
    )


def test_a_lesion_that_only_adjoins_the_liver_leaves_it_healthy(segmented, make_lesion, make_site):
    lesion = make_lesion(site=make_site("liver", overlap=0.1))
    threshold = percist_threshold(replace(segmented, references=(LIVER, BLOOD_POOL)), (lesion,))
    assert threshold.reference == "liver"


@pytest.mark.parametrize(("peak", "expected"), [(3.4999, False), (3.5, True), (3.5001, True)])
def test_measurable_from_the_threshold_on(segmented, make_lesion, peak, expected):
    threshold = percist_threshold(replace(segmented, references=(LIVER,)), ())
    lesion = make_lesion(suv_peak_global=peak, suv_peak_local=1.0)
    assert measurable(lesion, threshold, Claim.LESION) is expected


def test_uptake_that_may_be_physiological_is_not_said_to_be_measurable(segmented, make_lesion):
    threshold = percist_threshold(replace(segmented, references=(LIVER,)), ())
    assert measurable(make_lesion(), threshold, Claim.UPTAKE) is None


def test_percist_is_for_fdg_alone(segmented):
    selection = segmented.volumes.selection
    psma = replace(selection, protocol=replace(selection.protocol, name="psma"))
    other = replace(segmented, references=(LIVER,), volumes=replace(segmented.volumes, selection=psma))
    threshold = percist_threshold(other, ())
    assert (threshold.suv_peak, threshold.reason) == (None, "PERCIST is made for FDG.")
    quantified = quantify(other)
    assert quantified.lesions[0].percist_measurable is None
    assert quantified.notes == ()


def test_the_step_compares_every_lesion(segmented):
    quantified = quantify(replace(segmented, references=(LIVER, BLOOD_POOL)))
    (lesion,) = quantified.lesions
    assert lesion.background_ratio == {"liver": 4.5, "blood_pool": 6.0}
    assert lesion.percist_measurable is True
    assert quantified.percist.suv_peak == 3.5
    assert quantified.notes == ()


def test_the_step_says_when_measurability_is_not_known(segmented):
    quantified = quantify(segmented)
    assert quantified.lesions[0].percist_measurable is None
    (note,) = quantified.notes
    assert note.code == "PERCIST_MEASURABILITY_UNKNOWN"
    assert "the liver has no reference region" in note.sentence


def test_measurability_is_the_same_by_lean_mass(segmented, make_lesion):
    """1.5 x mean + 2 SD scales as SUVpeak does."""
    ratio = 0.656
    scaled = ReferenceRegion("liver", LIVER.suv_mean * ratio, LIVER.suv_sd * ratio)
    for peak in (3.4, 3.6):
        by_weight, by_lean_mass = (
            measurable(
                make_lesion(suv_peak_global=value),
                percist_threshold(replace(segmented, references=(reference,)), ()),
                Claim.LESION,
            )
            for value, reference in ((peak, LIVER), (peak * ratio, scaled))
        )
        assert by_weight is by_lean_mass
