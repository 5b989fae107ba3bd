"""From the PACS and back: a real patient through Orthanc and theramap, and nobody touches anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage, generate_uid
from sqlalchemy import select

from app.gateway.spool import Spool, hashed
from app.jobs.tables import DeliveryKind, DeliveryState, JobState, commitments
from tests.servers import (
    AUTO_ROUTE,
    ORTHANC,
    STORESCU,
    Orthanc,
    Theramap,
    free_port,
    quick_ae,
    require,
    storescu,
    wait_until,
)

QUIET_S = 1.0
SETTLED_S = 4 * QUIET_S
"""So long after a late instance a new revision would long be there."""
pytestmark = [pytest.mark.data, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Hospital:
    """The PACS, which routes everything stable to theramap, and theramap, which sends its results there."""

    orthanc: Orthanc
    theramap: Theramap
    ledger: Any
    images: list[Path]
    """Of STS_001: CT and PET."""
    late: Path
    """The PET slice at the edge, which comes late."""
    others: list[Path]
    """Of the same study, no images."""
    study: str

    @property
    def study_key(self) -> str:
        return self.folder.study_key

    @property
    def folder(self) -> Any:
        return Spool(self.theramap.data).folder("THERAMAP", self.study)

    def push(self, files: list[Path]) -> None:
        done = storescu(files, self.orthanc.dicom_port, called="PACS")
        assert done.returncode == 0, done.stderr

    def in_pacs(self, modality: str) -> set[str]:
        """SOP Instance UIDs of a modality in the PACS, by QIDO-RS."""
        return self.orthanc.sop_instance_uids(self.study, modality)

    def dataset(self, sop_instance_uid: str) -> Dataset:
        return pydicom.dcmread(BytesIO(self.orthanc.file(sop_instance_uid)))

    def wait_for_revision(self, revision: int) -> Any:
        """The job of a revision, when it is done and everything that follows from it is confirmed."""
        settled = {DeliveryState.CONFIRMED, DeliveryState.WITHDRAWN}

        def arrived() -> bool:
            job = self.ledger.jobs.latest(self.study_key)
            if job is None or job.revision < revision or job.state != JobState.DONE:
                return False
            every = self.ledger.deliveries.in_state(*DeliveryState)
            return any(one.job_id == job.id for one in every) and all(one.state in settled for one in every)

        wait_until(arrived, 90, f"revision {revision} to be delivered and confirmed", every_s=0.3)
        return self.ledger.jobs.latest(self.study_key)

    def wait_for_routing(self, sop_instance_uids: set[str]) -> None:
        """Until the PACS has routed these to theramap, and a new revision would have begun."""
        names = {f"{hashed(uid)}.dcm" for uid in sop_instance_uids}
        wait_until(lambda: names <= self.folder.files().keys(), 60, "the PACS to route them to theramap")
        time.sleep(SETTLED_S)


@pytest.fixture(scope="module")
def hospital(unpacked: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    require(ORTHANC, STORESCU)
    headers = {
        path: pydicom.dcmread(path, stop_before_pixels=True)
        for path in sorted(unpacked("sts/STS_001.tar.xz").rglob("*"))
        if path.is_file()
    }
    images = [path for path, header in headers.items() if header.Modality in {"CT", "PT"}]
    pet = [path for path in images if headers[path].Modality == "PT"]
    late = max(pet, key=lambda path: float(headers[path].ImagePositionPatient[2]))
    folder = tmp_path_factory.mktemp("hospital")
    port = free_port()
    with ExitStack() as stack:
        orthanc = stack.enter_context(
            Orthanc(folder / "orthanc", {"map": ("THERAMAP", port)}, lua=AUTO_ROUTE, stable_age_s=1)
        )
        theramap = stack.enter_context(Theramap(folder / "theramap", _settings(port, orthanc)))
        ledger = theramap.ledger()
        stack.callback(ledger.engine.dispose)
        yield Hospital(
            orthanc=orthanc,
            theramap=theramap,
            ledger=ledger,
            images=images,
            late=late,
            others=[path for path in headers if path not in images],
            study=str(headers[late].StudyInstanceUID),
        )


def _settings(port: int, orthanc: Orthanc) -> dict[str, Any]:
    return {
        "device": "cpu",
        "gateway": {
            "receiver": {"port": port, "processes": 2},
            "ae_titles": [quick_ae(quiet_s=QUIET_S, pacs="pacs")],
            "remotes": [orthanc.remote(commitment_timeout_s=20, retry={"first_s": 1})],
            "work": {"poll_s": 0.1},
        },
    }


def test_a_study_comes_back_as_seg_and_sr_committed_and_late_images_replace_them(
    hospital: Hospital, tmp_path: Path
) -> None:
    """The whole life of one study, in order."""
    # It is pushed into the PACS, all but one slice, and results come back by themselves.
    hospital.push([path for path in hospital.images if path != hospital.late])
    first = hospital.wait_for_revision(1)
    assert first.instances == len(hospital.images) - 1
    (seg,), (sr,) = hospital.in_pacs("SEG"), hospital.in_pacs("SR")
    _assert_committed(hospital, first.id)
    assert _referenced_images(hospital.dataset(seg)) <= _uids(hospital.images)
    assert "PredecessorDocumentsSequence" not in hospital.dataset(sr)

    # The PACS routes our own results back: they are known as ours and change nothing.
    hospital.wait_for_routing({seg, sr})
    assert hospital.ledger.jobs.latest(hospital.study_key).revision == 1

    # A late key object note and a late structure set change nothing.
    note = _key_object_note(hospital.images[0], tmp_path)
    hospital.push([note, *hospital.others])
    hospital.wait_for_routing(_uids([note, *hospital.others]))
    assert hospital.ledger.jobs.latest(hospital.study_key).revision == 1
    assert len(hospital.ledger.jobs.in_state()) == 1

    # A late PET slice reopens the study: new results that name the former ones, which are rejected.
    hospital.push([hospital.late])
    second = hospital.wait_for_revision(2)
    assert second.instances == len(hospital.images)
    (new_seg,) = hospital.in_pacs("SEG") - {seg}
    (new_sr,) = hospital.in_pacs("SR") - {sr}
    _assert_committed(hospital, second.id)
    predecessors = _evidence(hospital.dataset(new_sr).PredecessorDocumentsSequence)
    assert predecessors == {sr}
    (rejection,) = hospital.in_pacs("KO") - _uids([note])
    document = hospital.dataset(rejection)
    assert document.ConceptNameCodeSequence[0].CodeValue == "113001"
    assert _evidence(document.CurrentRequestedProcedureEvidenceSequence) == {seg, sr}
    assert _referenced_images(hospital.dataset(new_seg)) <= _uids(hospital.images)
    current = {row.sop_instance_uid for row in hospital.ledger.results.current(hospital.study_key)}
    assert {new_seg, new_sr} <= current
    assert not {seg, sr} & current

    # What came back is bit for bit what was computed, and these come back to us without a third revision.
    hospital.wait_for_routing({new_seg, new_sr, rejection})
    assert len(hospital.ledger.jobs.in_state()) == 2

    # A reader edits the segmentation in the PACS: it is measured, and its report supersedes.
    edited = _edited(hospital.dataset(new_seg), tmp_path)
    hospital.push([edited])
    third = hospital.wait_for_revision(3)
    (read_sr,) = hospital.in_pacs("SR") - {sr, new_sr}
    (read_seg,) = hospital.in_pacs("SEG") - {seg, new_seg} - _uids([edited])
    report, measured = hospital.dataset(read_sr), hospital.dataset(read_seg)
    assert _evidence(report.PredecessorDocumentsSequence) == {new_sr}
    assert "Edited by a reader" in str(report)
    before, after = pydicom.dcmread(edited), measured
    assert after.NumberOfFrames == before.NumberOfFrames
    assert [one.TrackingUID for one in after.SegmentSequence] == [before.SegmentSequence[0].TrackingUID]
    assert after.pixel_array.sum() == before.pixel_array.sum()
    _assert_committed(hospital, third.id)
    (reading,) = hospital.ledger.readings.since()
    assert (reading.job_id, reading.kind) == (third.id, "edited_segmentation")

    # Neither the edit nor what came of it makes a fourth revision when the PACS sends it back.
    hospital.wait_for_routing({read_sr, read_seg})
    assert len(hospital.ledger.jobs.in_state()) == 3
    _assert_no_identity_in_log(hospital)


def _edited(seg: Dataset, folder: Path) -> Path:
    """Our segmentation as an editor stores it anew: of the first lesion alone, its last frames taken away."""
    frames = [
        place
        for place, group in enumerate(seg.PerFrameFunctionalGroupsSequence)
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
    ]
    kept = frames[: max(1, len(frames) * 2 // 3)]
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)[kept]
    groups = [seg.PerFrameFunctionalGroupsSequence[place] for place in kept]
    seg.SegmentSequence, seg.PerFrameFunctionalGroupsSequence = seg.SegmentSequence[:1], groups
    seg.SegmentSequence[0].SegmentAlgorithmType = "SEMIAUTOMATIC"
    seg.NumberOfFrames = len(kept)
    seg.PixelData = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    seg.PixelData += bytes(len(seg.PixelData) % 2)
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    seg.SeriesInstanceUID, seg.SeriesDescription = generate_uid(), "Edited"
    seg.Manufacturer, seg.ManufacturerModelName = "Somebody else", "Editor"
    path = folder / "edited.dcm"
    seg.save_as(path, enforce_file_format=True)
    return path


def _assert_committed(hospital: Hospital, job: str) -> None:
    """Every delivery of a job is confirmed, and by an answer to our request for commitment."""
    found = [one for one in hospital.ledger.deliveries.of_job(job) if one.kind == DeliveryKind.RESULTS]
    assert [one.state for one in found] == [DeliveryState.CONFIRMED]
    with hospital.ledger.engine.connect() as connection:
        rows = connection.execute(select(commitments).where(commitments.c.delivery_id == found[0].id)).all()
    assert [row.failed for row in rows if row.answered_s is not None][-1:] == [[]]


def _assert_no_identity_in_log(hospital: Hospital) -> None:
    header = pydicom.dcmread(hospital.images[0], stop_before_pixels=True)
    log = hospital.theramap.log()
    for secret in (str(header.PatientID), str(header.StudyInstanceUID), str(header.SOPInstanceUID)):
        assert secret not in log


def _uids(files: list[Path]) -> set[str]:
    return {str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for path in files}


def _evidence(studies: Any) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for study in studies
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def _referenced_images(seg: Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for series in seg.ReferencedSeriesSequence
        for item in series.ReferencedInstanceSequence
    }


def _key_object_note(image: Path, folder: Path) -> Path:
    """A radiologist's note "For Referring Provider" on one image (PS3.16 TID 2010)."""
    source = pydicom.dcmread(image, stop_before_pixels=True)
    note = Dataset()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"):
        setattr(note, keyword, source.get(keyword, ""))
    for keyword in ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        setattr(note, keyword, source.get(keyword, ""))
    note.SOPClassUID = KeyObjectSelectionDocumentStorage
    note.SOPInstanceUID, note.SeriesInstanceUID = generate_uid(), generate_uid()
    note.Modality, note.SeriesNumber, note.InstanceNumber = "KO", 77, 1
    note.ContentDate, note.ContentTime, note.Manufacturer = "20240101", "120000", "somebody else"
    note.ReferencedPerformedProcedureStepSequence = []
    item, series, study = Dataset(), Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = source.SeriesInstanceUID, [item]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = source.StudyInstanceUID, [series]
    note.CurrentRequestedProcedureEvidenceSequence = [study]
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator = "113002", "DCM"
    title.CodeMeaning = "For Referring Provider"
    note.ConceptNameCodeSequence = [title]
    note.ValueType, note.ContinuityOfContent = "CONTAINER", "SEPARATE"
    content = Dataset()
    content.RelationshipType, content.ValueType = "CONTAINS", "IMAGE"
    content.ReferencedSOPSequence = [item]
    note.ContentSequence = [content]
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / "note.dcm"
    note.save_as(path, enforce_file_format=True)
    return path
