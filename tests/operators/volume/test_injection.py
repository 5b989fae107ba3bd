"""Patient and injection, with their guards."""

from datetime import UTC, datetime

import pytest

from operators.domain import Correction
from operators.errors import SuvRefusal
from operators.volume.injection import Corrections, read_injection, read_patient, uniform_text
from tests.operators.volume.conftest import header

NONE = Corrections(())
SCAN = datetime(2025, 1, 1, 11)


def injection(corrections=NONE, **changes):
    return read_injection(header(**changes), SCAN, corrections)


def correction(attribute, value):
    return Corrections((Correction(attribute, value, "mistyped", "A. P.", datetime(2025, 1, 2, tzinfo=UTC)),))


def meaning(words, code="LOCAL"):
    ds = header()
    item = ds.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence[0]
    item.CodeValue, item.CodeMeaning = code, words
    del ds.RadiopharmaceuticalInformationSequence[0].RadionuclideHalfLife
    return read_injection(ds, SCAN, NONE)


def codes(record):
    return [note.code for note in record.notes]


def test_free_text_alone_does_not_supply_a_half_life():
    with pytest.raises(SuvRefusal) as refused:
        injection(RadionuclideHalfLife=None, RadionuclideCodeSequence=None, Radiopharmaceutical="F-18 FDG")
    assert refused.value.code == "HALF_LIFE_UNKNOWN"
    assert refused.value.tag == "(0018,1075) RadionuclideHalfLife"


def test_free_text_beside_an_unknown_code_does_not_either():
    ds = header(RadionuclideHalfLife=None, Radiopharmaceutical="F-18 FDG")
    item = ds.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence[0]
    item.CodeValue, item.CodeMeaning = "LOCAL", "isotope 7"
    with pytest.raises(SuvRefusal, match="HALF_LIFE_UNKNOWN"):
        read_injection(ds, SCAN, NONE)


@pytest.mark.parametrize(
    ("words", "code", "half_life_s"), [("^68^Gallium", "LOCAL", 4057.7), ("", "C-111A1", 6586.2)]
)
def test_code_or_its_meaning_supplies_the_half_life(words, code, half_life_s):
    record = meaning(words, code)
    assert record.half_life_s == half_life_s
    assert codes(record) == ["HALF_LIFE_FROM_NUCLIDE"]
    assert "not verified" not in record.notes[0].sentence


@pytest.mark.parametrize(("words", "half_life_s"), [("^64^Copper", 45_723.0), ("^89^Zirconium", 282_280.0)])
def test_recalled_half_life_says_that_it_was_not_verified(words, half_life_s):
    record = meaning(words)
    assert record.half_life_s == half_life_s
    assert "not verified against a primary source" in record.notes[0].sentence


def test_nuclide_whose_half_life_is_in_no_source_is_refused():
    with pytest.raises(SuvRefusal, match="HALF_LIFE_UNKNOWN"):
        meaning("^82^Rubidium")


@pytest.mark.parametrize("text", ["177Lu-PSMA-617", "Tc-99m MIBI", "I-131"])
def test_free_text_still_tells_a_nuclide_that_is_not_pet(text):
    with pytest.raises(SuvRefusal, match="NOT_PET_NUCLIDE"):
        injection(RadionuclideCodeSequence=None, Radiopharmaceutical=text)


def test_free_text_that_contradicts_the_code_is_noted():
    assert codes(injection(Radiopharmaceutical="68Ga-PSMA")) == []  # the meaning's words come first
    ds = header(Radiopharmaceutical="68Ga-PSMA")
    ds.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence[0].CodeMeaning = ""
    record = read_injection(ds, SCAN, NONE)
    assert codes(record) == ["NUCLIDE_CONFLICT"]
    assert record.half_life_s == 6586.2


def test_half_life_of_another_nuclide_is_noted_and_kept():
    record = injection(RadionuclideHalfLife=7200.0)
    assert record.half_life_s == 7200.0
    assert codes(record) == ["HALF_LIFE_IMPLAUSIBLE"]


@pytest.mark.parametrize(
    ("changes", "time", "rule"),
    [
        ({}, datetime(2025, 1, 1, 10), "radiopharmaceutical_start_time"),
        ({"RadiopharmaceuticalStartTime": "113000"}, datetime(2024, 12, 31, 11, 30),
         "radiopharmaceutical_start_time"),
        ({"RadiopharmaceuticalStartDateTime": "20250101100030"}, datetime(2025, 1, 1, 10, 0, 30),
         "radiopharmaceutical_start_datetime"),
        ({"RadiopharmaceuticalStartTime": None}, None, "none"),
    ],
)  # fmt: skip
def test_injection_time_and_its_rule(changes, time, rule):
    record = injection(**changes)
    assert (record.time, record.time_rule) == (time, rule)


def test_corrections_come_before_the_header():
    at = injection(correction("RadiopharmaceuticalStartDateTime", "20250101094500"))
    assert (at.time, at.time_rule) == (datetime(2025, 1, 1, 9, 45), "correction")
    assert injection(correction("RadionuclideTotalDose", "2e8")).dose_bq == 2e8
    assert read_patient(header(), correction("PatientWeight", 80)).weight_kg == 80


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("RadionuclideTotalDose", "much"), ("RadionuclideTotalDose", float("nan")),
     ("RadiopharmaceuticalStartDateTime", "noon")],
)  # fmt: skip
def test_correction_that_is_none_is_refused(attribute, value):
    with pytest.raises(SuvRefusal, match="CORRECTION_INVALID"):
        injection(correction(attribute, value))


@pytest.mark.parametrize(("stated", "sex"), [("M", "M"), ("f", "F"), ("O", "O"), ("X", None), (None, None)])
def test_sex_is_m_f_o_or_absent(stated, sex):
    assert read_patient(header(PatientSex=stated), NONE).sex == sex


def test_two_injections_are_refused():
    ds = header()
    ds.RadiopharmaceuticalInformationSequence.append(ds.RadiopharmaceuticalInformationSequence[0])
    with pytest.raises(SuvRefusal, match="SEVERAL_RADIOPHARMACEUTICALS"):
        read_injection(ds, SCAN, NONE)


def test_slices_that_differ_are_refused():
    with pytest.raises(SuvRefusal, match="MIXED_HEADERS"):
        uniform_text([header(PatientSex="M"), header(PatientSex="F")], "PatientSex")
