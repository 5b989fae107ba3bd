"""The FHIR bundles validate in both versions, whatever is reported, and say what the results say."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from io import BytesIO
from xml.etree.ElementTree import fromstring

import pytest
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4B
from pydicom import dcmread
from pydicom.dataset import Dataset

from operators.domain import Assessed, Claim, Destination, Job, Language, Note, ResultKind
from operators.results.fhir import withdrawal, write_fhir
from operators.results.identity import identify
from operators.results.source import plane_reference
from tests.operators.results.conftest import assess, beside, of_other_patient, of_other_tracer

ZONED = datetime(2024, 1, 5, 11, 0, tzinfo=timezone(timedelta(hours=1)))
HOSTILE = 'x|^~\\&<script>"\x0b\r\nMSH|\u202e\ud800 ' + "y" * 40
MODELS = {"r4b": BundleR4B, "r5": BundleR5}
FILE_NAMES = {"r4b": "fhir-r4b.json", "r5": "fhir-r5.json"}


@pytest.fixture
def written(profile, tmp_path):
    """Writes an assessment and gives both bundles, validated, by version."""

    def write(assessed):
        files = write_fhir(assessed, replace(profile, results=frozenset({ResultKind.FHIR})), tmp_path)
        assert [file.path.name for file in files] == list(FILE_NAMES.values())
        bundles = {}
        for version, name in FILE_NAMES.items():
            MODELS[version].model_validate_json((tmp_path / name).read_bytes())
            bundles[version] = json.loads((tmp_path / name).read_text("utf-8"))
        return bundles

    return write


def resources(bundle, kind):
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def named(bundle, text):
    """The observations of which this is the code's text."""
    return [each for each in resources(bundle, "Observation") if each["code"]["text"] == text]


def values(observation):
    return {
        part["code"]["text"]: part.get("valueQuantity", {}).get("value") for part in observation["component"]
    }


def hostile(make):
    """A study in which every foreign text attacks."""
    header = {"PatientID": HOSTILE, "IssuerOfPatientID": HOSTILE, "AccessionNumber": HOSTILE}
    quantified = make(claim=Claim.LESION, header=header, notes=(Note("CODE", HOSTILE),))
    assessed = assess(quantified)
    findings = tuple(
        replace(each, title=HOSTILE, reason=HOSTILE, citation=HOSTILE, meaning=HOSTILE)
        for each in assessed.findings
    )
    return replace(assessed, findings=findings)


CASES = {
    "lesions": lambda make: Assessed(make(claim=Claim.LESION)),
    "networks and organs": lambda make: assess(make(claim=Claim.LESION, with_models=True, with_ct=True)),
    "totals withheld": lambda make: Assessed(make()),
    "no lesions": lambda make: Assessed(make(centres=(), claim=Claim.LESION)),
    "follow-up": lambda make: assess(make()),
    "multi-frame": lambda make: Assessed(make(multiframe=True)),
    "with a zone": lambda make: Assessed(make(job=Job(time=ZONED))),
    "without patient": lambda make: Assessed(make(lacking=("PatientID", "PatientName", "AccessionNumber"))),
    "hostile": hostile,
}


@pytest.mark.parametrize("case", CASES)
def test_bundles_of_both_versions_validate_and_hold_together(case, make, written):
    for bundle in written(CASES[case](make)).values():
        addresses = [entry["fullUrl"] for entry in bundle["entry"]]
        conditions = [entry["request"]["ifNoneExist"] for entry in bundle["entry"]]
        assert len(set(addresses)) == len(addresses) == len(set(conditions))
        referred = set(_references(bundle))
        assert referred <= set(addresses)
        (report,) = resources(bundle, "DiagnosticReport")
        observed = [entry["fullUrl"] for entry in bundle["entry"] if _kind(entry) == "Observation"]
        assert [result["reference"] for result in report["result"]] == observed
        assert "\\u0000" not in json.dumps(bundle)
        assert "\x0b" not in json.dumps(bundle, ensure_ascii=False)


def _kind(entry):
    return entry["resource"]["resourceType"]


def _references(value):
    if isinstance(value, dict):
        reference = value.get("reference")
        if isinstance(reference, str) and not reference.startswith("#"):
            yield reference
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _references(each)


def test_lesion_states_numbers_tracking_place_and_source(make, profile, written):
    quantified = make(claim=Claim.LESION, with_models=True)
    names = identify(Assessed(quantified), profile).names
    for version, bundle in written(Assessed(quantified)).items():
        lesion = quantified.lesions[0]
        (found,) = named(bundle, names[1].identifier)
        numbers = values(found)
        assert numbers["SUVmax"] == lesion.suv_max
        assert numbers["SUVpeak"] == lesion.suv_peak_global
        assert numbers["Metabolic volume"] == pytest.approx(lesion.volume_ml)
        assert numbers["Total Lesion Glycolysis"] == pytest.approx(lesion.tlg_g, rel=1e-6)
        assert numbers["Certainty of finding"] == pytest.approx(97)
        (suv_max,) = (part for part in found["component"] if part["code"]["text"] == "SUVmax")
        assert suv_max["valueQuantity"]["code"] == "g/ml{SUVbw}"
        assert [each["code"] for each in suv_max["code"]["coding"]] == ["126401.56851009", "126401"]
        assert {"system": "urn:dicom:uid", "value": f"urn:oid:{names[1].uid}"}.items() <= found["identifier"][
            1
        ].items()
        assert found["bodySite"]["coding"][0]["code"] == "64033007"
        assert found["valueCodeableConcept"]["coding"][0]["code"] == "108369006"
        assert found["derivedFrom"][0]["identifier"]["value"] == "urn:oid:1.2.3.1"
        assert ("contained" in found) == (version == "r5")
    selection = found["contained"][0]
    assert selection["seriesUid"] == "1.2.3.2"
    assert selection["instance"][0]["uid"] == f"1.2.3.5.{lesion.suv_max_index[0] + 1}"
    assert "subset" not in selection["instance"][0]
    assert selection["instance"][0]["imageRegion3D"][0]["coordinate"] == list(lesion.suv_max_lps_mm)


def test_hottest_voxel_is_in_the_frame_that_the_structured_report_names(make, written):
    quantified = make(claim=Claim.LESION, multiframe=True)
    lesion = quantified.lesions[0]
    (found, *_) = (
        each for each in resources(written(Assessed(quantified))["r5"], "Observation") if "contained" in each
    )
    place = dcmread(
        BytesIO(b"".join(plane_reference(quantified.segmented.volumes.pet, lesion.suv_max_index[0]))),
        force=True,
    )
    assert found["contained"][0]["instance"][0]["subset"] == [str(place.ReferencedFrameNumber)]


def test_uptake_times_volume_is_glycolysis_in_lesions_alone(make, written):
    for claim, expected in ((Claim.LESION, "Total Lesion Glycolysis"), (Claim.UPTAKE, "Total lesion uptake")):
        lesion = next(
            each
            for each in resources(written(Assessed(make(claim=claim)))["r4b"], "Observation")
            if "SUVmax" in str(each.get("component")) and each["code"]["text"] != "Tumour totals"
        )
        assert {name for name in values(lesion) if name.startswith("Total")} == {expected}


def test_another_tracers_study_is_named_and_another_patients_is_not(make, written):
    quantified = make(claim=Claim.LESION)
    bundle = written(beside(quantified, of_other_tracer(quantified)))["r5"]
    (change,) = named(bundle, "Change since a prior study")
    assert "with another tracer, PSMA ligand: 1.2.3.77 of 2023-08-01" in change["valueString"]
    assert "2 seen with one tracer only (PSMA ligand)" in change["valueString"]
    assert "resolved" not in change["valueString"]
    bundle = written(beside(quantified, of_other_patient(quantified)))["r5"]
    (change,) = named(bundle, "Change since a prior study")
    assert change["valueString"].startswith("A study that was sent as a prior is of another patient ID")
    assert "1.2.3.88" not in json.dumps(bundle)
    assert "2023-08-01" not in change["valueString"]


def test_report_names_patient_order_study_and_is_preliminary(make, written):
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.840.99", "ISO"
    header = {"IssuerOfPatientID": "CLINIC", "IssuerOfPatientIDQualifiersSequence": [issuer]}
    bundles = written(Assessed(make(header={**header, "TimezoneOffsetFromUTC": "-0530"})))
    for version, bundle in bundles.items():
        (report,) = resources(bundle, "DiagnosticReport")
        identifier = report["subject"]["identifier"]
        assert (identifier["system"], identifier["value"]) == ("urn:oid:1.2.840.99", "P1")
        assert identifier["assigner"] == {"display": "CLINIC"}
        assert report["basedOn"][0]["identifier"]["value"] == "A1"
        study = report["study" if version == "r5" else "imagingStudy"][0]
        assert study["identifier"]["value"] == "urn:oid:1.2.3.1"
        assert report["status"] == "preliminary"
        assert report["issued"] == "2024-01-05T10:20:00-05:30"
        assert "Physiological uptake has not been removed" in report["conclusion"]
        assert "not a medical device" in report["conclusion"]
        assert [code["coding"][0]["code"] for code in report["conclusionCode"]] == ["TM001"]
        assert all(
            "not a medical device" in device["note"][0]["text"] for device in resources(bundle, "Device")[:1]
        )


def test_time_without_a_zone_is_said_to_be_unknown(make, written):
    (report,) = resources(written(Assessed(make()))["r5"], "DiagnosticReport")
    assert "issued" not in report
    assert report["_issued"]["extension"][0]["valueCode"] == "unknown"
    assert report["effectiveDateTime"] == "2024-01-05"


def test_time_of_the_job_has_the_zone_of_the_job(make, written):
    (report,) = resources(written(Assessed(make(job=Job(time=ZONED))))["r5"], "DiagnosticReport")
    assert report["issued"] == "2024-01-05T11:00:00+01:00"


def test_totals_are_numbers_or_a_reason(make, written):
    (totals,) = named(written(Assessed(make(claim=Claim.LESION)))["r5"], "Tumour totals")
    assert values(totals)["Number of lesions"] == 2
    assert "dataAbsentReason" not in totals
    (totals,) = named(written(Assessed(make()))["r5"], "Tumour totals")
    assert "component" not in totals
    assert totals["dataAbsentReason"]["text"] == "Withheld: Physiological uptake has not been removed."


def test_no_lesions_give_a_report_that_says_so(make, written):
    bundle = written(Assessed(make(centres=(), claim=Claim.LESION)))["r4b"]
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["conclusion"].startswith("No lesion was found")
    assert "conclusionCode" not in report
    (totals,) = named(bundle, "Tumour totals")
    assert values(totals)["Number of lesions"] == 0
    assert "SUVmax" not in values(totals)


def test_findings_have_category_or_reason_with_their_citation(make, written):
    bundle = written(assess(make(claim=Claim.LESION)))["r5"]
    (recip,) = named(bundle, "RECIP 1.0")
    assert recip["valueCodeableConcept"]["coding"][0]["code"] == "recip.PR"
    assert [each["code"] for each in recip["code"]["coding"]] == ["recip", "112048"]
    assert "Somebody 2022" in recip["method"]["text"]
    (vision,) = named(bundle, "VISION")
    assert "valueCodeableConcept" not in vision
    assert vision["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    assert vision["dataAbsentReason"]["text"] == "Indeterminate: Whether lesions are new is not known."
    (promise,) = named(bundle, "PROMISE V2 expression")
    lesion = next(entry for entry in bundle["entry"] if entry["resource"] == named(bundle, "Lesion 7")[0])
    assert promise["derivedFrom"][1] == {"reference": lesion["fullUrl"]}


def test_predictions_state_value_and_interval_or_why_not(make, written):
    bundle = written(assess(make()))["r4b"]
    (ours,) = named(bundle, "Our model: metastasis, probability")
    assert ours["valueQuantity"]["value"] == 0.25
    interval = ours["component"][0]["valueRange"]
    assert (interval["low"]["value"], interval["high"]["value"]) == (0.1, 0.4)
    (other,) = named(bundle, "Other: death, hazard ratio")
    assert other["dataAbsentReason"]["text"] == "Withheld: The diagnosis is not known."


def test_change_course_and_notes_are_said(make, written):
    bundle = written(assess(make()))["r5"]
    (change,) = named(bundle, "Change since a prior study")
    assert "1 matched, 1 new" in change["valueString"]
    (course,) = named(bundle, "Course over all studies")
    assert course["valueString"] == "2023-08-01: 2 lesions, 20.00 ml; 2024-01-05: withheld"
    said = [each["valueString"] for each in named(bundle, "Quality note")]
    assert said[0].startswith("UPTAKE_TIME: ")
    assert said[-1] == "PRIOR_REFUSED: A prior was refused."


def test_number_that_is_not_finite_is_absent(make, written):
    quantified = make(claim=Claim.LESION)
    lesions = tuple(replace(each, suv_mean=float("nan"), tlg_g=float("inf")) for each in quantified.lesions)
    bundle = written(Assessed(replace(quantified, lesions=lesions)))["r5"]
    (lesion,) = named(bundle, "Lesion 1")
    assert "SUVmean" not in values(lesion)
    assert "Total Lesion Glycolysis" not in values(lesion)
    assert "SUVmax" in values(lesion)


def test_same_input_gives_same_bytes_and_other_input_other_identifiers(make, written, tmp_path):
    written(Assessed(make()))
    first = (tmp_path / "fhir-r5.json").read_bytes()
    written(Assessed(make()))
    assert (tmp_path / "fhir-r5.json").read_bytes() == first
    conditions = {
        entry["request"]["ifNoneExist"] for entry in json.loads(first)["entry"] if _kind(entry) != "Device"
    }
    other = written(Assessed(make(suv=9.0, job=Job(time=ZONED, digest="12"))))["r5"]
    assert not conditions & {
        entry["request"]["ifNoneExist"] for entry in other["entry"] if _kind(entry) != "Device"
    }


def test_nothing_is_written_when_nobody_wants_it(make, profile, tmp_path):
    job = Job(destinations=(Destination(results=frozenset({ResultKind.SEG})),))
    assert write_fhir(Assessed(make(job=job)), profile, tmp_path) == ()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", MODELS)
def test_withdrawal_validates_and_says_entered_in_error(version, make, written):
    made = written(assess(make()))[version]
    taken = withdrawal(made, "Withdrawn.")
    MODELS[version].model_validate_json(json.dumps(taken))
    for before, after in zip(made["entry"], taken["entry"], strict=True):
        kind = _kind(before)
        if kind == "Device":
            assert after == before
            continue
        assert after["resource"]["status"] == "entered-in-error"
        assert after["request"] == {"method": "PUT", "url": f"{kind}?{before['request']['ifNoneExist']}"}
    assert after["resource"]["conclusion"].startswith("Withdrawn. ")
    assert withdrawal(made, "Withdrawn.") == taken


def test_narrative_is_xhtml(make, written):
    for bundle in written(Assessed(make())).values():
        (report,) = resources(bundle, "DiagnosticReport")
        root = fromstring(report["text"]["div"])
        assert root.tag == "{http://www.w3.org/1999/xhtml}div"
        assert root[0].text == report["conclusion"]


def test_each_language_has_a_report_of_its_own(make, profile, tmp_path):
    wanted = frozenset({ResultKind.FHIR})
    destinations = tuple(Destination(name, results=wanted, language=Language(name)) for name in ("en", "de"))
    assessed = assess(make(job=Job(destinations=destinations)))
    files = write_fhir(assessed, profile, tmp_path)
    assert {file.path.name: file.destination for file in files} == {
        f"fhir-{version}-{language}.json": language for version in MODELS for language in ("en", "de")
    }
    bundles = {}
    for language in ("en", "de"):
        content = (tmp_path / f"fhir-r5-{language}.json").read_bytes()
        BundleR5.model_validate_json(content)
        bundles[language] = json.loads(content)
    conditions = [
        {entry["request"]["ifNoneExist"] for entry in bundle["entry"] if _kind(entry) != "Device"}
        for bundle in bundles.values()
    ]
    assert not conditions[0] & conditions[1]
    english, german = (resources(bundle, "DiagnosticReport")[0] for bundle in bundles.values())
    assert (english["language"], german["language"]) == ("en", "de")
    assert english["conclusion"] != german["conclusion"]
    assert [code["coding"] for code in english["conclusionCode"]] == [
        code["coding"] for code in german["conclusionCode"]
    ]
