"""The table of methods: what is known, what is checked, what is said of the result."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import yaml

import operators.segmentation.engine
from operators.domain import Claim, Parameter, ReferenceRegion
from operators.errors import SegmentationRefusal
from operators.segmentation.devices import cuda_obstacle
from operators.segmentation.engine import METHODS, choose_engine
from operators.segmentation.site import SegmentationSite

NEEDED = {"fixed_suv": {"threshold": 4.0}, "percent_suvmax": {}, "percist": {}, "qpsma": {}}

CPU = SegmentationSite(device="cpu")


@pytest.fixture
def volumes(make_volume, make_volumes):
    return make_volumes(make_volume(np.array([[[1, 5, 9]]], np.int16)))


def refusal_of(call, *arguments):
    with pytest.raises(SegmentationRefusal) as caught:
        call(*arguments)
    return caught.value


def test_unknown_method_is_refused_with_the_known_ones():
    refusal = refusal_of(choose_engine, "magic", {}, CPU)
    assert refusal.code == "METHOD_UNKNOWN"
    assert "fixed_suv, network, percent_suvmax, percist, qpsma" in refusal.sentence


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fixed_suv", {}),
        ("fixed_suv", {"threshold": 4.0, "threshhold": 4.0}),
        ("fixed_suv", {"threshold": 0.0}),
        ("fixed_suv", {"threshold": -1.0}),
        ("fixed_suv", {"threshold": float("nan")}),
        ("fixed_suv", {"threshold": float("inf")}),
        ("fixed_suv", {"threshold": "4"}),
        ("fixed_suv", {"threshold": None}),
        ("fixed_suv", {"threshold": True}),
        ("fixed_suv", {"threshold": [4.0]}),
        ("fixed_suv", {"threshold": 10**400}),
        ("fixed_suv", {"threshold": 4.0, "min_volume_ml": -0.1}),
        ("fixed_suv", {"threshold": 4.0, "strict": 0.5}),
        ("fixed_suv", {"threshold": 4.0, "strict": 2}),
        ("percent_suvmax", {"percent": 0}),
        ("percent_suvmax", {"percent": 101}),
        ("percist", {"threshold": 3.0}),
    ],
)
def test_bad_parameters_are_refused(name, parameters):
    assert refusal_of(choose_engine, name, parameters, CPU).code == "PARAMETER_INVALID"


@pytest.mark.parametrize("tracer", ["fapi", "fdg", "psma", "sstr"])
def test_the_methods_of_the_shipped_protocols_are_known_with_their_parameters(tracer):
    method = yaml.safe_load((files("app.protocols") / f"{tracer}.yaml").read_text("utf-8"))["method"]
    assert choose_engine(method["name"], method["parameters"], CPU).needs == ()


def test_algorithm_says_every_parameter_given_or_default(volumes):
    algorithm = (
        choose_engine("percent_suvmax", {"percent": 50}, SegmentationSite(), "1.2")
        .segment(volumes, {})
        .algorithm
    )
    assert algorithm.name == "percent_suvmax"
    assert algorithm.version == "1.2"
    assert algorithm.device == "cpu"
    assert algorithm.parameters == (
        Parameter("percent", 50.0, "%"),
        Parameter("candidate_threshold", 2.5, "g/ml{SUVbw}"),
        Parameter("min_volume_ml", 0.0, "ml"),
    )


def test_version_is_that_of_the_installed_software(volumes):
    engine = choose_engine("fixed_suv", {"threshold": 4}, CPU)
    assert engine.segment(volumes, {}).algorithm.version == operators.segmentation.engine.installed_version(
        "theramap"
    )


@pytest.mark.parametrize("name", ["fixed_suv", "percent_suvmax", "percist"])
def test_masks_are_of_uptake_not_of_lesions(volumes, name):
    references = {"liver": ReferenceRegion("liver", 0.5, 0.1)}
    segmented = choose_engine(name, NEEDED[name], CPU).segment(volumes, references)
    assert segmented.claim is Claim.UPTAKE
    assert segmented.volumes is volumes
    assert segmented.mask.tolist() == [[[name == "percist", True, True]]]


@pytest.mark.parametrize("name", ["percist", "qpsma"])
def test_methods_that_need_the_liver_decline_without_it(volumes, name):
    engine = choose_engine(name, {}, CPU)
    assert engine.needs == ("liver",)
    refusal = refusal_of(engine.segment, volumes, {})
    assert refusal.code == "REFERENCE_MISSING"
    assert "liver" in refusal.sentence


@pytest.mark.parametrize(
    ("mean", "sd"), [(0.0, 0.1), (-1.0, 0.1), (np.nan, 0.1), (2.0, np.nan), (2.0, -0.1), (np.inf, 1)]
)
def test_an_unusable_reference_is_refused(volumes, mean, sd):
    engine = choose_engine("percist", {}, CPU)
    liver = {"liver": ReferenceRegion("liver", mean, sd)}
    assert refusal_of(engine.segment, volumes, liver).code == "REFERENCE_INVALID"


def test_qpsma_declines_without_a_bone_mask(volumes):
    engine = choose_engine("qpsma", {}, CPU)
    liver = {"liver": ReferenceRegion("liver", 4.0, 1.0)}
    assert refusal_of(engine.segment, volumes, liver).code == "BONE_MASK_MISSING"


def test_rules_not_read_in_their_source_say_so():
    unverified = [
        name
        for name, method in METHODS.items()
        if "not verified against the primary source" in method.citation
    ]
    assert sorted(unverified) == ["percist", "qpsma"]


@pytest.mark.skipif(cuda_obstacle() is None, reason="CUDA works here")
def test_cuda_that_does_not_work_is_refused_even_where_it_has_no_use():
    refusal = refusal_of(choose_engine, "fixed_suv", {"threshold": 4.0}, SegmentationSite(device="cuda"))
    assert refusal.code == "DEVICE_UNAVAILABLE"
