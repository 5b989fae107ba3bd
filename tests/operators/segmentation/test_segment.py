"""The step: whose method and whose parameters, and what follows from the organs."""

from __future__ import annotations

import numpy as np
import pytest

from operators.domain import Job
from operators.errors import SegmentationRefusal
from operators.segmentation import segment as module
from operators.segmentation.segment import segment
from operators.segmentation.site import SegmentationSite

CPU = SegmentationSite(device="cpu")


@pytest.fixture
def pet(make_volume):
    return make_volume(np.array([[[1, 3, 4, 9]]], np.int16))


def parameters_of(segmented):
    return {parameter.name: parameter.value for parameter in segmented.algorithm.parameters}


def test_the_protocol_names_the_method(pet, make_volumes):
    segmented = segment(make_volumes(pet, threshold=4.0, min_volume_ml=0.0), SegmentationSite())
    assert segmented.algorithm.name == "fixed_suv"
    assert segmented.algorithm.device == "cpu"
    assert segmented.mask.tolist() == [[[False, False, True, True]]]


def test_the_jobs_parameters_override_the_protocols(pet, make_volumes):
    job = Job(method_parameters={"threshold": 3.0})
    segmented = segment(make_volumes(pet, job=job, threshold=4.0, strict=1.0), CPU)
    assert parameters_of(segmented) == {"threshold": 3.0, "min_volume_ml": 0.0, "strict": 1.0}
    assert segmented.mask.sum() == 2


def test_the_protocols_parameters_hold_when_the_job_names_the_same_method(pet, make_volumes):
    segmented = segment(make_volumes(pet, job=Job(method="fixed_suv"), threshold=9.0), CPU)
    assert segmented.mask.sum() == 1


def test_another_method_takes_none_of_the_protocols_parameters(pet, make_volumes):
    job = Job(method="percent_suvmax")
    segmented = segment(make_volumes(pet, job=job, threshold=4.0), CPU)
    assert parameters_of(segmented) == {"percent": 41.0, "candidate_threshold": 2.5, "min_volume_ml": 0.0}


def test_cuda_that_has_no_use_is_said(pet, make_volumes, monkeypatch):
    real = module.choose_engine
    monkeypatch.setattr(module, "choose_engine", lambda name, parameters, _: real(name, parameters, CPU))
    segmented = segment(make_volumes(pet, threshold=4.0), SegmentationSite(device="cuda"))
    assert segmented.algorithm.device == "cpu"
    assert "DEVICE_NOT_USED" in [note.code for note in segmented.notes]


def test_the_protocols_source_is_cited_for_the_protocols_own_parameters(pet, make_volumes):
    assert segment(make_volumes(pet, threshold=4.0), CPU).algorithm.citation == "Somebody, J Nucl Med 2024"
    job = Job(method_parameters={"threshold": 2.0})
    changed = segment(make_volumes(pet, job=job, threshold=4.0), CPU)
    assert "Boellaard" in changed.algorithm.citation


def test_regions_below_the_minimal_volume_are_counted(pet, make_volumes):
    segmented = segment(make_volumes(pet, threshold=4.0, min_volume_ml=50.0), CPU)
    assert not segmented.mask.any()
    note = segmented.notes[0]
    assert note.code == "SMALL_REGIONS_LEFT_OUT"
    assert note.sentence.startswith("One region of uptake above the threshold, smaller than 50 ml")


def test_says_that_there_are_no_organs_and_what_follows(pet, make_volumes):
    segmented = segment(make_volumes(pet, threshold=4.0), CPU)
    [note] = segmented.notes
    assert note.code == "ORGANS_NOT_SEGMENTED"
    assert "there is no model package for organs" in note.sentence
    assert "physiological uptake was not removed" in note.sentence
    assert (segmented.organs, segmented.references, segmented.removed) == (None, (), ())


def test_a_method_that_needs_the_liver_declines_without_organs(pet, make_volumes):
    with pytest.raises(SegmentationRefusal, match=r"REFERENCE_MISSING.*there is no model package for organs"):
        segment(make_volumes(pet, job=Job(method="percist")), CPU)
