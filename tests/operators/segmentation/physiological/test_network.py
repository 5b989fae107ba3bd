"""The lesion package's second output, and why there may be none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.segmentation.package.types import Task
from operators.segmentation.physiological.network import physiology_by_network
from operators.segmentation.site import SegmentationSite
from tests.tiny_models import FILE, write_intervals

LABELS = {"kidneys": 2.0, "other physiological uptake": 4.0, "lesion": 6.0}
GROUPS = ("kidneys", "other physiological uptake")


@pytest.fixture
def volumes(make_volume, make_volumes):
    from .conftest import study_of

    return study_of(make_volume(np.array([[[1, 3, 5, 7]]], np.float32)), None, "fapi")


@pytest.fixture
def site(tmp_path):
    return SegmentationSite(device="cpu", models=tmp_path)


def write(site, **more):
    arguments = {"task": Task.LESIONS, "tracers": ("fapi",), "physiological": GROUPS, **more}
    return write_intervals(site.models, "ours", LABELS, **arguments)


def test_every_physiological_label_is_an_organ_and_the_rest_is_disease(volumes, site):
    write(site)
    found = physiology_by_network(volumes, site)
    physiology = found.physiology
    assert physiology.values == {"kidneys": (1,), "other physiological uptake": (2,)}
    assert physiology.organs.labels.tolist() == [[[0, 1, 2, 3]]]
    assert physiology.disease.tolist() == [[[False, False, False, True]]]
    margins = {organ.name: organ.margin_mm for organ in physiology.wanted}
    assert margins == {"kidneys": 10.0, "other physiological uptake": 5.0}  # the protocol's, and the default
    assert set(physiology.unaccounted) == {"urinary bladder", "ureters"}
    assert physiology.doubt == ""
    assert "PHYSIOLOGICAL_BY_MODEL" in [note.code for note in found.notes]


def test_a_package_that_knows_the_tracer_from_simulation_leaves_a_doubt(volumes, site):
    write(site, tracers=("fdg",), simulated_tracers=("fapi",))
    assert "in simulation only" in physiology_by_network(volumes, site).physiology.doubt


@pytest.mark.parametrize(
    ("more", "choice", "reason"),
    [
        ({"tracers": ("fdg",)}, "auto", "there is no model package for lesions of the tracer fapi"),
        ({"tracers": ("fdg",)}, "ours", "does not know the tracer"),
        ({"physiological": ()}, "auto", "does not part physiological uptake"),
        ({}, "none", "the settings ask for none"),
        ({}, "theirs", "could not be used"),
    ],
)
def test_a_package_that_does_not_fit_is_not_run(volumes, site, more, choice, reason):
    write(site, **more)
    found = physiology_by_network(volumes, replace(site, lesions=choice))
    assert found.physiology is None
    assert reason in found.reason


def test_a_broken_package_costs_its_answer_only(volumes, site):
    path = write(site).folder / FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = physiology_by_network(volumes, site)
    assert found.physiology is None
    assert [note.code for note in found.notes] == ["PHYSIOLOGICAL_MODEL_FAILED"]
