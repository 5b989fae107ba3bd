"""The method network: a package's labels become mask, removed uptake and claim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Claim, NetworkRun, Note
from operators.errors import SegmentationRefusal
from operators.segmentation import models
from operators.segmentation.engine import choose_engine
from operators.segmentation.network.types import Prediction
from operators.segmentation.package.types import Task
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

    def run(package, volumes, _site):
        labels = np.digitize(volumes.pet.values(), list(STARTS.values())).astype(np.uint8)
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
        return Prediction(labels, None, one, (Note("A_NOTE", "Of the run."),)), labels

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
