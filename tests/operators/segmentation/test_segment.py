"""The step: whose method and whose parameters, and what follows from the organs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Claim, Job, PhysiologicalOrgan, ProtocolMethod
from operators.errors import SegmentationRefusal
from operators.segmentation import segment as module
from operators.segmentation.package.types import Task
from operators.segmentation.segment import segment
from operators.segmentation.site import SegmentationSite
from tests.tiny_models import FILE, write_intervals

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


# ---- a protocol whose method is a network --------------------------------------------------------

PUBLISHED = ProtocolMethod("fixed_suv", {"threshold": 4.0, "min_volume_ml": 0.002}, "Somebody else 2020")
LESIONS = {"lesion": 4.0}


@pytest.fixture
def with_network(pet, make_volumes):
    def make(job=None):
        return make_volumes(pet, job=job, method="network", otherwise=PUBLISHED, min_volume_ml=0.0)

    return make


def write_lesions(folder, name="ours", tracers=("fdg",)):
    return write_intervals(folder, name, LESIONS, task=Task.LESIONS, tracers=tracers)


def test_without_a_package_the_published_method_stands_in_and_says_so(with_network, tmp_path):
    write_lesions(tmp_path, tracers=("psma",))
    for site in (CPU, SegmentationSite(device="cpu", models=tmp_path)):
        segmented = segment(with_network(), site)
        algorithm = segmented.algorithm
        assert (algorithm.name, algorithm.citation) == ("fixed_suv", "Somebody else 2020")
        assert parameters_of(segmented) == {"threshold": 4.0, "min_volume_ml": 0.002, "strict": 0.0}
        assert (algorithm.network, algorithm.model_digest) == (None, None)
        assert segmented.mask.tolist() == [[[False, False, True, True]]]
        assert segmented.claim is Claim.UPTAKE
        note = segmented.notes[0]
        assert note.code == "MODEL_MISSING"
        assert "there is no model package for lesions of the tracer fdg" in note.sentence
        assert "fixed_suv was used in its place (Somebody else 2020)" in note.sentence


def test_the_site_may_want_no_network(with_network, tmp_path):
    write_lesions(tmp_path)
    segmented = segment(with_network(), SegmentationSite(device="cpu", models=tmp_path, lesions="none"))
    assert segmented.algorithm.name == "fixed_suv"
    assert "the settings ask for none" in segmented.notes[0].sentence


def test_with_a_package_the_network_runs(with_network, tmp_path):
    package = write_lesions(tmp_path)
    segmented = segment(with_network(), SegmentationSite(device="cpu", models=tmp_path))
    algorithm = segmented.algorithm
    assert (algorithm.name, algorithm.citation) == ("network", "Nobody 2024")
    assert (algorithm.model_digest, algorithm.network.digest) == (package.digest, package.digest)
    assert parameters_of(segmented) == {"min_volume_ml": 0.0}
    assert segmented.mask.tolist() == [[[False, False, False, True]]]  # 4 is where both labels are alike
    assert "MODEL_MISSING" not in [note.code for note in segmented.notes]


def test_a_network_asked_for_by_name_is_refused_without_a_package(with_network):
    with pytest.raises(SegmentationRefusal, match="MODEL_MISSING"):
        segment(with_network(Job(method="network")), CPU)


def test_a_protocol_without_otherwise_is_refused_without_a_package(pet, make_volumes):
    with pytest.raises(SegmentationRefusal, match="MODEL_MISSING"):
        segment(make_volumes(pet, method="network"), CPU)


def test_a_broken_package_is_no_reason_for_another_method(with_network, tmp_path):
    path = write_lesions(tmp_path).folder / FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SegmentationRefusal, match=r"MODEL_MISSING.*Model package ours.*bytes"):
        segment(with_network(), SegmentationSite(device="cpu", models=tmp_path))
    with pytest.raises(SegmentationRefusal, match="MODEL_FILE_CHANGED"):
        segment(with_network(), SegmentationSite(device="cpu", models=tmp_path, lesions="ours"))


def test_changed_weights_are_no_reason_for_another_method(with_network, tmp_path):
    path = write_lesions(tmp_path).folder / FILE
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(SegmentationRefusal, match="MODEL_FILE_CHANGED"):
        segment(with_network(), SegmentationSite(device="cpu", models=tmp_path))


def test_several_packages_or_a_wrong_name_are_refused(with_network, tmp_path):
    write_lesions(tmp_path, "one")
    write_lesions(tmp_path, "two")
    with pytest.raises(SegmentationRefusal, match="MODEL_AMBIGUOUS"):
        segment(with_network(), SegmentationSite(device="cpu", models=tmp_path))
    with pytest.raises(SegmentationRefusal, match="MODEL_MISSING"):
        segment(with_network(), SegmentationSite(device="cpu", models=tmp_path, lesions="three"))
    with pytest.raises(SegmentationRefusal, match="MODEL_FOLDER_MISSING"):
        segment(with_network(), SegmentationSite(device="cpu", models=tmp_path / "nowhere"))


def test_the_published_method_by_name_has_its_published_parameters_and_no_note(with_network):
    segmented = segment(with_network(Job(method="fixed_suv")), CPU)
    assert segmented.algorithm.citation == "Somebody else 2020"
    assert parameters_of(segmented)["min_volume_ml"] == 0.002
    assert "MODEL_MISSING" not in [note.code for note in segmented.notes]


def test_the_jobs_parameters_override_those_of_what_stands_in(with_network):
    segmented = segment(with_network(Job(method_parameters={"threshold": 3.0})), CPU)
    assert segmented.mask.sum() == 3
    assert "Somebody else 2020" not in segmented.algorithm.citation
    assert "in its place (with parameters of the job)" in segmented.notes[0].sentence
    with pytest.raises(SegmentationRefusal, match="PARAMETER"):
        segment(with_network(Job(method="network", method_parameters={"threshold": 3.0})), CPU)


# ---- devices, sources, organs --------------------------------------------------------------------


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
    said = {note.code: note.sentence for note in segmented.notes}
    assert "there is no model package for organs" in said["ORGANS_NOT_SEGMENTED"]
    assert "does not say which organs take it up" in said["PHYSIOLOGICAL_NOT_REMOVED"]
    assert (segmented.organs, segmented.references, segmented.removed) == (None, (), ())


def test_a_threshold_methods_uptake_is_parted_by_the_lesion_package(make_volume, make_volumes, tmp_path):
    write_intervals(
        tmp_path,
        "ours",
        {"urinary tract": 8.0, "lesion": 100.0},
        task=Task.LESIONS,
        tracers=("fdg",),
        physiological=("urinary tract",),
    )
    bladder = PhysiologicalOrgan("urinary bladder", ("urinary_bladder|urinary tract",))
    volumes = make_volumes(make_volume(np.array([[[9, 1, 6]]], np.int16)), threshold=4.0)
    protocol = replace(volumes.selection.protocol, physiological=(bladder,))
    volumes = replace(volumes, selection=replace(volumes.selection, protocol=protocol))
    site = replace(CPU, models=tmp_path)
    segmented = segment(volumes, site)
    assert segmented.algorithm.name == "fixed_suv"
    assert segmented.mask.tolist() == [[[False, False, True]]]
    assert [(region.organ, region.suv_max) for region in segmented.removed] == [("urinary tract", 9.0)]
    assert segmented.removed_by.network.package == "ours@1.0.0"
    none = segment(volumes, replace(site, physiological="none"))
    assert none.mask.sum() == 2
    assert "settings ask" in {note.code: note.sentence for note in none.notes}["PHYSIOLOGICAL_NOT_REMOVED"]


def test_a_method_that_needs_the_liver_declines_without_organs(pet, make_volumes):
    with pytest.raises(SegmentationRefusal, match=r"REFERENCE_MISSING.*there is no model package for organs"):
        segment(make_volumes(pet, job=Job(method="percist")), CPU)
