"""Whether two studies were made alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from operators.domain import Code, Fact
from operators.response.comparability import comparability
from operators.response.rules.types import Limits
from tests.operators.response.made import SCANNER, followed, lesion, measured

PERCIST = Limits(15.0, 20.0, 0.3, 20.0, 11.1, same_scanner=True, same_reconstruction=True)
GLUCOSE = {"glucose_mmol_l": Fact("glucose_mmol_l", 5.5, "mmol/L")}


def codes(now=None, before=None, limits=PERCIST, facts=GLUCOSE, **prior):
    notes = comparability(
        measured(lesion()) if now is None else now,
        followed(measured(lesion(), **prior) if before is None else before),
        limits,
        facts,
    )
    return [note.code for note in notes]


def header(**changes):
    return {keyword: value for keyword, value in {**SCANNER, **changes}.items() if value}


@pytest.mark.parametrize(
    ("prior", "code"),
    [
        ({}, None),
        ({"uptake_min": 75.0}, None),
        ({"uptake_min": 75.1}, "UPTAKE_TIMES_DIFFER"),
        ({"uptake_min": 44.9}, "UPTAKE_TIMES_DIFFER"),
        ({"dose_mbq": 125.0}, None),
        ({"dose_mbq": 124.0}, "DOSES_DIFFER"),
        ({"references": {"liver": 5.3}}, None),
        ({"references": {"liver": 5.4}}, "LIVER_UPTAKE_DIFFERS"),  # 0.32 SUL, though 7 %
        ({"header": header(Manufacturer="Other")}, "SCANNERS_DIFFER"),
        ({"header": header(ManufacturerModelName="Other")}, "SCANNERS_DIFFER"),
        ({"header": header(DeviceSerialNumber="8")}, "SCANNERS_DIFFER"),
        ({"header": header(Manufacturer="MAKER")}, None),
        ({"header": header(ReconstructionMethod="TOF")}, "RECONSTRUCTIONS_DIFFER"),
        ({"header": header(ConvolutionKernel="None")}, "RECONSTRUCTIONS_DIFFER"),
        ({"spacing_mm": 3.0}, "VOXELS_DIFFER"),
        ({"spacing_mm": 4.01}, None),
        ({"threshold": 4.0}, "SEGMENTATIONS_DIFFER"),
        ({"threshold": None}, "SEGMENTATIONS_DIFFER"),
        ({"radionuclide": "F-18"}, "TRACERS_DIFFER"),
        ({"code": Code("126758", "DCM", "PSMA-1007 F^18^")}, "TRACERS_DIFFER"),
        ({"uptake_min": None}, "NOT_COMPARED"),
        ({"dose_mbq": None}, "NOT_COMPARED"),
        ({"references": {}}, "NOT_COMPARED"),
        ({"lean": None}, "NOT_COMPARED"),
        ({"header": header(DeviceSerialNumber="")}, "NOT_COMPARED"),
    ],
)
def test_each_difference_is_a_warning(prior, code) -> None:
    assert codes(**prior) == ([] if code is None else [code])


def test_a_liver_of_low_uptake_is_judged_in_per_cent() -> None:
    low = {"references": {"liver": 1.0}}
    assert codes(measured(lesion(), references={"liver": 1.25}), **low) == ["LIVER_UPTAKE_DIFFERS"]
    assert codes(measured(lesion(), references={"liver": 1.19}), **low) == []


def test_high_glucose_is_a_warning_and_unknown_glucose_is_said() -> None:
    assert codes(facts={"glucose_mmol_l": Fact("glucose_mmol_l", 11.2)}) == ["GLUCOSE_HIGH"]
    (note,) = comparability(measured(), followed(measured()), PERCIST, {})
    assert note.sentence == "Could not be compared between the two studies: blood glucose."


def test_what_a_rule_does_not_ask_for_is_not_compared() -> None:
    other = {"uptake_min": 200.0, "dose_mbq": 1.0, "references": {}, "header": {}, "spacing_mm": 1.0}
    assert codes(limits=Limits(), facts={}, **other) == []


@pytest.mark.parametrize(
    ("measurable", "code"), [(True, []), (False, ["NOT_MEASURABLE"]), (None, ["NOT_COMPARED"])]
)
def test_the_prior_must_be_measurable(measurable, code) -> None:
    before = measured(replace(lesion(), percist_measurable=measurable))
    assert codes(before=before, limits=Limits(measurable=True)) == code
