"""The method network: a package's labels become mask, removed uptake and claim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Claim, LesionCalibration, NetworkRun, Note, PhysiologicalOrgan
from operators.errors import SegmentationRefusal
from operators.segmentation import models
from operators.segmentation.engine import choose_engine
from operators.segmentation.network.types import Prediction
from operators.segmentation.package.types import (
    Calibration,
    DiceCalibration,
    Feature,
    Guard,
    SeenRange,
    Task,
)
from operators.segmentation.segment import segment
from operators.segmentation.site import SegmentationSite
from tests.tiny_models import write_intervals

STARTS = {"lesion": 4.0, "bladder": 20.0}


@pytest.fixture
def volumes(make_volume, make_volumes):
    stored = np.array([[[1, 5, 9, 0, 25, 26, 0, 7, 0]]], np.int16)
    return make_volumes(make_volume(stored, spacing_mm=(10.0, 10.0, 10.0)), method="network")


@pytest.fixture
def site(tmp_path):
    return SegmentationSite(models=tmp_path)


@pytest.fixture
def predicted(monkeypatch):
    """In place of the network: the intervals of the PET, by numpy."""

    def run(package, volumes, _site, probability_of=()):
        labels = np.digitize(volumes.pet.values(), list(STARTS.values())).astype(np.uint8)
        probability = np.where(np.isin(labels, probability_of), 0.8, 0.1).astype(np.float16)
        one = NetworkRun(
            package=package.identity,
            digest=package.digest,
            engine="openvino 2026.4.1",
            provider="CPU",
            device="cpu",
            precision="single",
            folds=("0",),
            mirrored_axes=(),
            tiles=1,
            tiles_skipped=0,
            batch=1,
            times_s={},
        )
        notes = (Note("A_NOTE", "Of the run."),)
        return Prediction(labels, None, one, notes, probability if probability_of else None)

    monkeypatch.setattr(models, "predicted", run)


def write_lesions(site, **changes):
    return write_intervals(site.models, "ours", STARTS, task=Task.LESIONS, tracers=("fdg",), **changes)


def segmented(volumes, site, **parameters):
    return choose_engine("network", parameters, site).segment(volumes, {})


@pytest.mark.usefixtures("predicted")
def test_what_the_package_parts_from_physiological_uptake_is_lesion(volumes, site):
    package = write_lesions(site, physiological=("bladder",))
    result = segmented(volumes, site)
    assert np.flatnonzero(result.mask).tolist() == [1, 2, 7]
    assert result.claim is Claim.LESION
    [region] = result.removed
    assert (region.organ, region.suv_max) == ("bladder", 26.0)
    assert region.volume_ml == pytest.approx(2.0)
    assert [note.code for note in result.notes] == ["A_NOTE"]
    algorithm = result.algorithm
    assert (algorithm.name, algorithm.title, algorithm.version) == ("network", "Intervals ours", "1.0.0")
    assert (algorithm.citation, algorithm.model_digest) == ("Nobody 2024", package.digest)
    assert algorithm.network.package == "ours@1.0.0"
    assert algorithm.network.digest == package.digest


@pytest.mark.usefixtures("predicted")
def test_without_physiological_labels_it_is_uptake(volumes, site):
    write_lesions(site)
    result = segmented(volumes, site)
    assert np.flatnonzero(result.mask).tolist() == [1, 2, 4, 5, 7]
    assert result.claim is Claim.UPTAKE
    assert result.removed == ()
    assert "MODEL_PARTS_NOTHING" in [note.code for note in result.notes]


@pytest.mark.usefixtures("predicted")
def test_a_package_for_another_tracer_gives_uptake(volumes, site):
    physiological = ("bladder",)
    write_intervals(
        site.models, "ours", STARTS, task=Task.LESIONS, tracers=("psma",), physiological=physiological
    )
    result = segmented(volumes, replace(site, lesions="ours"))
    assert result.claim is Claim.UPTAKE
    assert [region.organ for region in result.removed] == ["bladder"]
    assert result.notes[0].code == "MODEL_OTHER_TRACER"


@pytest.mark.usefixtures("predicted")
def test_of_a_tracer_that_was_only_simulated_it_gives_uptake(volumes, site):
    write_intervals(
        site.models, "ours", STARTS, task=Task.LESIONS, simulated_tracers=("fdg",), physiological=("bladder",)
    )
    result = segmented(volumes, site)
    assert result.claim is Claim.UPTAKE
    assert [region.organ for region in result.removed] == ["bladder"]
    assert result.notes[0].code == "MODEL_OTHER_TRACER"


@pytest.mark.usefixtures("predicted")
def test_small_regions_are_left_out(volumes, site):
    write_lesions(site, physiological=("bladder",))
    result = segmented(volumes, site, min_volume_ml=1.5)
    assert np.flatnonzero(result.mask).tolist() == [1, 2]
    assert "One region found by the network, smaller than 1.5 ml" in result.notes[-1].sentence


def test_without_a_package_it_is_refused_with_what_to_do(volumes, site):
    with pytest.raises(SegmentationRefusal) as caught:
        segmented(volumes, site)
    assert caught.value.code == "MODEL_MISSING"
    assert "lesions of the tracer fdg" in caught.value.sentence
    assert "theramap models import" in caught.value.sentence


def test_the_device_is_left_to_the_run_when_none_is_asked_for(site):
    assert choose_engine("network", {}, site).site == site
    on_cpu = replace(site, device="cpu")
    assert choose_engine("network", {}, on_cpu).site.device == "cpu"


GUARD = Guard(
    Calibration(1.0, 0.0, ""),
    LesionCalibration(1.0, 0.0, 0.0, ""),
    DiceCalibration(1.0, 0.0, 0.06, 38, ""),
    (SeenRange(Feature.SPACING_Z, 2.0, 5.0, "mm", ""),),
)


@pytest.mark.usefixtures("predicted")
def test_a_package_with_a_guard_says_how_sure_it_is(volumes, site):
    write_lesions(site, physiological=("bladder",), guard=GUARD)
    quality = segmented(volumes, site).quality
    # 9 voxels, three of them segmented: at 0.8, the others at 0.1
    assert quality.predicted_dice.value == pytest.approx(2 * 2.4 / (3 + 2.4 + 0.6), rel=1e-3)
    assert quality.features["uncertain_ml"] == pytest.approx(9.0)  # the bounds count
    assert [departure.feature for departure in quality.departures] == ["pet_spacing_z_mm"]


@pytest.mark.usefixtures("predicted")
def test_what_is_left_out_for_its_size_lowers_the_predicted_dice(volumes, site):
    write_lesions(site, physiological=("bladder",), guard=GUARD)
    dice = segmented(volumes, site, min_volume_ml=1.5).quality.predicted_dice
    assert dice.value == pytest.approx(2 * 1.6 / (2 + 2.4 + 0.6), rel=1e-3)


@pytest.mark.usefixtures("predicted")
def test_without_a_guard_nothing_is_said_of_quality(volumes, site):
    write_lesions(site, physiological=("bladder",))
    assert segmented(volumes, site).quality is None


def test_the_networks_own_probabilities_reach_quality_and_notes(make_volume, make_volumes, site):
    stored = np.ones((6, 12, 12), np.int16)
    stored[2:4, 4:8, 4:8] = 10
    stored[2:4, 4:8, 10] = 30  # the bladder
    volumes = make_volumes(make_volume(stored, spacing_mm=(10.0, 5.0, 5.0)), method="network")
    write_lesions(site, physiological=("bladder",), guard=GUARD)
    result = segment(volumes, replace(site, device="cpu"))
    assert result.claim is Claim.LESION
    # logits at 10: 0, 10 - 4, 20 - 24; at 1: 0, -3, -22; at 30: 0, 26, 36
    lesion = 1 / (1 + np.exp(-6) + np.exp(-10))
    other, bladder = 1 / (1 + np.exp(3)), 1 / (1 + np.exp(10))
    found = result.quality.probability
    assert found.shape == stored.shape
    assert found[3, 5, 5] == pytest.approx(min(lesion, 0.999), abs=1e-3)
    assert found[0, 0, 0] == pytest.approx(other, abs=1e-3)
    assert found[3, 5, 10] == 0  # below what counts
    assert bladder < 1e-3
    soft = 2 * 32 * lesion / (32 + 32 * lesion + (stored.size - 40) * other)
    assert result.quality.predicted_dice.value == pytest.approx(soft, rel=2e-3)
    codes = [note.code for note in result.notes]
    assert codes.count("OUT_OF_DISTRIBUTION") == 1  # slices of 10 mm
    assert codes[-1] == "PREDICTED_DICE_LOW"


def test_organs_taken_out_of_a_networks_result_take_its_dice_along(make_volume, make_volumes, site):
    stored = np.ones((6, 12, 12), np.int16)
    stored[2:4, 4:8, 4:8] = 10
    volumes = make_volumes(make_volume(stored, spacing_mm=(4.0, 5.0, 5.0)), method="network")
    liver = PhysiologicalOrgan("liver", ("liver",))
    protocol = replace(volumes.selection.protocol, physiological=(liver,))
    volumes = replace(volumes, selection=replace(volumes.selection, protocol=protocol))
    write_lesions(site, guard=GUARD)  # without a physiological label
    alone = segment(volumes, replace(site, device="cpu", organs="none"))
    assert alone.quality.predicted_dice is not None
    write_intervals(site.models, "organs", {"liver": 9.0})
    removed = segment(volumes, replace(site, device="cpu"))
    assert [region.organ for region in removed.removed] == ["liver"]
    assert removed.quality.predicted_dice is None
    assert removed.quality.features == alone.quality.features
