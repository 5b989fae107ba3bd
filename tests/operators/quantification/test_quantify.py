"""The step: what it withholds and what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import (
    Algorithm,
    Anatomy,
    Claim,
    Code,
    LesionCalibration,
    OrganMap,
    Quality,
    RemovedUptake,
    UncertainRegion,
)
from operators.quantification import quantify as module
from operators.quantification.quantify import quantify
from operators.segmentation.segment import segment
from operators.segmentation.site import SegmentationSite


@pytest.fixture
def segmented_of(make_volume, make_volumes):
    def build(stored):
        pet = make_volume(np.asarray(stored, np.int16), spacing_mm=(2.0, 2.0, 2.0))
        return segment(make_volumes(pet, threshold=4.0), SegmentationSite(device="cpu"))

    return build


def block(shape=(20, 20, 20), at=slice(8, 12)):
    stored = np.ones(shape)
    stored[at, at, at] = 9
    return stored


def test_totals_of_uptake_are_withheld_with_the_reason(segmented_of):
    quantified = quantify(segmented_of(block()))
    assert quantified.withheld is not None
    assert "uptake" in quantified.withheld
    assert quantified.totals.count == 1
    assert quantified.totals.volume_ml == pytest.approx(64 * 0.008)
    assert quantified.notes == ()


def test_totals_of_lesions_are_not_withheld(segmented_of):
    quantified = quantify(replace(segmented_of(block()), claim=Claim.LESION))
    assert quantified.withheld is None


def test_lesions_have_their_sites_when_organs_are_known(segmented_of):
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:, :, 10:] = 1
    anatomy = {1: Anatomy("liver", Code("10200004", "SCT", "Liver"))}
    algorithm = Algorithm("organs", "Organs", "1", (), "", "cpu")
    segmented = replace(segmented_of(block()), organs=OrganMap(labels, anatomy, algorithm))
    quantified = quantify(segmented)
    [lesion] = quantified.lesions
    assert (lesion.site.anatomy.name, lesion.site.overlap) == ("liver", 0.5)
    for parts in (quantified.sites, quantified.organs):
        assert [(part.name, part.lesions, part.totals) for part in parts] == [
            ("liver", (1,), quantified.totals)
        ]


def test_without_organs_there_are_no_totals_by_site(segmented_of):
    quantified = quantify(segmented_of(block()))
    assert (quantified.sites, quantified.organs) == ((), ())


def test_distances_are_related_to_the_patients_surface(segmented_of):
    stored = block(shape=(20, 20, 60))
    stored[8:12, 8:12, 50:54] = 9  # 84 mm from the other
    segmented = segmented_of(stored)
    totals = quantify(segmented).totals
    assert (totals.dmax_mm, totals.sdmax_per_m) == (pytest.approx(84.0), None)
    suv = replace(segmented.volumes.suv, weight_kg=75.0, height_m=1.85, bsa_ratio=19813.758 / 75000)
    quantified = quantify(replace(segmented, volumes=replace(segmented.volumes, suv=suv)))
    assert quantified.totals.sdmax_per_m == pytest.approx(0.084 / 1.9813758)
    assert [scale.name for scale in quantified.scales] == ["suvbsa"]


def test_heterogeneity_is_of_large_lesions_and_its_method_is_said(segmented_of):
    noise = np.random.default_rng(0).integers(0, 9, (30, 30, 30))
    stored = np.where(np.pad(np.ones((12, 12, 12)), 9) > 0, 9 + noise, 1)
    stored[2, 2, 2] = 5
    quantified = quantify(segmented_of(stored))
    large, small = quantified.lesions
    assert large.heterogeneity["ih_entropy"] > 1
    assert large.heterogeneity_absent is None
    assert small.heterogeneity == {}
    assert small.heterogeneity_absent == "it has 1 voxel, less than 64"
    assert quantified.heterogeneity_method.startswith("Z-Rad")
    assert quantify(segmented_of(block())).heterogeneity_method is None


def test_uptake_that_was_removed_in_part_is_withheld_as_that(segmented_of):
    box = (slice(0, 1),) * 3
    removed = (RemovedUptake("kidneys", box, np.ones((1, 1, 1), bool), 1.0, 9.0),)
    withheld = quantify(replace(segmented_of(block()), removed=removed)).withheld
    assert withheld.startswith("Physiological uptake has been removed in part only: ")


def test_an_empty_mask_gives_no_lesions_and_zero_volume(segmented_of):
    quantified = quantify(segmented_of(np.ones((4, 5, 6))))
    assert quantified.lesions == ()
    assert quantified.totals.volume_ml == 0.0
    assert quantified.totals.suv_max is None
    assert quantified.notes == ()


def test_a_region_at_the_border_is_noted_with_its_number(segmented_of):
    quantified = quantify(segmented_of(block(at=slice(0, 3))))
    assert [note.code for note in quantified.notes] == ["REGION_AT_BORDER", "PEAK_TRUNCATED"]
    assert quantified.notes[0].sentence.startswith("Region 1 lies at the border")


def test_a_region_near_the_border_has_a_truncated_peak_only(segmented_of):
    quantified = quantify(segmented_of(block(at=slice(1, 2))))
    assert [note.code for note in quantified.notes] == ["PEAK_TRUNCATED"]


def test_very_many_regions_are_noted(segmented_of, monkeypatch):
    monkeypatch.setattr(module, "MANY_LESIONS", 11)
    stored = np.ones((9, 9, 51))
    stored[4, 4, 1:50:2] = 9
    stored[4, 4, 1:50:4] = 9
    quantified = quantify(segmented_of(stored))
    assert quantified.totals.count == 25
    notes = {note.code: note.sentence for note in quantified.notes}
    assert "25 separate regions" in notes["MANY_REGIONS"]


def test_lesions_have_their_confidence_where_the_network_was_calibrated(segmented_of):
    stored = block()
    stored[2, 2, 2:4] = 7
    segmented = segmented_of(stored)
    probability = np.where(stored > 8, 0.9, 0.4).astype(np.float16)
    probability[2, 2, 2] = 0.6
    calibration = LesionCalibration(1.0, 0.5, -0.2, "")
    sure = replace(segmented, quality=Quality(probability, calibration, None, {}, ()))
    large, small = quantify(sure).lesions
    for lesion, mean, volume_ml in ((large, 0.9, 64 * 0.008), (small, 0.5, 2 * 0.008)):
        term = np.log(mean / (1 - mean)) + 0.5 * np.log(volume_ml) - 0.2
        assert lesion.confidence == pytest.approx(1 / (1 + np.exp(-term)), rel=2e-3)
    assert all(lesion.confidence is None for lesion in quantify(segmented).lesions)


def test_a_lesion_that_may_be_physiological_says_why(segmented_of):
    mask = np.maximum(block(at=slice(2, 5)), block(at=slice(12, 15)))
    box = (slice(12, 14),) * 3
    doubt = UncertainRegion("small bowel", box, np.ones((2, 2, 2), bool), "It lies in the bowel.")
    lesions = quantify(replace(segmented_of(mask), uncertain=(doubt,))).lesions
    said = {lesion.box[0].start: lesion.uncertain for lesion in lesions}
    assert said == {2: None, 12: "It lies in the bowel."}
