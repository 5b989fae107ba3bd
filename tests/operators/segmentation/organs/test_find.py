"""Organs are found, or it is said why there are none; the study is never lost for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.errors import SegmentationRefusal
from operators.segmentation import models
from operators.segmentation.network.types import Prediction
from operators.segmentation.organs.find import find_organs
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import Modality
from operators.segmentation.site import SegmentationSite
from tests.tiny_models import FILE, write_intervals

from .conftest import RUN


@pytest.fixture
def volumes(make_volume, make_volumes):
    return make_volumes(make_volume(np.array([[[0, 1, 2, 3]]], np.int16)))


@pytest.fixture
def site(tmp_path):
    return SegmentationSite(models=tmp_path)


def fake(monkeypatch, labels):
    def run(package, volumes, site):
        if isinstance(labels, Exception):
            raise labels
        array = np.array(labels, np.uint8)
        return Prediction(array, None, RUN, ())

    monkeypatch.setattr(models, "predicted", run)


def test_the_only_organ_package_is_run(volumes, site, monkeypatch):
    package = write_intervals(site.models, "organs", {"kidney_left": 1.0, "tail": 2.0})
    fake(monkeypatch, [[[0, 1, 1, 0]]])
    found = find_organs(volumes, site)
    assert found.reason == ""
    assert found.organs.labels.tolist() == [[[0, 1, 1, 0]]]
    kidney, tail = found.organs.anatomy[1], found.organs.anatomy[2]
    assert (kidney.name, kidney.code.value, kidney.side.meaning) == ("kidney_left", "64033007", "Left")
    assert (tail.name, tail.code) == ("tail", None)
    assert found.organs.algorithm.name == "organs"
    assert found.organs.algorithm.model_digest == package.digest


def test_the_settings_may_ask_for_none(volumes, site):
    write_intervals(site.models, "organs", {"liver": 1.0})
    found = find_organs(volumes, replace(site, organs="none"))
    assert (found.organs, found.reason) == (None, "the settings ask for none")


def test_a_model_that_finds_nothing_gives_no_organs(volumes, site, monkeypatch):
    write_intervals(site.models, "organs", {"liver": 1.0})
    fake(monkeypatch, [[[0, 0, 0, 0]]])
    found = find_organs(volumes, site)
    assert found.organs is None
    assert found.reason == "the model package organs@1.0.0 found no organ at all"


def test_a_run_that_fails_costs_the_organs_only(volumes, site, monkeypatch):
    write_intervals(site.models, "organs", {"liver": 1.0})
    fake(monkeypatch, SegmentationRefusal("OUTPUT_NOT_FINITE", "The network gave no numbers."))
    found = find_organs(volumes, site)
    assert found.organs is None
    assert [(note.code, note.sentence) for note in found.notes] == [
        ("ORGAN_MODEL_FAILED", "The network gave no numbers.")
    ]


def test_changed_weights_cost_the_organs_only_unless_asked_for_by_name(volumes, site):
    path = write_intervals(site.models, "organs", {"liver": 1.0}).folder / FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = find_organs(volumes, site)
    assert found.reason == "the model package organs cannot be used"
    assert [note.code for note in found.notes] == ["ORGAN_MODEL_FAILED"]
    with pytest.raises(PackageError, match="MODEL_FILE_CHANGED"):
        find_organs(volumes, replace(site, organs="organs"))


def test_a_missing_ct_costs_the_organs_only(volumes, site):
    write_intervals(site.models, "organs", {"liver": 1.0}, modality=Modality.CT)
    found = find_organs(volumes, site)
    assert found.organs is None
    assert [note.code for note in found.notes] == ["ORGAN_MODEL_FAILED"]
    assert "needs a CT" in found.notes[0].sentence


def test_several_packages_are_refused_by_name(volumes, site):
    write_intervals(site.models, "one", {"liver": 1.0})
    write_intervals(site.models, "two", {"liver": 1.0})
    with pytest.raises(SegmentationRefusal, match=r"one@1\.0\.0, two@1\.0\.0"):
        find_organs(volumes, site)
