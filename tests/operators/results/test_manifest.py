"""results.json keeps to its schema in every shape and holds nothing that names a patient."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import operators.results
from operators.domain import Assessed, Claim, Departure, RemovedUptake, RunFacts, SetAside
from operators.errors import InputRefusal, Refused, SuvRefusal
from operators.results.identity import identify
from operators.results.manifest import write_input_refusal, write_results
from operators.results.picture_files import write_pictures
from operators.results.seg import write_seg
from operators.results.sr import write_srs
from tests.operators.results.conftest import assess

FACTS = RunFacts({"theramap": "0.1.0"}, "cpu", {"load": 0.25}, 312.5)


def checked(path):
    """The content, valid by the schema."""
    schema = json.loads((Path(operators.results.__file__).parent / "results.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(schema).validate(content)
    return content


def test_completed_study_states_numbers_files_and_identity(make, profile, tmp_path):
    quantified = make(with_ct=True)
    files = tuple(
        f
        for write in (write_seg, write_srs, write_pictures)
        for f in write(Assessed(quantified), profile, tmp_path)
    )
    content = checked(write_results(Assessed(quantified), files, FACTS, profile, tmp_path))
    lesion = content["lesions"][0]
    assert lesion["suv_max_g_ml"] == quantified.lesions[0].suv_max
    assert lesion["volume_ml"] == pytest.approx(27 * 0.048 * 81 / 27)
    assert content["identity"] == identify(Assessed(quantified), profile).digest
    assert [file["path"] for file in content["files"]][:3] == ["seg.dcm", "sr.dcm", "mip.png"]
    assert all(len(file["sha256"]) == 64 for file in content["files"])
    assert content["timings_s"] == {"load": 0.25}


def test_uptake_gives_uptake_numbers_and_no_tumour_totals(make, profile, tmp_path):
    totals = checked(write_results(Assessed(make()), (), FACTS, profile, tmp_path))["totals"]
    assert totals["uptake"]["of"] == "uptake above threshold"
    assert totals["uptake"]["count"] == 2
    assert totals["tumour"] is None
    assert totals["withheld"] == "Physiological uptake has not been removed."


def test_lesions_give_tumour_totals(make, profile, tmp_path):
    totals = checked(write_results(Assessed(make(claim=Claim.LESION)), (), FACTS, profile, tmp_path))[
        "totals"
    ]
    assert totals["tumour"]["count"] == 2
    assert totals["withheld"] is None


def test_no_lesions_leaves_numbers_null(make, profile, tmp_path):
    content = checked(write_results(Assessed(make(centres=())), (), FACTS, profile, tmp_path))
    assert content["lesions"] == []
    assert content["totals"]["uptake"]["suv_max_g_ml"] is None


def test_number_that_is_none_or_not_finite_is_null(make, profile, tmp_path):
    quantified = make()
    lesions = tuple(replace(lesion, suv_sd=None, tlg_g=float("inf")) for lesion in quantified.lesions)
    suv = replace(quantified.segmented.volumes.suv, suvbw_factor=np.array([np.nan]), reference_time=None)
    volumes = replace(quantified.segmented.volumes, suv=suv)
    changed = replace(quantified, lesions=lesions, segmented=replace(quantified.segmented, volumes=volumes))
    content = checked(write_results(Assessed(changed), (), FACTS, profile, tmp_path))
    assert (content["lesions"][0]["suv_sd_g_ml"], content["lesions"][0]["tlg_g"]) == (None, None)
    assert content["suv"]["suvbw_factor"] == {"min": None, "max": None}


def test_refusal_states_step_code_sentence_and_tag(make, profile, tmp_path):
    selection = make().selection
    refusal = SuvRefusal("WEIGHT_MISSING", "The weight is missing.", "(0010,1030) PatientWeight")
    refused = Refused(selection.case, refusal, selection.decisions, selection.notes)
    content = checked(write_results(refused, (), FACTS, profile, tmp_path))
    assert content["status"] == "refused"
    assert content["reason"] == {
        "step": "volume",
        "code": "WEIGHT_MISSING",
        "sentence": "The weight is missing.",
        "tag": "(0010,1030) PatientWeight",
    }
    assert len(content["series"]) == 1


def test_input_without_a_study_lists_what_was_set_aside(tmp_path):
    aside = (SetAside("a/bad\udcff.dcm", "NOT_DICOM", "No DICOM."),)
    refusal = InputRefusal("NO_STUDY", "There is no study in the input.", set_aside=aside)
    content = checked(write_input_refusal(refusal, FACTS, tmp_path))
    assert content["set_aside"][0]["code"] == "NOT_DICOM"
    assert content["study_instance_uid"] is None


def test_models_organs_and_what_they_gave_are_stated(make, profile, tmp_path):
    content = checked(write_results(Assessed(make(with_models=True)), (), FACTS, profile, tmp_path))
    network = content["segmentation"]["network"]
    assert (network["package"], network["sha256"]) == ("ours@1.0.0", "12" * 32)
    assert (network["folds"], network["mirrored_axes"], network["tiles_skipped"]) == (["0", "1"], [0, 2], 3)
    assert network["times_s"] == {"network": 1.5}
    organs = content["organs"]
    assert (organs["title"], organs["model_sha256"]) == ("Our organs", "34" * 32)
    assert [(organ["name"], organ["volume_ml"]) for organ in organs["found"]] == [
        ("kidney_left", pytest.approx(3 * 7 * 7 * 0.048)),
        ("tail", pytest.approx(3 * 6 * 8 * 0.048)),
    ]
    assert content["removed"] == [
        {
            "organ": "urinary bladder",
            "volume_ml": 0.288,
            "suv_max_g_ml": 25.0,
            "box_zyx": [[0, 2], [0, 3], [0, 1]],
            "runs": "0 6",
        }
    ]
    assert content["references"][0]["suv_mean_g_ml"] == 2.1
    assert content["references"][0]["centre_lps_mm"] == [-80.0, -20.0, 10.0]
    first, second = (lesion["site"] for lesion in content["lesions"])
    assert (first["code"]["value"], first["side"]["meaning"], first["overlap"]) == ("64033007", "Left", 0.75)
    assert (second["name"], second["code"], second["distance_mm"]) == ("tail", None, 0.0)


def test_without_models_their_places_are_empty(make, profile, tmp_path):
    content = checked(write_results(Assessed(make()), (), FACTS, profile, tmp_path))
    assert content["segmentation"]["network"] is None
    assert content["organs"] is None
    assert (content["removed"], content["references"]) == ([], [])
    assert [lesion["site"] for lesion in content["lesions"]] == [None, None]


def test_holds_no_patient_identity(make, profile, tmp_path):
    text = write_results(Assessed(make()), (), FACTS, profile, tmp_path).read_text("utf-8")
    assert not any(secret in text for secret in ("Phantom", "Anna", "19600101", "1960-01-01", "Doe", '"P1"'))


def test_leaves_no_partial_file(make, profile, tmp_path):
    write_results(Assessed(make()), (), FACTS, profile, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("seed", range(4))
def test_a_removed_region_can_be_drawn_back(make, profile, tmp_path, seed):
    mask = np.random.default_rng(seed).random((3, 4, 5)) > 0.4
    mask[0, 0, 0], mask[2, 3, 4] = seed % 2, seed // 2
    quantified = make(with_models=True)
    region = RemovedUptake("liver", (slice(0, 3), slice(1, 5), slice(2, 7)), mask, 1.0, 5.0)
    quantified = replace(quantified, segmented=replace(quantified.segmented, removed=(region,)))
    [entry] = checked(write_results(Assessed(quantified), (), FACTS, profile, tmp_path))["removed"]
    lengths = [int(length) for length in entry["runs"].split()]
    drawn = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    shape = [stop - start for start, stop in entry["box_zyx"]]
    assert np.array_equal(drawn.reshape(shape), mask)


def test_quality_and_confidence_are_stated_or_null(make, profile, tmp_path):
    content = checked(write_results(Assessed(make(with_models=True)), (), FACTS, profile, tmp_path))
    assert content["quality"]["predicted_dice"] == {
        "value": 0.815,
        "mean_absolute_error": 0.06,
        "patients": 38,
        "source": "five folds",
    }
    [departure] = content["quality"]["out_of_distribution"]
    assert (departure["feature"], departure["value"], departure["high"]) == ("noise", 0.42, 0.25)
    assert content["quality"]["features"] == {"noise": 0.42, "pet_spacing_z_mm": 3.0}
    assert [lesion["confidence"] for lesion in content["lesions"]] == [0.97, 0.58]
    content = checked(write_results(Assessed(make()), (), FACTS, profile, tmp_path))
    assert content["quality"] is None
    assert [lesion["confidence"] for lesion in content["lesions"]] == [None, None]


def test_a_tracer_beyond_training_and_a_missing_dice_are_null(make, profile, tmp_path):
    found = make(with_models=True)
    tracer = Departure("tracer", None, None, None, "", "Another tracer.")
    quality = replace(found.segmented.quality, predicted_dice=None, departures=(tracer,))
    changed = replace(found, segmented=replace(found.segmented, quality=quality))
    content = checked(write_results(Assessed(changed), (), FACTS, profile, tmp_path))["quality"]
    assert content["predicted_dice"] is None
    assert content["out_of_distribution"][0]["low"] is None


def test_what_the_measurements_mean_is_said(make, profile, tmp_path):
    content = checked(write_results(assess(make()), (), FACTS, profile, tmp_path))
    response, eligibility, score = content["findings"]
    assert (response["category"], response["facts"][0]["value"]) == ("PR", -41.5)
    assert eligibility["category"] is None
    assert eligibility["facts"][0] == {
        "name": "new_lesions", "value": None, "unit": "1", "source": "",
        "reason": "the registration was rejected", "at_least": None, "at_most": None,
    }  # fmt: skip
    assert score["lesion"] == 1
    (prior,) = content["follow_ups"]
    assert prior["registration"]["measures"] == {"error_mm": 2.1}
    assert [each["fate"] for each in prior["correspondences"]] == ["matched", "new"]
    assert [point["volume_ml"] for point in content["trend"]] == [20.0, None]
    assert (response["kind"], response["compared_with"]) == ("response", "1.2.3.0")
    given, withheld = content["predictions"]
    assert (given["value"], given["contributions"][0]["amount"]) == (0.25, 0.3)
    assert (withheld["value"], withheld["withheld"]) == (None, "The diagnosis is not known.")
    assert content["lesions"][0]["tracking_identifier"] == "Lesion 7"
    assert [note["code"] for note in content["notes"]][-1] == "PRIOR_REFUSED"
