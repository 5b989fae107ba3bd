"""Status reports: valid, readable, and the same bytes again."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime
from importlib.metadata import version

import pytest
from pydicom import dcmread

from app.gateway.delivery.status_report import write_status_report
from app.jobs.tables import JobState
from operators.study.part10 import read_part10
from tests.app.gateway.finished import phantom_results
from tests.conftest import missing

MOMENT = datetime(2026, 3, 1, 12, 30, 15)
REASON = "The PET states no half-life of its nuclide."


def report(path, state=JobState.REFUSED, code="NO_HALF_LIFE", reason=REASON):
    study = phantom_results()
    header = read_part10(next(iter(sorted(study.images.rglob("*.dcm"))))).header
    return write_status_report(header, study.uid, state, code, reason, MOMENT, path)


def texts(path):
    return [item.TextValue for item in dcmread(path).ContentSequence if item.ValueType == "TEXT"]


def test_says_that_there_are_no_results_and_why(tmp_path):
    sent = report(tmp_path / "report.dcm")
    found = dcmread(sent.path)
    status, reason, software = texts(sent.path)
    assert "did not produce results" in status
    assert "refused" in status
    assert "Research software, not a medical device" in status
    assert reason == f"{REASON} (NO_HALF_LIFE)"
    assert software == f"theramap {version('theramap')}"
    assert (found.VerificationFlag, found.CompletionFlag) == ("UNVERIFIED", "COMPLETE")
    assert (found.SOPClassUID, found.Modality) == ("1.2.840.10008.5.1.4.1.1.88.11", "SR")
    assert found.StudyInstanceUID == phantom_results().uid
    assert str(found.PatientID) == "PHANTOM-1"


def test_a_parked_study_is_put_aside_and_not_refused(tmp_path):
    sent = report(tmp_path / "report.dcm", JobState.PARKED, "", "")
    assert "put aside" in texts(sent.path)[0]
    assert texts(sent.path)[1] == "No reason is known. (UNKNOWN)"


def test_a_long_reason_with_control_characters_is_made_fit(tmp_path):
    sent = report(tmp_path / "report.dcm", reason="a\x00b\x1b\n" * 1000 + "ü")
    assert len(texts(sent.path)[1]) <= 1024 + len(" (NO_HALF_LIFE)")
    assert "\x00" not in texts(sent.path)[1]


def test_the_same_bytes_again(tmp_path):
    first, again = report(tmp_path / "a.dcm"), report(tmp_path / "b.dcm")
    assert first.path.read_bytes() == again.path.read_bytes()
    assert report(tmp_path / "c.dcm", code="OTHER").sop_instance_uid != first.sop_instance_uid


@pytest.mark.parametrize("state", [JobState.REFUSED, JobState.PARKED])
def test_dciodvfy_and_dsrdump_find_no_error(tmp_path, state):
    for program in ("dciodvfy", "dsrdump"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    sent = report(tmp_path / "report.dcm", state)
    said = subprocess.run(
        ["dciodvfy", "-new", sent.path], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in said.stderr.splitlines() if "Error" in line] == []
    shown = subprocess.run(
        ["dsrdump", "+Pl", sent.path], capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.returncode == 0
    assert REASON in shown.stdout
    assert "unverified" in shown.stdout.lower()
