"""SUV factors against the formulas worked out by hand, and every refusal."""

import math
from datetime import UTC, datetime

import pytest

from operators.domain import Correction
from operators.errors import SuvRefusal
from operators.volume.suv import compute_suv, rescale_slopes

T = 6586.2
START = 75_000 / (370e6 * 2 ** (-3600 / T))


def factor(make_header, **changes):
    return compute_suv([make_header(**changes)]).suvbw_factor[0]


def codes(suv):
    return [note.code for note in suv.notes]


def private(header, group, offset, value, creator):
    header.private_block(group, creator, create=True).add_new(offset, "DS", value)
    return header


def test_start_decays_the_dose_to_the_series_time(make_header):
    suv = compute_suv([make_header()])
    assert suv.suvbw_factor[0] == pytest.approx(START, rel=1e-12)
    assert suv.reference_time_rule == "series_time"
    assert suv.uptake_time_s == 3600
    assert suv.notes == ()


def test_admin_does_not_decay(make_header):
    assert factor(make_header, DecayCorrection="ADMIN") == pytest.approx(75_000 / 370e6)


def test_none_corrects_before_and_during_the_frame(make_header):
    x = math.log(2) / T * 300
    expected = 75_000 / 370e6 * x / (1 - math.exp(-x)) * 2 ** (3600 / T)
    result = factor(make_header, DecayCorrection="NONE", CorrectedImage=["ATTN"])
    assert result == pytest.approx(expected, rel=1e-12)


def test_series_time_after_acquisition_is_computed_back(make_header):
    suv = compute_suv([make_header(SeriesTime="113000")])
    assert suv.reference_time_rule == "frame_reference_time"
    assert suv.suvbw_factor[0] == pytest.approx(START, rel=1e-4)


def test_ge_scan_time_comes_first(make_header):
    header = make_header()
    block = header.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20250101104000")
    suv = compute_suv([header])
    assert suv.reference_time_rule == "ge_scan_datetime"
    assert suv.suvbw_factor[0] == pytest.approx(75_000 / (370e6 * 2 ** (-2400 / T)))
    assert codes(suv) == ["REFERENCE_TIME_DISAGREES"]


def test_private_tag_of_another_creator_is_not_taken(make_header):
    header = private(make_header(Units="CNTS", Manufacturer="Philips"), 0x7053, 0x00, 0.5, "SOMEBODY")
    with pytest.raises(SuvRefusal, match="COUNTS_WITHOUT_FACTOR"):
        compute_suv([header])


@pytest.mark.parametrize(("offset", "expected"), [(0x00, 0.5), (0x09, 0.5 * START)])
def test_philips_counts(make_header, offset, expected):
    header = private(make_header(Units="CNTS"), 0x7053, offset, 0.5, "Philips PET Private Group")
    assert compute_suv([header]).suvbw_factor[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("suv_type", "mass_kg"),
    [(None, 75), ("BW", 75), ("LBM", 62.777575), ("LBMJANMA", 60.915336), ("IBW", 48 + 1.06 * 33)],
)
def test_gml_by_suv_type(make_header, suv_type, mass_kg):
    changes = {"SUVType": suv_type} if suv_type else {}
    assert factor(make_header, Units="GML", **changes) == pytest.approx(75 / mass_kg, rel=1e-7)


def test_cm2ml_by_surface(make_header):
    assert factor(make_header, Units="CM2ML") == pytest.approx(75_000 / 19813.758, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"RadionuclideTotalDose": 370.0}, "DOSE_IN_MEGABECQUERELS"),
        ({"PatientWeight": 75_000.0}, "WEIGHT_IN_GRAMS"),
        ({"PatientSize": 185.0}, "HEIGHT_IN_CENTIMETRES"),
        ({"RadionuclideHalfLife": None}, "HALF_LIFE_FROM_NUCLIDE"),
        ({"RadiopharmaceuticalStartDateTime": "20250101100000", "RadiopharmaceuticalStartTime": "093000"},
         "INJECTION_TIMES_DISAGREE"),
    ],
)  # fmt: skip
def test_guard_converts_and_says_so(make_header, changes, code):
    suv = compute_suv([make_header(**changes)])
    assert suv.suvbw_factor[0] == pytest.approx(START)
    assert suv.height_m == pytest.approx(1.85)
    assert codes(suv) == [code]


def test_injection_before_midnight(make_header):
    suv = compute_suv(
        [make_header(SeriesTime="003000", AcquisitionTime="003000", RadiopharmaceuticalStartTime="233000")]
    )
    assert suv.injection_time == datetime(2024, 12, 31, 23, 30)
    assert suv.suvbw_factor[0] == pytest.approx(START)


def test_utc_offsets_count(make_header):
    changes = {"TimezoneOffsetFromUTC": "+0100", "RadiopharmaceuticalStartDateTime": "20250101090000+0000"}
    assert factor(make_header, **changes) == pytest.approx(START)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Units": "PROPCPS"}, "UNITS_UNSUPPORTED"),
        ({"Units": "PROPCNTS"}, "UNITS_UNSUPPORTED"),
        ({"Units": None}, "UNITS_MISSING"),
        ({"Units": "CNTS"}, "COUNTS_WITHOUT_FACTOR"),
        ({"Units": "GML", "SUVType": "XX"}, "SUV_TYPE_UNSUPPORTED"),
        ({"Units": "CM2ML", "PatientSize": None}, "HEIGHT_MISSING"),
        ({"Units": "GML", "SUVType": "LBM", "PatientSex": None}, "SEX_MISSING"),
        ({"PatientWeight": 0.0}, "WEIGHT_MISSING"),
        ({"PatientWeight": None}, "WEIGHT_MISSING"),
        ({"RadionuclideTotalDose": 0.0}, "DOSE_MISSING"),
        ({"RadionuclideHalfLife": None, "RadionuclideCodeSequence": None}, "HALF_LIFE_UNKNOWN"),
        ({"RadiopharmaceuticalStartTime": None}, "INJECTION_TIME_MISSING"),
        ({"RadiopharmaceuticalStartDateTime": "20250101113000"}, "INJECTION_AFTER_SCAN"),
        ({"RadiopharmaceuticalStartDateTime": "20241231100000"}, "INJECTION_TOO_LONG_BEFORE_SCAN"),
        ({"RadionuclideCodeSequence": None, "Radiopharmaceutical": "177Lu-PSMA"}, "NOT_PET_NUCLIDE"),
        ({"RadionuclideCodeSequence": None, "RadionuclideHalfLife": 574300.8}, "NOT_PET_NUCLIDE"),
        ({"RadiopharmaceuticalInformationSequence": None}, "RADIOPHARMACEUTICAL_MISSING"),
        ({"CorrectedImage": ["ATTN"]}, "NOT_DECAY_CORRECTED"),
        ({"CorrectedImage": ["DECY"]}, "NOT_ATTENUATION_CORRECTED"),
        ({"DecayCorrection": "NONE"}, "DECAY_CORRECTION_CONTRADICTORY"),
        ({"DecayCorrection": None}, "DECAY_CORRECTION_MISSING"),
        ({"SeriesTime": "113000", "FrameReferenceTime": None}, "REFERENCE_TIME_UNKNOWN"),
    ],
)
def test_refuses(make_header, changes, code):
    with pytest.raises(SuvRefusal) as refused:
        compute_suv([make_header(**changes)])
    assert refused.value.code == code
    assert refused.value.tag


def test_five_half_lives_is_the_limit(make_header):
    just = make_header(
        RadiopharmaceuticalStartDateTime="20250101015110", RadiopharmaceuticalStartTime=None
    )  # 32930 s before: 5 half-lives are 32931 s
    assert compute_suv([just]).suvbw_factor[0] == pytest.approx(75_000 / 370e6 * 2 ** (32930 / T))
    just.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = "20250101015108"
    with pytest.raises(SuvRefusal, match="INJECTION_TOO_LONG"):
        compute_suv([just])


def test_correction_replaces_the_header(make_header):
    when = datetime(2025, 1, 2, tzinfo=UTC)
    correction = Correction("PatientWeight", 150.0, "mistyped", "A. Physicist", when)
    suv = compute_suv([make_header(PatientWeight=0.0)], [correction])
    assert suv.suvbw_factor[0] == pytest.approx(2 * START)
    assert suv.corrected == ("PatientWeight",)
    assert codes(suv) == ["CORRECTED"]


def test_mixed_units_are_refused(make_header):
    with pytest.raises(SuvRefusal, match="MIXED_HEADERS"):
        compute_suv([make_header(), make_header(Units="GML")])


def test_intercept_must_be_zero(make_header):
    with pytest.raises(SuvRefusal, match="RESCALE_INTERCEPT_NOT_ZERO"):
        rescale_slopes([make_header(RescaleIntercept=1.0)])


@pytest.mark.parametrize(("units", "expected"), [("GML", 1.0), ("CM2ML", 75_000 / 19813.758)])
def test_injection_after_the_scan_does_not_enter_what_is_suv_already(make_header, units, expected):
    suv = compute_suv([make_header(Units=units, RadiopharmaceuticalStartDateTime="20250102100000")])
    assert suv.suvbw_factor[0] == pytest.approx(expected, rel=1e-6)
    assert suv.uptake_time_s is None
    assert codes(suv) == ["INJECTION_AFTER_SCAN"]


def test_injection_five_half_lives_off_is_refused_whatever_the_units(make_header):
    with pytest.raises(SuvRefusal, match="INJECTION_TOO_LONG"):
        compute_suv([make_header(Units="GML", RadiopharmaceuticalStartDateTime="20241231100000")])


@pytest.mark.parametrize(("offset", "expected"), [(0x00, 0.5), (0x09, 0.5 * START)])
def test_philips_factor_without_its_creator_is_never_silent(make_header, offset, expected):
    header = make_header(Units="CNTS", Manufacturer="Philips Medical Systems")
    header.add_new((0x7053, 0x1000 | offset), "DS", 0.5)
    suv = compute_suv([header, header])
    assert suv.suvbw_factor == pytest.approx(expected)
    assert codes(suv) == ["PRIVATE_CREATOR_ABSENT"]
    assert suv.notes[0].tag == f"(7053,xx{offset:02X})"


def test_ge_scan_time_without_its_creator_is_never_silent(make_header):
    header = make_header(Manufacturer="GE MEDICAL SYSTEMS")
    header.add_new((0x0009, 0x100D), "DT", "20250101110000")
    suv = compute_suv([header])
    assert suv.reference_time_rule == "ge_scan_datetime"
    assert codes(suv) == ["PRIVATE_CREATOR_ABSENT"]
