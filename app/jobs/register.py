"""What the MAP wrote, checked before anybody relies on it, as records of the tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from pydicom import Dataset, dcmread, uid
from pydicom.errors import InvalidDicomError

from app.jobs.records.new import NewResult
from app.jobs.tables import JobState
from operators.reading.frames import SEGMENTATION_CLASSES
from operators.results.manifest import FILE_NAME, SCHEMA_VERSION
from operators.results.sr import SR_CLASS_UID

EXPECTED_CLASSES: Final = {
    "seg": SEGMENTATION_CLASSES,
    "sr": frozenset({SR_CLASS_UID}),
    "regions": SEGMENTATION_CLASSES,
    "key_images": frozenset(
        {
            uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
            uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
            uid.KeyObjectSelectionDocumentStorage,
        }
    ),
    "rtstruct": frozenset({uid.RTStructureSetStorage}),
    "pdf": frozenset({uid.EncapsulatedPDFStorage}),
    "parametric_map": frozenset({uid.ParametricMapStorage}),
}
"""By kind of result; other kinds are no instances."""
PATIENT: Final = ("PatientID", "PatientName", "PatientBirthDate")
IDENTITY: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", *PATIENT)
ESSENCE_FILE: Final = "essence.txt"
"""Written beside the results: digest of what the MAP selected."""


class ResultsError(Exception):
    """The results are not what they must be; nothing of them may be sent."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a study in a folder of results."""

    state: JobState
    """DONE or REFUSED."""
    code: str | None
    reason: str | None
    essence: str | None
    results: tuple[NewResult, ...]


def read_outcome(folder: Path, study_instance_uid: str) -> Found:
    """Read and check a folder of results.

    Parameters
    ----------
    folder : Path
        What the MAP wrote.
    study_instance_uid : str
        The study that it was for.

    Returns
    -------
    Found
        With every DICOM instance it lists, each read and compared with its line in ``results.json``.

    Raises
    ------
    ResultsError
        ``SEVERAL_PATIENTS`` or ``RESULTS_INVALID``.
    """
    manifest = _manifest(folder)
    if manifest["study_instance_uid"] not in (study_instance_uid, None):
        raise _invalid("they are of another study")
    essence_file = folder / ESSENCE_FILE
    essence = essence_file.read_text(encoding="ascii") if essence_file.is_file() else None
    if manifest["status"] == "refused":
        reason = manifest["reason"]
        return Found(JobState.REFUSED, reason["code"], reason["sentence"], essence, ())
    results = tuple(_results(folder, manifest, study_instance_uid))
    if not results:
        raise _invalid("there is no DICOM instance among them")
    return Found(JobState.DONE, None, None, essence, results)


def require_same_patient(folder: Path, found: Found, source: Path) -> None:
    """Compare the patient of every result with that of an instance of the study.

    Raises
    ------
    ResultsError
        ``RESULTS_INVALID``: a result names another patient.
    """
    study = _header(source)
    for result in found.results:
        header = _header(folder / result.name)
        ids = _text(study, "PatientID"), _text(header, "PatientID")
        names = _text(study, "PatientName"), _text(header, "PatientName")
        births = _text(study, "PatientBirthDate"), _text(header, "PatientBirthDate")
        # Without an ID the name must do; a birth date counts where both state one.
        known = ids if ids[0] else names
        if known[0] != known[1] or (all(births) and births[0] != births[1]):
            raise _invalid("a result names another patient than the study")


def _manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / FILE_NAME
    if not path.is_file():
        if any(folder.glob(f"*/{FILE_NAME}")):
            sentence = "The study holds images of more than one patient; nothing of it was reported."
            raise ResultsError("SEVERAL_PATIENTS", sentence)
        raise _invalid(f"there is no {FILE_NAME}")
    try:
        manifest: Mapping[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise _invalid(f"{FILE_NAME} is not JSON") from error
    if isinstance(manifest, dict) and manifest.get("schema_version") == "1.3":
        # computed before an upgrade: the one before differs in what it lacks
        manifest = {**manifest, "schema_version": SCHEMA_VERSION}
        if manifest.get("status") == "completed":
            manifest["reading"] = None
    if not _validator().is_valid(manifest):
        raise _invalid(f"{FILE_NAME} is not what its schema says")
    return manifest


@cache
def _validator() -> Draft202012Validator:
    text = files("operators.results").joinpath("results.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def _results(folder: Path, manifest: Mapping[str, Any], study_instance_uid: str) -> Iterator[NewResult]:
    algorithm, models = _made_by(manifest)
    for entry in manifest["files"]:
        if entry["kind"] not in EXPECTED_CLASSES:
            continue  # pictures are no instances
        path = folder / entry["path"]
        if path.parent != folder or not path.is_file():
            raise _invalid("a listed file is not there")
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise _invalid("a file is not as it was written")
        header = _header(path)
        stated = {name: _text(header, name) for name in IDENTITY}
        if stated["SOPClassUID"] not in EXPECTED_CLASSES[entry["kind"]]:
            raise _invalid("an instance has another SOP class than expected")
        if stated["SOPInstanceUID"] != entry["sop_instance_uid"]:
            raise _invalid("an instance has another UID than listed")
        if stated["StudyInstanceUID"] != study_instance_uid:
            raise _invalid("an instance is of another study")
        yield NewResult(
            sop_instance_uid=stated["SOPInstanceUID"],
            name=entry["path"],
            kind=entry["kind"],
            form=entry["destination"] or "",
            sop_class_uid=stated["SOPClassUID"],
            series_instance_uid=stated["SeriesInstanceUID"],
            study_instance_uid=stated["StudyInstanceUID"],
            digest=entry["sha256"],
            algorithm=algorithm,
            model=models,
        )


def _made_by(manifest: Mapping[str, Any]) -> tuple[str, str | None]:
    """The algorithm, NAME VERSION, and every model that had a part in it, of outcomes too, NAME@DIGEST."""
    segmentation = manifest["segmentation"]
    parts = (segmentation, manifest["organs"], manifest["removed_by"])
    packages = [
        *(
            (part["network"]["package"], part["network"]["sha256"])
            for part in parts
            if part and part["network"]
        ),
        *((one["model"], one["sha256"]) for one in manifest["predictions"] if one["value"] is not None),
    ]
    named = dict.fromkeys(f"{package.partition('@')[0]}@{digest}" for package, digest in packages)
    models = " ".join(named)
    name = segmentation["method"]
    if segmentation["network"]:
        name = segmentation["network"]["package"].partition("@")[0]
    return f"{name} {segmentation['version']}", models or None


def _header(path: Path) -> Dataset:
    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=list(IDENTITY))
    except (InvalidDicomError, OSError, ValueError, EOFError) as error:
        raise _invalid("an instance cannot be read") from error


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "").strip()


def _invalid(what: str) -> ResultsError:
    return ResultsError("RESULTS_INVALID", f"The results cannot be used: {what}.")
