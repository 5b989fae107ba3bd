"""What is possible but doubtful."""

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Window
from operators.volume.plausibility import body_median_suv, protocol_notes, value_notes


def codes(notes):
    return [note.code for note in notes]


def body(suv):
    values = np.zeros((16, 16, 16), np.int16)
    values[4:12, 4:12, 4:12] = round(suv * 1000)
    return values


@pytest.fixture
def volumes(make_volume, make_volumes):
    return make_volumes(make_volume(body(1.0), scale=0.001))


@pytest.fixture
def protocol(volumes):
    return replace(
        volumes.selection.protocol, uptake_time_min=Window(55, 75), uptake_time_source="EANM",
        glucose_mmol_l=Window(None, 11.0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("uptake_s", "expected"),
    [(3300, []), (4500, []), (3299, ["UPTAKE_TIME_OUTSIDE"]), (4501, ["UPTAKE_TIME_OUTSIDE"]),
     (None, ["UPTAKE_TIME_UNKNOWN"])],
)  # fmt: skip
def test_uptake_time_against_the_tracer_s_window(volumes, protocol, uptake_s, expected):
    assert codes(protocol_notes(replace(volumes.suv, uptake_time_s=uptake_s), protocol, {})) == expected


@pytest.mark.parametrize(
    ("glucose", "expected"), [(11.0, []), (11.1, ["GLUCOSE_OUTSIDE"]), (None, []), ("high", [])]
)
def test_glucose_against_the_tracer_s_window(volumes, protocol, glucose, expected):
    suv = replace(volumes.suv, uptake_time_s=3600.0)
    assert codes(protocol_notes(suv, protocol, {"glucose_mmol_l": glucose})) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"weight_kg": 75.0, "height_m": 1.8, "injected_dose_bq": 3.7e8}, []),
        ({"weight_kg": 1.5}, ["WEIGHT_IMPLAUSIBLE"]),
        ({"height_m": 2.5}, ["HEIGHT_IMPLAUSIBLE"]),
        ({"injected_dose_bq": 5e6}, ["DOSE_IMPLAUSIBLE"]),
    ],
)
def test_patient_and_dose(volumes, changes, expected):
    assert codes(value_notes(replace(volumes.suv, **changes), volumes.pet)) == expected


@pytest.mark.parametrize(("suv", "expected"), [(1.0, []), (12.0, ["SUV_IMPLAUSIBLE"])])
def test_median_of_the_body(make_volume, volumes, suv, expected):
    pet = make_volume(body(suv), scale=0.001)
    assert body_median_suv(pet) == pytest.approx(suv)
    assert codes(value_notes(volumes.suv, pet)) == expected


def test_volume_without_a_body_has_no_median(make_volume):
    assert body_median_suv(make_volume(np.zeros((8, 8, 8), np.int16))) is None
