"""A person's answer to our results: what is one, what becomes of it, and what changes nothing."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from app.gateway.assembler import answers, revision
from app.gateway.assembler.assembler import Assembler
from app.gateway.assembler.ours import is_written_by_theramap
from app.gateway.settings import Gateway
from app.gateway.spool import Spool
from app.jobs.database import open_ledger, prepare_database
from app.jobs.exchange import Exchange
from app.jobs.readings import EDITED, VERIFIED_REPORT, answers_in, of_edited
from app.jobs.records import jobs as records
from app.jobs.records.new import NewReading, NewResult
from app.jobs.tables import DeliveryKind, JobState
from operators.domain import Assessed
from operators.results.seg import write_seg
from tests.app.gateway.spooled import small_study, spool_files
from tests.app.jobs.canned import completed, write_result
from tests.operators.results.conftest import build, profile

__all__ = ["profile"]  # a fixture

NOW = 1_760_000_000.0
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.33"
PATIENT = "PRIOR-1"
LESIONS = {"2.25.1": 2.0, "2.25.2": 3.0, "2.25.3": 5.0}
"""Tracking UIDs of our lesions and their volumes, ml."""


class Site:
    """A gateway that has delivered the results of one study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ae = {"title": "THERAMAP", "quiet_s": 60.0, "quiet_complete_s": 60.0}
        self.settings = Gateway.model_validate({"data": folder / "data", "ae_titles": [ae]})
        self.spool = Spool(self.settings.data)
        prepare_database(self.settings.database_url)
        self.ledger = open_ledger(self.settings.database_url)
        self.exchange = Exchange(self.settings.exchange_url)
        images = sorted(small_study(folder / "study", datetime(2026, 1, 5, 10, 0)).glob("*"))
        header = dcmread(images[0], stop_before_pixels=True)
        self.uid, self.patient = str(header.StudyInstanceUID), header
        self.study = self.spool.folder("THERAMAP", self.uid)
        self.now = NOW
        self.restart()
        self.send(images)
        self.results = self.finish(self.tick())

    def restart(self) -> None:
        self.assembler = Assembler(self.settings, self.spool, self.ledger, self.exchange)

    def send(self, files: list[Path]) -> None:
        self.now += 1000
        spool_files(self.spool, files, arrival_s=self.now)

    def tick(self) -> Any:
        self.assembler.tick(self.now + 61)
        return self.ledger.jobs.latest(self.study.study_key)

    def finish(self, job: Any, reading: dict[str, Any] | None = None) -> Path:
        """End a job as the worker does, with our lesions."""
        self.ledger.jobs.start(job.id, "w")
        output = self.folder / f"output-{job.revision}"
        output.mkdir()
        lines = [write_result(output, kind, self.uid, job.id.encode(), PATIENT) for kind in ("seg", "sr")]
        for line in lines:
            data = dcmread(output / line["path"])
            data.PatientBirthDate = self.patient.get("PatientBirthDate", "")
            data.save_as(output / line["path"])
        content = completed(self.uid, []) | {"reading": reading}
        content["files"] = lines
        content["lesions"] = [{"tracking_uid": uid, "volume_ml": ml} for uid, ml in LESIONS.items()]
        (output / "results.json").write_text(json.dumps(content))
        self.exchange.put_output(job.id, output)
        self.ledger.jobs.end(job.id, JobState.DONE, found=[self._result(line) for line in lines])
        return output

    def _result(self, line: dict[str, Any]) -> NewResult:
        return NewResult(
            line["sop_instance_uid"], line["path"], line["kind"], "", line["sop_class_uid"], "1.2.7",
            self.uid, line["sha256"], "fixed_suv 1", None,
        )  # fmt: skip

    def answer(self, number: int, named: list[str], kind: str = SEG, **changes: Any) -> Path:
        """Write what a person sends back."""
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID = kind, f"1.2.9.{number}"
        data.StudyInstanceUID, data.SeriesInstanceUID = self.uid, f"1.2.8.{number}"
        data.PatientID, data.PatientName = self.patient.PatientID, self.patient.PatientName
        data.PatientBirthDate = self.patient.get("PatientBirthDate", "")
        data.ContentDate, data.ContentTime = "20260106", f"1{number:05d}"
        if kind == SEG:
            data.SegmentSequence = Sequence([Dataset() for _ in named])
            for place, (segment, uid) in enumerate(zip(data.SegmentSequence, named, strict=True), 1):
                segment.SegmentNumber, segment.TrackingUID = place, uid
        else:
            data.VerificationFlag, data.ValueType = "VERIFIED", "CONTAINER"
            data.ContentSequence = Sequence([self._group(uid) for uid in named])
        for keyword, value in changes.items():
            setattr(data, keyword, value)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = self.folder / f"answer-{number}.dcm"
        data.save_as(path, enforce_file_format=True)
        return path

    def _group(self, uid: str) -> Dataset:
        group, item, concept = Dataset(), Dataset(), Dataset()
        concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "112040", "DCM", "Tracking"
        item.ValueType, item.UID, item.ConceptNameCodeSequence = "UIDREF", uid, Sequence([concept])
        group.ValueType, group.ContentSequence = "CONTAINER", Sequence([item])
        return group

    def instances(self, job: Any) -> set[str]:
        kept = self.exchange.fetch_input(job.study_key, job.manifest_digest, self.folder)
        manifest = json.loads((kept.parent / "manifest.json").read_bytes())
        return {one["sop_instance_uid"] for one in manifest}


@pytest.fixture
def quantified() -> Any:
    """A small measured PET."""
    return build()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_is_no_answer_changes_nothing(site: Site) -> None:
    foreign = site.answer(1, ["2.25.99"])
    nameless = site.answer(2, [])
    unverified = site.answer(3, list(LESIONS), SR, VerificationFlag="UNVERIFIED")
    for file in (*sorted(site.results.glob("*.dcm")), foreign, nameless, unverified):
        site.send([file])
        assert site.tick().revision == 1
    assert site.ledger.readings.since() == []
    assert site.ledger.incidents.latest() == []


def test_an_edited_segmentation_is_a_revision_and_a_second_edit_another(site: Site) -> None:
    site.send([site.answer(1, ["2.25.1"])])
    second = site.tick()
    assert second.revision == 2
    assert second.instances == 9
    assert "1.2.9.1" in site.instances(second)
    site.restart()
    assert site.tick().revision == 2
    site.finish(second)
    site.send([site.answer(5, ["2.25.1", "2.25.2"])])
    third = site.tick()
    assert third.revision == 3
    kept = site.exchange.fetch_input(third.study_key, third.manifest_digest, site.folder)
    assert answers_in(kept.iterdir()) == [{"sop_instance_uid": "1.2.9.1"}, {"sop_instance_uid": "1.2.9.5"}]
    site.finish(third)
    site.restart()
    assert site.tick().revision == 3


@pytest.mark.parametrize("by", ["predecessor", "series"])
def test_an_edit_without_tracking_is_known_by_where_it_comes_from(site: Site, by: str) -> None:
    ours = dcmread(site.results / "seg.dcm")
    if by == "series":
        changes: dict[str, Any] = {"SeriesInstanceUID": "1.2.7"}  # as the tables have it
    else:
        study, series, one = Dataset(), Dataset(), Dataset()
        one.ReferencedSOPInstanceUID = ours.SOPInstanceUID
        series.ReferencedSOPSequence = Sequence([one])
        study.ReferencedSeriesSequence = Sequence([series])
        changes = {"PredecessorDocumentsSequence": Sequence([study])}
    site.send([site.answer(1, [], **changes)])
    assert site.tick().revision == 2


def test_a_verified_report_of_other_lesions_is_not_recorded(site: Site) -> None:
    site.send([site.answer(1, ["2.25.88"], SR, SeriesInstanceUID="1.2.7")])
    assert site.tick().revision == 1
    assert site.ledger.readings.since() == []


def test_an_answer_to_a_cleaned_study_runs_on_what_the_exchange_has(site: Site) -> None:
    shutil.rmtree(site.study.path)
    site.assembler.tick(site.now)
    site.send([site.answer(1, ["2.25.3"])])
    job = site.tick()
    assert (job.revision, job.instances) == (2, 9)


def test_another_patients_answer_is_not_used_and_is_an_incident(site: Site) -> None:
    site.send([site.answer(1, ["2.25.1"], PatientID="SOMEBODY-ELSE")])
    assert site.tick().revision == 1
    (incident,) = site.ledger.incidents.latest()
    assert incident.code == "ANSWER_OTHER_PATIENT"
    assert "SOMEBODY" not in incident.sentence


def test_a_verified_report_is_recorded_once_and_makes_no_job(site: Site) -> None:
    site.send([site.answer(1, ["2.25.1", "2.25.3", "2.25.77"], SR)])
    assert site.tick().revision == 1
    site.restart()
    site.tick()
    (reading,) = site.ledger.readings.since()
    assert (reading.kind, reading.lesions_before, reading.accepted) == (VERIFIED_REPORT, 3, 2)
    assert (reading.rejected, reading.added) == (1, 1)
    assert (reading.volume_before_ml, reading.volume_after_ml) == (10.0, None)
    assert reading.algorithm == "fixed_suv 1"


def test_a_truncated_answer_changes_nothing(site: Site) -> None:
    path = site.answer(1, ["2.25.1"])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 20])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.app.gateway.spooled.data_set_offset", lambda _: whole.index(b"\x08\x00\x16\x00"))
        site.send([path])
    assert site.tick().revision == 1


def test_the_record_of_an_edit_counts_lesions(site: Site) -> None:
    judged = [
        ("accepted", [1], [1], 1.0),
        ("changed", [2], [2], 0.8),
        ("merged", [3, 4], [3], 0.9),
        ("rejected", [5], [], None),
        ("added", [], [4], None),
    ]
    reading = {
        "sop_instance_uid": "1.2.9.1",
        "called_before": "lesion",
        "lesions_before": 5,
        "lesions_after": 4,
        "volume_before_ml": 10.0,
        "volume_after_ml": 12.0,
        "dice": 0.85,
        "judged": [
            {"judgement": name, "before": before, "after": after, "dice": dice}
            for name, before, after, dice in judged
        ],
    }
    job = f"{site.study.study_key}-r1"
    new = of_edited(job, completed(site.uid, []) | {"reading": reading})
    assert new is not None
    assert site.ledger.readings.record(new)
    assert not site.ledger.readings.record(new)
    (row,) = site.ledger.readings.since()
    assert (row.kind, row.accepted, row.changed, row.regrouped, row.rejected, row.added) == (
        EDITED, 1, 1, 2, 1, 1,
    )  # fmt: skip
    assert row.changed_dice == [0.8]
    assert of_edited(job, completed(site.uid, [])) is None


def _codes(site: Site) -> list[str]:
    return [one.code for one in site.ledger.incidents.latest()]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"SOPInstanceUID": "1.2.03.4"}, "ANSWER_INVALID_UID"),
        ({"SeriesInstanceUID": "1.2.66.1"}, "ANSWER_IN_IMAGE_SERIES"),
    ],
)
def test_an_edit_that_would_spoil_the_study_is_an_incident(
    site: Site, changes: dict[str, str], code: str
) -> None:
    _tell(site, series=[{"series_instance_uid": "1.2.66.1", "modality": "CT"}])
    site.send([site.answer(1, ["2.25.1"], **changes)])
    assert site.tick().revision == 1
    assert _codes(site) == [code]
    assert all(value not in site.ledger.incidents.latest()[0].sentence for value in changes.values())


def test_the_job_names_the_latest_hundred_edits_of_valid_uid(site: Site, tmp_path: Path) -> None:
    for number in range(103):
        site.answer(number, ["2.25.1"])
    site.answer(200, ["2.25.1"], SOPInstanceUID="1.2.03.4")
    named = answers_in(site.folder.glob("answer-*.dcm"))
    assert [one["sop_instance_uid"] for one in named] == [f"1.2.9.{number}" for number in range(3, 103)]


def test_the_second_edit_must_be_of_the_patient_of_the_first(site: Site) -> None:
    ours = dcmread(site.results / "seg.dcm")
    ours.PatientBirthDate = ""  # the images state none: each birth date alone agrees with it
    _replace_output(site, ours)
    site.send([site.answer(1, ["2.25.1"], PatientBirthDate="19500101")])
    second = site.tick()
    assert second.revision == 2
    site.send([site.answer(2, ["2.25.1"], PatientBirthDate="19600202")])
    assert site.tick().revision == 2
    assert _codes(site) == ["ANSWER_OTHER_PATIENT"]


def test_an_answer_to_results_without_a_readable_instance_is_not_called_another_patients(site: Site) -> None:
    (_output(site) / "seg.dcm").write_bytes(b"damaged")
    site.send([site.answer(1, ["2.25.1"])])
    assert site.tick().revision == 1
    assert _codes(site) == ["ANSWER_UNCHECKED"]


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_an_edit_that_cannot_be_read_now_is_read_later(site: Site, fault: Exception) -> None:
    site.send([site.answer(1, ["2.25.1"])])

    def fail(*_: Any, **__: Any) -> None:
        raise fault

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pydicom.dcmread", fail)
        assert site.tick().revision == 1
    for study in site.assembler._known.values():
        study.not_before_s = 0.0  # the pause after a fault is over
    assert site.tick().revision == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"lesions": [{}]}', '{"files": [{"kind": "seg"}]}'])
def test_results_that_cannot_be_understood_are_as_if_cleaned_away(site: Site, content: str) -> None:
    (_output(site) / "results.json").write_text(content)
    site.send([site.answer(1, ["2.25.1"])])
    assert site.tick().revision == 1
    assert _codes(site) == []


def test_a_report_on_results_of_another_kind_is_not_counted(site: Site) -> None:
    _tell(site, segmentation={})
    site.send([site.answer(1, ["2.25.1"], SR)])
    assert site.tick().revision == 1
    assert site.ledger.readings.since() == []
    assert _codes(site) == []


def test_a_report_may_be_as_large_as_reports_are_and_no_larger(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "REPORT_BYTES", 100)
    site.send([site.answer(1, ["2.25.1"], SR), site.answer(2, ["2.25.1"])])
    assert site.tick().revision == 2
    assert site.ledger.readings.since() == []


@pytest.mark.parametrize(("bomb", "revisions"), [(False, 2), (True, 1)])
def test_a_deflated_edit_is_read_unless_it_inflates_beyond_measure(
    site: Site, monkeypatch: pytest.MonkeyPatch, bomb: bool, revisions: int
) -> None:
    if bomb:
        monkeypatch.setattr(answers, "SEGMENTATION_BYTES", 100_000)
    path = site.answer(1, ["2.25.1"])
    data = dcmread(path)
    data.SegmentSequence[0].SegmentDescription = "A"
    data.add_new(0x00091010, "OB", bytes(200_000))  # before the segments
    data.add_new(0x00090010, "LO", "ZEROS")
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    assert path.stat().st_size < 10_000
    site.send([path])
    assert site.tick().revision == revisions


def test_a_study_that_is_open_is_not_weighed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.send([site.answer(1, ["2.25.1"])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.spool, "open_studies", lambda: {(site.study.ae_title, site.study.key)})
        patch.setattr(answers.Answers, "among", None)  # would fail
        assert site.tick().revision == 1
    assert _codes(site) == []
    assert site.tick().revision == 2


def _ours(path: Path, quantified: Any, profile: Any) -> Dataset:
    (file,) = write_seg(Assessed(quantified), profile, path)
    return dcmread(file.path)


def test_what_theramap_wrote_elsewhere_is_no_answer_and_an_edit_of_it_is(
    site: Site, quantified: Any, profile: Any, tmp_path: Path
) -> None:
    written = _ours(tmp_path, quantified, profile)
    assert is_written_by_theramap(written)
    _adopt(site, written)
    foreign = tmp_path / "foreign.dcm"
    written.save_as(foreign)
    site.send([foreign])
    assert site.tick().revision == 1
    assert _codes(site) == []
    written.SOPInstanceUID = written.file_meta.MediaStorageSOPInstanceUID = UID("2.25.991")
    written.SeriesInstanceUID = "2.25.992"
    written.Manufacturer, written.ManufacturerModelName = "Somebody else", "Editor"
    written.save_as(foreign)
    site.send([foreign])
    assert site.tick().revision == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"SOPInstanceUID": "1.2.826.0.1.3680043.8.498.1", "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.2"},
        {"ManufacturerModelName": "https://github.com/OHIF"},
        {"ContentLabel": "SEGMENTATION"},
        {"ContentDate": "20260301", "ContentTime": "120000"},
        {"SeriesTime": "120001.5"},
        {"SoftwareVersions": "5"},
        {"ContributingEquipmentSequence": []},
    ],
)
def test_what_an_editor_writes_anew_makes_it_no_longer_ours(
    quantified: Any, profile: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    written = _ours(tmp_path, quantified, profile)
    for keyword, value in changes.items():
        setattr(written, keyword, value)
    assert not is_written_by_theramap(written)


def test_a_study_takes_so_many_edits_and_no_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revision, "MOST_EDITS", 2)
    for number in (5, 4):
        site.send([site.answer(number, ["2.25.1"])])
        site.finish(site.tick())
    assert len(site.ledger.jobs.of_study(site.study.study_key)) == 3
    for number in (1, 2):
        site.send([site.answer(number, ["2.25.1"])])
        assert site.tick().revision == 3
        site.restart()
    assert _codes(site) == ["ANSWERS_TOO_MANY"]
    shutil.rmtree(site.study.path)  # cleaned away: how many there were is told by the exchange
    site.send([site.answer(3, ["2.25.1"])])
    assert site.tick().revision == 3


def test_a_rerun_has_the_edit_that_waits_for_its_revision(site: Site) -> None:
    site.send([site.answer(1, ["2.25.1"])])
    job = revision.rerun(site.settings, site.ledger, site.spool, site.exchange, site.uid)
    assert "1.2.9.1" in site.instances(site.ledger.jobs.get(job))
    assert site.tick().revision == 2


def _adopt(site: Site, instance: Dataset) -> None:
    """Make an instance one of the study whose lesions it has."""
    instance.StudyInstanceUID, instance.PatientID = site.uid, site.patient.PatientID
    instance.PatientName = site.patient.PatientName
    instance.PatientBirthDate = site.patient.get("PatientBirthDate", "")
    for segment in instance.SegmentSequence:
        segment.TrackingUID = "2.25.1"


def _output(site: Site) -> Path:
    """The folder that the exchange gives of the first revision, for a test to change."""
    folder = site.exchange.fetch_output(f"{site.study.study_key}-r1", site.folder)
    folder.chmod(0o700)
    for path in folder.iterdir():
        path.chmod(0o600)
    return folder


def _tell(site: Site, **changes: Any) -> None:
    path = _output(site) / "results.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def _replace_output(site: Site, instance: Dataset) -> None:
    instance.save_as(_output(site) / "seg.dcm")


def test_a_reading_is_recorded_with_its_jobs_end_or_not_at_all(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = NewReading(
        answer_uid="1.2.9.1", job_id="", kind=EDITED, algorithm="fixed_suv 1", called_before="lesion",
        lesions_before=3, lesions_after=1, accepted=1, changed=0, rejected=2, regrouped=0, added=0,
        volume_before_ml=10.0, volume_after_ml=2.0, dice=0.5, changed_dice=[],
    )  # fmt: skip
    for number in (1, 2):
        site.send([site.answer(number, ["2.25.1"])])
        job = site.tick()
        reading = replace(new, job_id=job.id)
        to = {"pacs": DeliveryKind.RESULTS}
        site.ledger.jobs.start(job.id, "w")
        with monkeypatch.context() as patch:
            patch.setattr(records, "add_delivery", lambda *_: 1 / 0)  # dies in the transaction
            with pytest.raises(ZeroDivisionError):
                site.ledger.jobs.end(job.id, JobState.DONE, destinations=to, reading=reading)
        assert site.ledger.jobs.get(job.id).state == JobState.RUNNING
        assert len(site.ledger.readings.since()) == (0 if number == 1 else 1)
        # the second job measures the same answer again: it counts once, and the job ends
        assert site.ledger.jobs.end(job.id, JobState.DONE, destinations=to, reading=reading) == JobState.DONE
        assert [row.answer_uid for row in site.ledger.readings.since()] == ["1.2.9.1"]
    (row,) = site.ledger.readings.since()
    assert row.job_id.endswith("-r2")
