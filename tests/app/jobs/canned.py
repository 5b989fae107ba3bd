"""A runner that does not compute: it writes small valid results at once, or fails as it is told."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from app.jobs.pool import Answer, StoppedError, Task
from app.jobs.register import EXPECTED_CLASSES

REFUSAL = {
    "schema_version": "1.4",
    "status": "refused",
    "reason": {"step": "volume", "code": "WEIGHT_MISSING", "sentence": "No weight.", "tag": None},
    "statement": "Research software.",
    "series": [],
    "set_aside": [],
    "notes": [],
    "files": [],
    "versions": {},
    "device": "cpu",
    "timings_s": {},
    "peak_memory_mib": 1.0,
}
TOTALS = {
    "count": 0,
    "volume_ml": 0.0,
    "tlg_g": 0.0,
    "suv_max_g_ml": None,
    "suv_mean_g_ml": None,
    "suv_peak_g_ml": None,
    "dmax_mm": None,
    "dmax_bulk_mm": None,
    "sdmax_per_m": None,
}
UPTAKE = {"of": "uptake above threshold", **TOTALS}


def refuse(task: Task) -> Answer:
    """Write the results of a refused study."""
    task.output.mkdir(parents=True)
    content = {**REFUSAL, "study_instance_uid": current_study(task)}
    (task.output / "results.json").write_text(json.dumps(content))
    return Answer(2, "e" * 64)


def complete(task: Task) -> Answer:
    """Write a SEG and an SR that are no more than their identities."""
    task.output.mkdir(parents=True)
    study, seed = current_study(task), (task.input / "job.json").read_bytes()
    entries = [write_result(task.output, kind, study, seed) for kind in ("seg", "sr")]
    (task.output / "results.json").write_text(json.dumps(completed(study, entries)))
    return Answer(0, "e" * 64)


def current_study(task: Task) -> str:
    return str(json.loads((task.input / "job.json").read_bytes())["current"][0])


def write_result(folder: Path, kind: str, study: str, seed: bytes, patient: str = "P") -> dict[str, Any]:
    """Write an instance and return its line in results.json."""
    number = int.from_bytes(hashlib.sha256(seed + kind.encode()).digest()[:15], "big")
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = min(EXPECTED_CLASSES[kind]), f"2.25.{number}"
    data.StudyInstanceUID, data.SeriesInstanceUID = study, f"2.25.{number + 1}"
    data.PatientID, data.PatientName, data.PatientBirthDate = patient, "A^B", "19700101"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{kind}.dcm"
    data.save_as(path, enforce_file_format=True)
    return {
        "kind": kind,
        "path": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "sop_class_uid": data.SOPClassUID,
        "sop_instance_uid": data.SOPInstanceUID,
        "destination": "image" if kind == "sr" else None,
    }


def network(package: str, digest: str) -> dict[str, Any]:
    """How a network ran."""
    words = dict.fromkeys(("engine", "provider", "device", "precision"), "")
    numbers = {"tiles": 1, "tiles_skipped": 0, "batch": 1}
    return {
        "package": package,
        "sha256": digest,
        **words,
        "folds": [],
        "mirrored_axes": [],
        **numbers,
        "times_s": {},
    }


def completed(study: str, files: list[dict[str, Any]]) -> dict[str, Any]:
    """Content of results.json of a study without lesions."""
    return {
        **REFUSAL,
        "status": "completed",
        "reason": None,
        "study_instance_uid": study,
        "identity": "0" * 64,
        "time": "2026-01-01T00:00:00",
        "pet_series_instance_uid": "1.2",
        "ct_series_instance_uid": None,
        "tracer": {"code": None, "radionuclide": None, "evidence": ""},
        "protocol": {"name": "fdg", "title": "", "version": "1", "sha256": "0" * 64},
        "suv": {
            "units": "BQML",
            "suv_type": None,
            "decay_correction": "START",
            "reference_time": None,
            "reference_time_rule": "",
            "injection_time": None,
            "injection_time_rule": "",
            "uptake_time_min": None,
            "half_life_s": None,
            "injected_dose_mbq": None,
            "weight_kg": None,
            "suvbw_factor": {"min": 1.0, "max": 1.0},
            "suvlbm_ratio": {},
            "suvbsa_ratio": None,
            "corrected": [],
        },
        "segmentation": {
            "claim": "uptake above threshold",
            "method": "fixed_suv",
            "title": "",
            "version": "1",
            "parameters": [],
            "citation": "",
            "device": "cpu",
            "model_sha256": None,
            "network": None,
        },
        "organs": None,
        "removed": [],
        "references": [],
        "lesions": [],
        "totals": {"uptake": UPTAKE, "tumour": None, "withheld": "x", "sites": [], "organs": []},
        "quality": None,
        "percist": None,
        "removed_by": None,
        "heterogeneity_method": None,
        "reading": None,
        **{
            key: []
            for key in ("scales", "facts", "findings", "follow_ups", "trend", "predictions", "uncertain")
        },
        "files": files,
    }


class Canned:
    """A runner of a function; ``seconds`` is how long each study takes."""

    def __init__(self, function: Callable[[Task], Answer] = complete, seconds: float = 0.0) -> None:
        self._function, self._seconds = function, seconds
        self._stopped = threading.Event()
        self.order: list[str] = []

    def run(self, task: Task) -> Answer:
        self.order.append(current_study(task))
        if self._seconds:
            until = time.monotonic() + self._seconds
            if self._stopped.wait(max(0.0, until - time.monotonic())):
                raise StoppedError
        return self._function(task)

    def stop(self) -> None:
        self._stopped.set()
