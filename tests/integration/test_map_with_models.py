"""The whole graph with real model packages on a phantom: organs, lesions by a network, the same twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import jsonschema
import numpy as np
import pydicom
import pytest
import yaml
from pydicom.sr.coding import Code

import operators.results
from app import protocols
from app.demo.phantom import PhantomLesion, PhantomSpec, PhantomTruth, write_phantom
from app.run import ExitCode, run
from app.settings import Settings
from operators.domain import LesionCalibration
from operators.segmentation.package.types import (
    Calibration,
    DiceCalibration,
    Feature,
    Guard,
    Modality,
    SeenRange,
    Task,
)
from tests.tiny_models import write_intervals

SCHEMA = json.loads((Path(operators.results.__file__).parent / "results.schema.json").read_text())

LESION_SUV = 14.0
LESIONS = (
    PhantomLesion((80.0, 0.0, -280.0), 14.0, LESION_SUV),
    PhantomLesion((90.0, 10.0, 120.0), 16.0, LESION_SUV),
)
SPEC = PhantomSpec(noise=0.0, lesions=LESIONS)
"""Without noise each organ of the phantom's FDG PET has one value: labels by intervals are its anatomy."""

ORGANS = {
    "aorta": 1.4,
    "spleen": 1.6,
    "colon": 1.75,
    "liver": 1.85,
    "kidneys": 2.5,
    "heart": 4.0,
    "brain": 6.0,
    "vertebrae_T8": 10.0,  # where the lesions are
    "urinary_bladder": 20.0,
}
UPTAKE = {"physiological_organ": 4.0, "lesion": 10.0, "physiological_urine": 20.0}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    folder = tmp_path_factory.mktemp("study")
    return folder, write_phantom(folder, SPEC)


def run_map(study: Path, output: Path, models: Path, **options: Any) -> dict[str, Any]:
    settings = Settings.model_validate(
        {
            "device": "cpu",
            "protocols": options.pop("protocols", None),
            "models": {"folder": models} | options.pop("own", {}),
        }
    )
    run(study, output, settings, **options)
    results: dict[str, Any] = json.loads((output / "results.json").read_text())
    jsonschema.validate(results, SCHEMA)
    return results


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.dcm"))}


def codes_of(results: dict[str, Any]) -> list[str]:
    return [note["code"] for note in results["notes"]]


def texts_of(report: Path) -> str:
    """All texts of a report."""
    return "\n".join(
        str(element.value) for element in pydicom.dcmread(report).iterall() if element.keyword == "TextValue"
    )


def assert_lesions(results: dict[str, Any], truth: PhantomTruth) -> None:
    volumes = sorted(lesion["volume_ml"] for lesion in results["lesions"])
    assert volumes == pytest.approx(sorted(lesion.volume_ml for lesion in truth.lesions), rel=1e-6)


@pytest.fixture
def fully_covered(tmp_path: Path) -> Path:
    """The FDG protocol less the organs that no organ package outlines."""
    content = yaml.safe_load((Path(protocols.__file__).parent / "fdg.yaml").read_text())
    beyond = ("ureters", "bowel")
    content["physiological"] = [organ for organ in content["physiological"] if organ["name"] not in beyond]
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "fdg.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "protocols"


def test_regions_stay_uptake_while_an_organ_of_the_protocol_is_not_covered(
    study: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    folder, truth = study
    write_intervals(tmp_path / "models", "organs", ORGANS)
    results = run_map(folder, tmp_path / "out", tmp_path / "models")
    assert_lesions(results, truth)
    assert results["segmentation"]["claim"] == "uptake above threshold"
    assert results["totals"]["tumour"] is None
    [note] = [note for note in results["notes"] if note["code"] == "ORGANS_NOT_COVERED"]
    assert "ureters, bowel (the organ model does not know it" in note["sentence"]


def test_an_organ_package_removes_physiological_uptake_and_names_sites(
    study: tuple[Path, PhantomTruth], fully_covered: Path, tmp_path: Path
) -> None:
    folder, truth = study
    package = write_intervals(tmp_path / "models", "organs", ORGANS)
    results = run_map(folder, tmp_path / "out", tmp_path / "models", protocols=fully_covered)
    assert_lesions(results, truth)
    assert results["segmentation"]["claim"] == "lesion"
    assert results["segmentation"]["network"] is None
    assert results["totals"]["tumour"]["count"] == 2
    assert sorted(region["organ"] for region in results["removed"]) == ["brain", "heart", "urinary bladder"]
    [bladder] = [region for region in results["removed"] if region["organ"] == "urinary bladder"]
    assert bladder["suv_max_g_ml"] == pytest.approx(25.0, rel=1e-3)
    network = results["organs"]["network"]
    assert (network["package"], network["sha256"]) == ("organs@1.0.0", package.digest)
    assert network["tiles"] > 0
    assert {organ["name"] for organ in results["organs"]["found"]} == set(ORGANS)
    for lesion in results["lesions"]:
        assert lesion["site"]["name"] == "vertebrae_T8"
        assert lesion["site"]["code"]["value"] == "11068009"
        assert lesion["site"]["overlap"] == 1.0


def test_reference_regions_have_the_phantoms_uptake(study: tuple[Path, PhantomTruth], tmp_path: Path) -> None:
    write_intervals(tmp_path / "models", "organs", ORGANS)
    results = run_map(study[0], tmp_path / "out", tmp_path / "models")
    liver, pool = results["references"]
    assert (liver["name"], liver["source"]) == ("liver", "organs@1.0.0")
    assert liver["suv_mean_g_ml"] == pytest.approx(1.9, rel=1e-3)
    assert liver["volume_ml"] == pytest.approx(14.1, rel=0.1)
    assert liver["centre_lps_mm"][0] < -0.42 * 190
    assert pool["name"] == "blood_pool"
    assert pool["suv_mean_g_ml"] == pytest.approx(1.5, rel=1e-3)


def test_percist_runs_once_the_liver_is_known(study: tuple[Path, PhantomTruth], tmp_path: Path) -> None:
    folder, truth = study
    write_intervals(tmp_path / "models", "organs", ORGANS)
    results = run_map(folder, tmp_path / "out", tmp_path / "models", method="percist")
    assert results["status"] == "completed"
    assert results["segmentation"]["method"] == "percist"
    assert "kidneys" in {region["organ"] for region in results["removed"]}  # 3.0 > 1.5 x 1.9
    assert_lesions(results, truth)


def test_report_and_segmentation_say_what_the_organs_said(
    study: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    write_intervals(tmp_path / "models", "organs", ORGANS)
    run_map(study[0], tmp_path / "out", tmp_path / "models")
    report = hd.sr.srread(tmp_path / "out" / "sr.dcm")
    for group in report.content.get_volumetric_roi_measurement_groups():
        [site] = group.finding_sites
        assert (site.value.value, site.value.meaning) == ("11068009", "T8 vertebra")
    said = texts_of(tmp_path / "out" / "sr.dcm")
    for words in (
        "Intervals organs 1.0.0",
        "package organs@1.0.0",
        "engine openvino",
        "urinary bladder: 1 region",
    ):
        assert words in said
    assert "liver: SUVmean 1.90 g/ml" in said


def test_a_network_that_knows_physiological_uptake_gives_lesions(
    study: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    folder, truth = study
    physiological = ("physiological_organ", "physiological_urine")
    package = write_intervals(
        tmp_path / "models", "ours", UPTAKE, task=Task.LESIONS, tracers=("fdg",), physiological=physiological
    )
    results = run_map(folder, tmp_path / "out", tmp_path / "models")
    assert_lesions(results, truth)
    assert results["segmentation"]["method"] == "network"
    assert "MODEL_MISSING" not in codes_of(results)
    assert results["segmentation"]["claim"] == "lesion"
    assert results["segmentation"]["model_sha256"] == package.digest
    network = results["segmentation"]["network"]
    assert network["package"] == "ours@1.0.0"
    assert network["engine"].startswith("openvino ")
    assert (network["device"], network["precision"]) == ("cpu", "single")
    assert {region["organ"] for region in results["removed"]} == set(physiological)
    assert results["organs"]["method"] == "anatomy_rules"
    assert "ORGANS_NOT_SEGMENTED" in codes_of(results)
    said = texts_of(tmp_path / "out" / "sr.dcm")
    assert "precision=single" in said
    assert f"model_sha256={package.digest}" in said
    segmentation = pydicom.dcmread(tmp_path / "out" / "seg.dcm").SegmentSequence[0]
    [algorithm] = segmentation.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert "package" in algorithm.AlgorithmParameters


def test_the_guard_of_a_package_reaches_results_and_report(
    study: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    folder, truth = study
    guard = Guard(
        Calibration(1.0, 0.0, "made up"),
        LesionCalibration(1.0, 0.0, 0.0, "made up"),
        DiceCalibration(0.5, 0.0, 0.06, 38, "made up"),
        (
            SeenRange(Feature.SPACING_Z, 2.0, 5.0, "mm", "made up"),
            SeenRange(Feature.SPACING_XY, 2.0, 5.0, "mm", "made up"),
            SeenRange(Feature.CT, 0.0, 0.0, "1", "made up"),
        ),
    )
    physiological = ("physiological_organ", "physiological_urine")
    own = {"task": Task.LESIONS, "tracers": ("fdg",), "physiological": physiological}
    write_intervals(tmp_path / "models", "ours", UPTAKE, guard=guard, **own)
    results = run_map(folder, tmp_path / "out", tmp_path / "models")
    assert_lesions(results, truth)
    quality = results["quality"]
    [departure] = quality["out_of_distribution"]  # the CT is none of the package's inputs
    assert (departure["feature"], departure["value"], departure["high"]) == ("pet_spacing_z_mm", 6.0, 5.0)
    dice = quality["predicted_dice"]
    assert 0.1 < dice["value"] < 0.5  # the brain is nearly a lesion to this network
    assert (dice["mean_absolute_error"], dice["patients"]) == (0.06, 38)
    # logits at SUV 14: 0, 14 - 4, 28 - 14, 42 - 34
    sure = np.exp(14.0) / np.exp([0.0, 10.0, 14.0, 8.0]).sum()
    assert [lesion["confidence"] for lesion in results["lesions"]] == pytest.approx([sure] * 2, abs=2e-3)
    assert quality["features"]["noise"] < 0.2
    assert {"OUT_OF_DISTRIBUTION", "PREDICTED_DICE_LOW", "MODEL_NOT_VALIDATED"} <= set(codes_of(results))
    said = texts_of(tmp_path / "out" / "sr.dcm")
    assert departure["sentence"] in said
    assert f"Predicted Dice {dice['value']:.2f}" in said
    report = hd.sr.srread(tmp_path / "out" / "sr.dcm")
    for group in report.content.get_volumetric_roi_measurement_groups():
        [certainty] = group.get_measurements(name=Code("111012", "DCM", "Certainty of Finding"))
        assert (certainty.value, certainty.unit.value) == (pytest.approx(100 * sure, abs=0.2), "%")


def test_the_package_and_its_absence_give_other_uids(
    study: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    physiological = ("physiological_organ", "physiological_urine")
    own = {"task": Task.LESIONS, "tracers": ("fdg",), "physiological": physiological}
    write_intervals(tmp_path / "models", "ours", UPTAKE, **own)
    write_intervals(tmp_path / "again" / "models", "ours", UPTAKE | {"lesion": 10.5}, **own)
    (tmp_path / "none").mkdir()
    runs = {"models": {}, "again/models": {}, "none": {}, "off": {"own": {"lesions": "none"}}}
    results = {
        name: run_map(
            study[0], tmp_path / "out" / name, tmp_path / (name if name != "off" else "models"), **options
        )
        for name, options in runs.items()
    }
    methods = [each["segmentation"]["method"] for each in results.values()]
    assert methods == ["network", "network", "fixed_suv", "fixed_suv"]
    assert len({each["identity"] for each in results.values()}) == 4
    stands_in = results["none"]
    assert stands_in["segmentation"]["citation"].startswith("SUV >= 4.0 and >= 3 ml: Boellaard")
    assert stands_in["segmentation"]["claim"] == "uptake above threshold"
    assert stands_in["totals"]["tumour"] is None
    [note] = [note for note in stands_in["notes"] if note["code"] == "MODEL_MISSING"]
    assert note["sentence"] in texts_of(tmp_path / "out" / "none" / "sr.dcm")
    assert "there is no model package for lesions of the tracer fdg" in note["sentence"]
    [note] = [note for note in results["off"]["notes"] if note["code"] == "MODEL_MISSING"]
    assert "the settings ask for none" in note["sentence"]


def test_a_network_by_name_is_refused_without_a_package(
    study: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    results = run_map(study[0], tmp_path / "out", tmp_path / "models", method="network")
    assert (results["status"], results["reason"]["code"]) == ("refused", "MODEL_MISSING")


def test_the_same_study_gives_the_same_bytes_and_mirroring_other_uids(
    study: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    physiological = ("physiological_organ", "physiological_urine")
    models = tmp_path / "models"
    write_intervals(models, "ours", UPTAKE, task=Task.LESIONS, tracers=("fdg",), physiological=physiological)
    write_intervals(models, "organs", ORGANS)
    for output, own in (("a", {}), ("b", {}), ("mirrored", {"mirroring": True})):
        results = run_map(study[0], tmp_path / output, models, method="network", own=own)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert results["segmentation"]["network"]["mirrored_axes"] == [2]
    plain, mirrored = (pydicom.dcmread(tmp_path / name / "seg.dcm") for name in ("a", "mirrored"))
    assert plain.SOPInstanceUID != mirrored.SOPInstanceUID
    assert np.array_equal(plain.pixel_array, mirrored.pixel_array)


def test_two_fitting_packages_refuse_the_study_by_their_names(
    study: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        write_intervals(tmp_path / "models", name, ORGANS)
    settings = Settings.model_validate({"device": "cpu", "models": {"folder": tmp_path / "models"}})
    code, _ = run(study[0], tmp_path / "out", settings)
    assert code == ExitCode.REFUSED
    reason = json.loads((tmp_path / "out" / "results.json").read_text())["reason"]
    assert reason["code"] == "MODEL_AMBIGUOUS"
    assert "one@1.0.0, two@1.0.0" in reason["sentence"]


def test_psma_without_head_glands_stays_uptake(tmp_path: Path) -> None:
    write_phantom(
        tmp_path / "in", replace(SPEC, tracer="psma", shape=(72, 48, 48), spacing_mm=(12.0, 9.0, 9.0))
    )
    write_intervals(tmp_path / "models", "organs", {"liver": 4.9, "kidneys": 40.0})
    results = run_map(tmp_path / "in", tmp_path / "out", tmp_path / "models")
    assert results["segmentation"]["claim"] == "uptake above threshold"
    assert results["totals"]["tumour"] is None
    assert "removed in part" in results["totals"]["withheld"]
    assert "ORGANS_NOT_COVERED" in codes_of(results)
    assert any("lacrimal glands" in note["sentence"] for note in results["notes"])


def test_organs_of_the_ct_are_brought_onto_a_coronal_pet(tmp_path: Path) -> None:
    spec = PhantomSpec(
        orientation="coronal",
        shape=(60, 160, 96),
        spacing_mm=(4.5, 6.0, 4.5),
        organs=False,
        lesions=(LESIONS[0], PhantomLesion((-180.0, 0.0, 120.0), 9.0, LESION_SUV)),
    )
    write_phantom(tmp_path / "in", spec)
    tissues = {"lung_left": -950.0, "skeletal_muscle": -400.0, "skull": 600.0}
    write_intervals(tmp_path / "models", "tissues", tissues, modality=Modality.CT)
    results = run_map(tmp_path / "in", tmp_path / "out", tmp_path / "models")
    volumes_ml = {organ["name"]: organ["volume_ml"] for organ in results["organs"]["found"]}
    assert volumes_ml["lung_left"] == pytest.approx(4950, rel=0.05)  # of both, less what covers them
    sites = {round(lesion["centroid_lps_mm"][0]): lesion["site"] for lesion in results["lesions"]}
    assert {site["name"] for site in sites.values()} == {"skeletal_muscle"}
    assert all(site["overlap"] > 0.9 for site in sites.values())
    assert results["segmentation"]["claim"] == "uptake above threshold"
