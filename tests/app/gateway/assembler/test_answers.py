"""A person's answer to our results: what is one, what becomes of it, and what changes nothing."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from app.gateway.assembler.assembler import Assembler
from app.gateway.settings import Gateway
from app.gateway.spool import Spool
from app.jobs.database import open_ledger, prepare_database
from app.jobs.exchange import Exchange
from app.jobs.readings import EDITED, VERIFIED_REPORT, answers_in, of_edited
from app.jobs.records.new import NewResult
from app.jobs.tables import JobState
from tests.app.gateway.spooled import small_study, spool_files
from tests.app.jobs.canned import completed, write_result

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
