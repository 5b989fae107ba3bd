"""Key Object rejection notes: valid, complete, and the same bytes again."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime
from types import SimpleNamespace

import pytest
from highdicom.ko import KeyObjectSelectionDocument
from pydicom import dcmread

from app.gateway.delivery.rejection import write_rejection
from operators.study.part10 import read_part10
from tests.app.gateway.finished import phantom_results
from tests.conftest import missing

MOMENT = datetime(2026, 3, 1, 12, 30, 15, 250_000)


@pytest.fixture(scope="module")
def study():
    return phantom_results()


def rejection(study, path, reason="superseded", moment=MOMENT, results=None):
    header = read_part10(study.files[0]).header
    rows = [
        SimpleNamespace(**{name: getattr(one, name) for name in one.__slots__}) for one in study.found.results
    ]
    return write_rejection(header, rows if results is None else results(rows), reason, moment, path)


@pytest.mark.parametrize(
    ("reason", "code", "meaning"),
    [
        ("superseded", "113001", "Rejected for Quality Reasons"),
        ("recalled", "113037", "Rejected for Patient Safety Reasons"),
    ],
)
def test_says_what_is_rejected_and_why(study, tmp_path, reason, code, meaning):
    sent = rejection(study, tmp_path / "note.dcm", reason)
    note = dcmread(sent.path)
    source = dcmread(study.files[0], stop_before_pixels=True)
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning) == (code, "DCM", meaning)
    assert note.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    for keyword in (
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyDate",
    ):
        assert note[keyword].value == source[keyword].value
    assert (note.Modality, note.ContentDate, note.ContentTime) == ("KO", "20260301", "123015.250000")
    (evidence,) = note.CurrentRequestedProcedureEvidenceSequence
    found = {
        (series.SeriesInstanceUID, one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID)
        for series in evidence.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert found == {
        (one.series_instance_uid, one.sop_class_uid, one.sop_instance_uid) for one in study.found.results
    }
    kinds = [one.ValueType for one in note.ContentSequence]
    assert sorted(kinds) == ["CODE", "COMPOSITE", "IMAGE", "TEXT"]


def test_highdicom_reads_its_references(study, tmp_path):
    sent = rejection(study, tmp_path / "note.dcm")
    note = KeyObjectSelectionDocument.from_dataset(dcmread(sent.path))
    for result in study.found.results:
        where = note.resolve_reference(result.sop_instance_uid)
        assert where == (study.uid, result.series_instance_uid, result.sop_instance_uid)


def test_the_same_bytes_again_and_other_uids_for_other_content(study, tmp_path):
    first = rejection(study, tmp_path / "a.dcm")
    again = rejection(study, tmp_path / "b.dcm", results=lambda rows: rows[::-1])
    assert first.path.read_bytes() == again.path.read_bytes()
    others = [
        rejection(study, tmp_path / "c.dcm", "recalled"),
        rejection(study, tmp_path / "d.dcm", moment=MOMENT.replace(second=16)),
        rejection(study, tmp_path / "e.dcm", results=lambda rows: rows[:1]),
    ]
    assert len({first.sop_instance_uid, *(one.sop_instance_uid for one in others)}) == 4


@pytest.mark.parametrize("reason", ["superseded", "recalled"])
def test_dciodvfy_finds_no_error(study, tmp_path, reason):
    if shutil.which("dciodvfy") is None:
        missing("dciodvfy (Debian package dicom3tools) is not installed")
    sent = rejection(study, tmp_path / "note.dcm", reason)
    said = subprocess.run(
        ["dciodvfy", "-new", sent.path], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in said.stderr.splitlines() if "Error" in line] == []
