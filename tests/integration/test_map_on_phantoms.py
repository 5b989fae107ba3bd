"""The whole graph on phantom studies: what comes out is what was put in, and the same every time."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import highdicom as hd
import jsonschema
import numpy as np
import pydicom
import pytest

import operators.results
from app.demo.phantom import PhantomSpec, PhantomTruth, write_phantom
from app.demo.phantom_spec import TRANSFER_SYNTAXES
from app.run import ExitCode, run
from app.settings import Settings
from tests.tiny_models import write_intervals

SMALL = {"shape": (40, 48, 48), "spacing_mm": (5.0, 6.0, 6.0), "organs": False, "n_lesions": 3}
SCHEMA = json.loads((Path(operators.results.__file__).parent / "results.schema.json").read_text())


def run_map(study: Path, output: Path, **options: Any) -> dict[str, Any]:
    """Run the graph in this process and return results.json, which must fit its schema."""
    run(study, output, Settings(device="cpu"), **options)
    return read_results(output)


def read_results(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    jsonschema.validate(results, SCHEMA)
    return results


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.dcm"))}


def suv_by_pydicom(study: Path, truth: PhantomTruth) -> np.ndarray:
    """SUVbw (z, y, x) from the files alone: slices by position, each with its own slope."""
    headers = [pydicom.dcmread(p) for p in study.rglob("*") if p.is_file()]
    slices = [h for h in headers if h.SeriesInstanceUID == truth.pet_series_uid]
    cosines = np.array(slices[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    slices.sort(key=lambda h: float(normal @ np.array(h.ImagePositionPatient, float)))
    planes = [h.pixel_array * float(h.RescaleSlope) for h in slices]
    return np.stack(planes) * truth.suvbw_factor[:, None, None]


def peak_by_distances(suv: np.ndarray, affine: np.ndarray, centre: list[int]) -> float:
    """Mean over the voxels within 6.2035 mm of a voxel, by all the distances of its neighbourhood."""
    low = np.maximum(np.array(centre) - 4, 0)
    box = tuple(slice(a, c + 5) for a, c in zip(low, centre, strict=True))
    indices = np.stack(
        np.meshgrid(*[np.arange(*s.indices(n)) for s, n in zip(box, suv.shape, strict=True)], indexing="ij"),
        -1,
    )
    distances = np.linalg.norm((indices - centre) @ affine[:3, :3].T, axis=-1)
    return float(suv[box][distances <= 6.2035].mean())


def assert_peaks(results: dict[str, Any], study: Path, truth: PhantomTruth) -> None:
    suv = suv_by_pydicom(study, truth)
    for lesion in results["lesions"]:
        local = peak_by_distances(suv, truth.geometry.affine, lesion["suv_max_index_zyx"])
        assert lesion["suv_peak_local_g_ml"] == pytest.approx(local, rel=1e-9)
        [own] = [t for t in truth.lesions if np.allclose(t.suv_max, lesion["suv_max_g_ml"], rtol=1e-9)]
        z, y, x = (axis.start for axis in own.box)
        centres = np.argwhere(own.mask) + np.array([z, y, x])
        highest = max(peak_by_distances(suv, truth.geometry.affine, list(centre)) for centre in centres)
        assert lesion["suv_peak_global_g_ml"] == pytest.approx(highest, rel=1e-9)


def assert_measures(results: dict[str, Any], truth: PhantomTruth) -> None:
    """Every lesion of the phantom was found once, with its own numbers."""
    found = sorted(results["lesions"], key=lambda lesion: lesion["suv_max_g_ml"])
    assert len(found) == len(truth.lesions)
    for lesion, true in zip(found, sorted(truth.lesions, key=lambda t: t.suv_max), strict=True):
        assert lesion["suv_max_g_ml"] == pytest.approx(true.suv_max, rel=1e-6)
        assert lesion["suv_mean_g_ml"] == pytest.approx(true.suv_mean, rel=1e-6)
        assert lesion["volume_ml"] == pytest.approx(true.volume_ml, rel=1e-6)
        assert lesion["centroid_lps_mm"] == pytest.approx(
            true.centroid_mm, abs=0.5 * min(SMALL["spacing_mm"])
        )


@pytest.mark.parametrize("vendor", ["ge", "siemens", "philips"])
@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal"])
def test_finds_every_lesion_with_its_numbers(tmp_path: Path, vendor: str, orientation: str) -> None:
    truth = write_phantom(tmp_path / "in", PhantomSpec(**SMALL, vendor=vendor, orientation=orientation))
    results = run_map(tmp_path / "in", tmp_path / "out")
    assert results["status"] == "completed"
    assert {d["role"] for d in results["series"]} == {"pet", "ct"}
    assert_measures(results, truth)
    assert_peaks(results, tmp_path / "in", truth)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_reads_every_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    truth = write_phantom(tmp_path / "in", PhantomSpec(**SMALL, transfer_syntax_uid=syntax))
    assert_measures(run_map(tmp_path / "in", tmp_path / "out"), truth)


@pytest.mark.parametrize(
    ("tracer", "method"),
    [("fdg", "fixed_suv"), ("psma", "fixed_suv"), ("sstr", "percent_suvmax"), ("fapi", None)],
)
def test_each_tracer_has_its_protocol_and_method(tmp_path: Path, tracer: str, method: str | None) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**SMALL, tracer=tracer))
    results = run_map(tmp_path / "in", tmp_path / "out")
    assert results["protocol"]["name"] == tracer
    assert ("MODEL_MISSING" in {note["code"] for note in results["notes"]}) == (tracer == "fdg")
    assert method in (None, results["segmentation"]["method"])
    assert len(results["lesions"]) == 3
    assert results["totals"]["tumour"] is None
    assert "hysiological uptake" in results["totals"]["withheld"]


def test_isotropic_voxels(tmp_path: Path) -> None:
    spec = PhantomSpec(shape=(60, 64, 64), spacing_mm=(4.0, 4.0, 4.0), organs=False, n_lesions=4)
    truth = write_phantom(tmp_path / "in", spec)
    results = run_map(tmp_path / "in", tmp_path / "out")
    assert_measures(results, truth)
    assert_peaks(results, tmp_path / "in", truth)


def test_same_study_gives_the_same_bytes_whatever_its_files_are_called(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**SMALL))
    files = sorted(p for p in (tmp_path / "in").rglob("*") if p.is_file())
    names = list(range(len(files)))
    random.Random(1).shuffle(names)
    for source, name in zip(files, names, strict=True):
        target = tmp_path / "shuffled" / str(name % 3) / f"{name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for source, output in (("in", "first"), ("in", "second"), ("shuffled", "third")):
        run_map(tmp_path / source, tmp_path / output)
    first = digests(tmp_path / "first")
    assert set(first) == {"seg.dcm", "sr.dcm"}
    assert digests(tmp_path / "second") == first
    assert digests(tmp_path / "third") == first


def test_another_method_gives_other_uids(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**SMALL))
    run_map(tmp_path / "in", tmp_path / "a")
    run_map(tmp_path / "in", tmp_path / "b", method="percent_suvmax")
    for name in ("seg.dcm", "sr.dcm"):
        a, b = (pydicom.dcmread(tmp_path / folder / name) for folder in "ab")
        assert a.SOPInstanceUID != b.SOPInstanceUID
        assert a.SeriesInstanceUID != b.SeriesInstanceUID


def test_another_setting_gives_other_uids(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**SMALL))
    run(tmp_path / "in", tmp_path / "a", Settings(device="cpu"))
    run(tmp_path / "in", tmp_path / "b", Settings(device="cpu", manufacturer="Hospital"))
    for name in ("seg.dcm", "sr.dcm"):
        a, b = (pydicom.dcmread(tmp_path / folder / name) for folder in "ab")
        assert a.SOPInstanceUID != b.SOPInstanceUID


def test_job_sets_the_time_the_forms_and_what_is_superseded(tmp_path: Path) -> None:
    truth = write_phantom(tmp_path / "in", PhantomSpec(**SMALL))
    earlier = {
        "study_instance_uid": truth.study_instance_uid,
        "series_instance_uid": "1.2.3.1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.34",
        "sop_instance_uid": "1.2.3.1.1",
    }
    job = {
        "schema_version": "1",
        "time": "2026-01-02T03:04:05+00:00",
        "current": [truth.study_instance_uid],
        "supersedes": [earlier],
        "clinical": {"glucose_mmol_l": 14.0},
        "destinations": [{"name": "pacs"}, {"name": "research", "sr_region": "segment"}],
    }
    (tmp_path / "in" / "job.json").write_text(json.dumps(job))
    results = run_map(tmp_path / "in", tmp_path / "out")
    assert set(digests(tmp_path / "out")) == {"seg.dcm", "sr-image.dcm", "sr-segment.dcm"}
    reports = [pydicom.dcmread(tmp_path / "out" / f"sr-{region}.dcm") for region in ("image", "segment")]
    assert reports[0].SeriesInstanceUID != reports[1].SeriesInstanceUID
    for report in reports:
        assert (report.ContentDate, report.ContentTime[:6]) == ("20260102", "030405")
        [predecessor] = report.PredecessorDocumentsSequence
        reference = predecessor.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == "1.2.3.1.1"
    assert any("GLUCOSE" in note["code"] for note in results["notes"])


def test_seg_and_sr_name_the_same_lesions(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**SMALL))
    results = run_map(tmp_path / "in", tmp_path / "out")
    seg = hd.seg.segread(tmp_path / "out" / "seg.dcm")
    sr = hd.sr.srread(tmp_path / "out" / "sr.dcm")
    in_seg = {str(segment.TrackingUID) for segment in seg.SegmentSequence}
    in_sr = {str(g.tracking_uid) for g in sr.content.get_volumetric_roi_measurement_groups()}
    in_json = {lesion["tracking_uid"] for lesion in results["lesions"]}
    assert in_seg == in_sr == in_json
    assert len(in_seg) == 3


def test_study_without_lesions_gives_a_report_that_says_so_and_no_seg(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**(SMALL | {"n_lesions": 0})))
    results = run_map(tmp_path / "in", tmp_path / "out")
    assert results["status"] == "completed"
    assert results["lesions"] == []
    assert set(digests(tmp_path / "out")) == {"sr.dcm"}


def test_several_studies_each_have_their_own_results(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        write_phantom(tmp_path / "in" / name, PhantomSpec(**SMALL, seed=seed, patient_id=name))
    code, trace = run(tmp_path / "in", tmp_path / "out", Settings(device="cpu"))
    assert code == ExitCode.COMPLETED
    results = [read_results(outcome.results_json.parent) for outcome in trace.outcomes]
    assert len({r["study_instance_uid"] for r in results}) == 2
    for outcome in trace.outcomes:
        assert set(digests(outcome.results_json.parent)) == {"seg.dcm", "sr.dcm"}


def test_unknown_method_is_refused_and_leaves_no_dicom(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**SMALL))
    code, _ = run(tmp_path / "in", tmp_path / "out", Settings(device="cpu"), method="guesswork")
    results = read_results(tmp_path / "out")
    assert code == ExitCode.REFUSED
    assert results["reason"]["code"] == "METHOD_UNKNOWN"
    assert digests(tmp_path / "out") == {}


def test_a_later_run_leaves_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    write_phantom(tmp_path / "with", PhantomSpec(**SMALL))
    write_phantom(tmp_path / "without", PhantomSpec(**(SMALL | {"n_lesions": 0})))
    run_map(tmp_path / "with", tmp_path / "out")
    results = run_map(tmp_path / "without", tmp_path / "out")
    written = {file["path"] for file in results["files"]} | {"results.json"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == written


def test_invalid_protocol_is_refused_by_file_and_key(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**SMALL))
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "ours.yaml").write_text("name: ours")
    settings = Settings(device="cpu", protocols=tmp_path / "protocols")
    code, _ = run(tmp_path / "in", tmp_path / "out", settings)
    results = read_results(tmp_path / "out")
    assert code == ExitCode.REFUSED
    assert results["reason"]["code"] == "PROTOCOL_INVALID"
    assert "ours.yaml" in results["reason"]["sentence"]


def test_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.txt").write_text("nothing here")
    code, _ = run(tmp_path / "in", tmp_path / "out", Settings(device="cpu"))
    results = read_results(tmp_path / "out")
    assert code == ExitCode.REFUSED
    assert results["reason"]["code"] == "NO_DICOM"
    assert [entry["path"] for entry in results["set_aside"]] == ["readme.txt"]


def test_map_entry_takes_the_options_of_the_sdk(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**SMALL))
    (tmp_path / "models").mkdir()
    (tmp_path / "out").mkdir()
    repository = Path(__file__).resolve().parents[2]
    command = [
        sys.executable,
        "app",
        "-i",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "-m",
        tmp_path / "models",
    ]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    assert read_results(tmp_path / "out")["status"] == "completed"


def test_map_entry_reads_the_holoscan_variables(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**SMALL))
    (tmp_path / "models").mkdir()
    (tmp_path / "out").mkdir()
    environment = {
        "HOLOSCAN_INPUT_PATH": str(tmp_path / "in"),
        "HOLOSCAN_OUTPUT_PATH": str(tmp_path / "out"),
        "HOLOSCAN_MODEL_PATH": str(tmp_path / "models"),
    }
    repository = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, repository / "app"], env=environment, check=True, capture_output=True)
    assert read_results(tmp_path / "out")["status"] == "completed"


def test_map_entry_takes_no_models_of_the_working_directory(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", PhantomSpec(**SMALL))
    (tmp_path / "out").mkdir()
    for name in ("one", "two"):  # which would refuse the study
        write_intervals(tmp_path / "models", name, {"liver": 1.0})
    environment = {name: value for name, value in os.environ.items() if name != "HOLOSCAN_MODEL_PATH"}
    environment["THERAMAP_MODELS__LESIONS"] = "none"
    command = [sys.executable, Path(__file__).resolve().parents[2] / "app", "-i", "in", "-o", "out"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert read_results(tmp_path / "out")["status"] == "completed"
    command += ["-m", "models"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True)
    assert done.returncode == ExitCode.REFUSED
    assert read_results(tmp_path / "out")["reason"]["code"] == "MODEL_AMBIGUOUS"
