"""The HL7 v2 message is what an independent parser takes it for, and no text breaks out of its field."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hl7apy.exceptions import ValidationError
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st

from operators.domain import Assessed, Claim, Destination, Job, Language, Note, ResultKind
from operators.results.hl7 import control_id_of, escape, message, unescape, withdrawal, write_hl7
from operators.results.identity import identify
from operators.results.language import phrases
from tests.operators.results.conftest import assess, beside, of_other_patient, of_other_tracer

HOSTILE = "x|^~\\&\r\nPID|9\x0b\x1c\rOBX|1"


@pytest.fixture
def written(profile, tmp_path):
    """Writes an assessment and gives the message's text, valid to the independent parser."""

    def write(assessed):
        (file,) = write_hl7(assessed, replace(profile, results=frozenset({ResultKind.HL7})), tmp_path)
        text = file.path.read_bytes().decode("utf-8")
        parsed = parse_message(text, find_groups=True)
        assert parsed.validate()
        assert parsed.version == "2.5.1"
        return text

    return write


def segments(text, name):
    return [line.split("|") for line in text.split("\r") if line.startswith(f"{name}|")]


def observed(text, code):
    """The OBX fields of a code."""
    return [fields for fields in segments(text, "OBX") if fields[3].split("^")[0] == code]


CASES = {
    "lesions": lambda make: Assessed(make(claim=Claim.LESION)),
    "networks and organs": lambda make: assess(make(claim=Claim.LESION, with_models=True)),
    "totals withheld": lambda make: Assessed(make()),
    "no lesions": lambda make: Assessed(make(centres=(), claim=Claim.LESION)),
    "follow-up": lambda make: assess(make()),
}


@pytest.mark.parametrize("case", CASES)
def test_independent_parser_finds_it_valid(case, make, written):
    text = written(CASES[case](make))
    assert text.endswith("\r")
    assert "\n" not in text
    assert [line[:3] for line in text.split("\r")[:4]] == ["MSH", "PID", "OBR", "NTE"]
    numbers = [int(fields[1]) for fields in segments(text, "OBX")]
    assert numbers == list(range(1, len(numbers) + 1))
    keys = [(fields[3].split("^")[0], fields[4]) for fields in segments(text, "OBX")]
    assert len(set(keys)) == len(keys), "code and sub-ID tell observations apart"


def test_message_says_who_what_and_that_it_is_preliminary(make, written):
    text = written(Assessed(make(header={"IssuerOfPatientID": "CLINIC", "TimezoneOffsetFromUTC": "+0100"})))
    (header,), (patient,), (request,) = (segments(text, name) for name in ("MSH", "PID", "OBR"))
    assert (header[8], header[10], header[11], header[17]) == (
        "ORU^R01^ORU_R01",
        "P",
        "2.5.1",
        "UNICODE UTF-8",
    )
    assert header[6] == "20240105102000+0100"
    assert patient[3] == "P1^^^CLINIC^PI"
    assert (patient[5], patient[7], patient[8]) == ("Phantom^Anna^^^^^L^A", "19600101", "F")
    assert (request[4], request[18], request[24], request[25]) == (
        "44136-0^PET unspecified body region^LN",
        "A1",
        "NMS",
        "P",
    )
    assert "Research software, not a medical device" in segments(text, "NTE")[0][3]


def test_patient_without_an_id_leaves_the_message_invalid(make, profile, tmp_path):
    assessed = Assessed(make(lacking=("PatientID",)))
    (file,) = write_hl7(assessed, replace(profile, results=frozenset({ResultKind.HL7})), tmp_path)
    parsed = parse_message(file.path.read_bytes().decode(), find_groups=True)
    with pytest.raises(ValidationError, match="PID_3"):
        parsed.validate()


def test_name_keeps_its_scripts_and_its_components(make, written):
    name = "Yamada^Tarou^M^Dr^Jr=山田^太郎=やまだ^たろう"
    (patient,) = segments(written(Assessed(make(header={"PatientName": name}))), "PID")
    assert patient[5].split("~") == [
        "Yamada^Tarou^M^Jr^Dr^^L^A",
        "山田^太郎^^^^^L^I",
        "やまだ^たろう^^^^^L^P",
    ]


def test_lesion_states_each_number_with_unit_and_sub_id(make, written):
    quantified = make(claim=Claim.LESION)
    text = written(Assessed(quantified))
    lesion = quantified.lesions[0]
    first, second, total = observed(text, "126401.56851009")
    assert first[2:7] == [
        "NM",
        "126401.56851009^SUVmax^99THERAMAP^126401^SUVbw^DCM",
        "1",
        "8",
        "g/ml{SUVbw}^g/ml^UCUM",
    ]
    assert (second[4], total[4]) == ("2", "T")
    assert first[11] == "P"
    volumes = [float(fields[5]) for fields in observed(text, "126032") + observed(text, "126032.255619001")]
    assert volumes == pytest.approx(
        [each.volume_ml for each in quantified.lesions] + [quantified.totals.volume_ml]
    )
    assert observed(text, "112039")[0][5] == "Lesion 1"
    assert float(observed(text, "126401.373098007")[0][5]) == pytest.approx(lesion.suv_mean, rel=1e-6)


def test_totals_that_are_withheld_say_why(make, written):
    text = written(Assessed(make()))
    (totals,) = observed(text, "TM012")
    assert (totals[5], totals[11]) == ("", "X")
    lines = text.split("\r")
    note = lines[lines.index("|".join(totals)) + 1]
    assert note == "NTE|1|L|Withheld: Physiological uptake has not been removed."
    assert not observed(text, "246206008")


def test_reason_for_no_totals_is_in_the_messages_language(make, profile, tmp_path):
    quantified = make()
    reason = phrases(Language.ENGLISH).text("own_withheld_not_removed")
    assessed = Assessed(replace(quantified, withheld=reason))
    text = message(assessed, profile, identify(assessed, profile), Language.GERMAN)
    assert "|Zurückgehalten: Physiologische Anreicherung wurde nicht entfernt: " in text
    assert reason not in text


def test_uptake_times_volume_is_glycolysis_in_lesions_alone(make, written):
    lesions, regions = (written(Assessed(make(claim=claim))) for claim in (Claim.LESION, Claim.UPTAKE))
    assert len(observed(lesions, "126033")) == len(observed(regions, "TM004")) == 2
    assert not observed(lesions, "TM004") + observed(regions, "126033")


def test_another_tracers_study_is_named_and_another_patients_is_not(make, written):
    quantified = make(claim=Claim.LESION)
    (change,) = observed(written(beside(quantified, of_other_tracer(quantified))), "TM033")
    assert "1 matched, 1 seen with one tracer only (" in change[5]
    assert "Totals with PSMA ligand: 2 lesions, volume " in change[5]
    text = written(beside(quantified, of_other_patient(quantified)))
    (change,) = observed(text, "TM033")
    assert "is of another patient ID" in change[5]
    assert "1.2.3.88" not in text


def test_indeterminate_finding_has_no_value(make, written):
    text = written(assess(make(claim=Claim.LESION)))
    ((_, *recip),), ((_, *vision),) = observed(text, "recip"), observed(text, "vision")
    assert (recip[4].split("^")[0], recip[10]) == ("recip.PR", "P")
    assert (vision[4], vision[10]) == ("", "X")
    assert observed(text, "promise")[0][4] == "1"


def test_hostile_text_stays_in_its_field(make, written):
    plain = written(Assessed(make(notes=(Note("CODE", "x"),))))
    header = {
        "PatientName": HOSTILE,
        "PatientID": HOSTILE,
        "AccessionNumber": "|^&",
        "IssuerOfPatientID": HOSTILE,
    }
    text = written(Assessed(make(header=header, notes=(Note("CODE", HOSTILE),))))
    assert [line[:3] for line in text.split("\r")] == [line[:3] for line in plain.split("\r")]
    (patient,), (request,) = segments(text, "PID"), segments(text, "OBR")
    assert unescape(patient[3].split("^")[0]) == "x|^~", "a backslash parts values in DICOM"
    assert unescape(request[18]) == "|^&"
    assert not {"\x0b", "\x1c", "\n"} & set(text)
    note = observed(text, "TM013")[0][5]
    assert unescape(note) == "CODE: x|^~ & PID|9 OBX|1"


@given(st.text())
def test_escaped_text_comes_back(text):
    escaped = escape(text)
    assert not {"|", "^", "&", "~", "\r", "\n"} & set(escaped)
    assert unescape(escaped) == text.replace("\r\n", "\n").replace("\r", "\n")


def test_same_input_gives_the_same_message_and_other_input_another_control_id(make, written):
    text = written(Assessed(make()))
    assert written(Assessed(make())) == text
    assert len(control_id_of(text)) == 20
    assert control_id_of(written(Assessed(make(suv=9.0, job=Job(digest="12"))))) != control_id_of(text)


def test_withdrawal_posts_every_observation_as_wrong(make, written):
    text = written(assess(make()))
    moment = datetime(2024, 2, 1, 8, 30, tzinfo=UTC)
    taken = withdrawal(text, moment)
    assert parse_message(taken, find_groups=True).validate()
    assert {fields[11] for fields in segments(taken, "OBX")} == {"W"}
    (before,), (after,) = segments(text, "OBR"), segments(taken, "OBR")
    assert (after[3], after[25]) == (before[3], "C")
    assert control_id_of(taken) != control_id_of(text)
    assert segments(taken, "MSH")[0][6] == "20240201083000+0000"
    assert withdrawal(text, moment) == taken


def test_nothing_is_written_when_nobody_wants_it(make, profile, tmp_path):
    job = Job(destinations=(Destination(results=frozenset({ResultKind.FHIR})),))
    assert write_hl7(Assessed(make(job=job)), profile, tmp_path) == ()


def test_control_id_is_that_of_the_identity(make, profile, written):
    identity = identify(Assessed(make()), profile)
    expected = f"{int(identity.uid('hl7/message').removeprefix('2.25.')):032X}"[:20]
    assert control_id_of(written(Assessed(make()))) == expected


def test_each_language_has_a_message_of_its_own(make, profile, tmp_path):
    wanted = frozenset({ResultKind.HL7})
    destinations = tuple(Destination(name, results=wanted, language=Language(name)) for name in ("en", "fr"))
    files = write_hl7(Assessed(make(job=Job(destinations=destinations))), profile, tmp_path)
    english, french = (file.path.read_bytes().decode() for file in files)
    assert [file.path.name for file in files] == ["oru-en.hl7", "oru-fr.hl7"]
    assert parse_message(french, find_groups=True).validate()
    assert segments(french, "MSH")[0][18] == "fr^French^ISO639"
    assert control_id_of(english) != control_id_of(french)
    assert observed(english, "121073")[0][5] != observed(french, "121073")[0][5]
    assert [fields[3] for fields in segments(english, "OBX")] == [
        fields[3] for fields in segments(french, "OBX")
    ]
