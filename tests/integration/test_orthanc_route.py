"""The auto-routing that a site copies, run by Orthanc itself: what it sends to theramap, and what not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, generate_uid
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from app.gateway.spool import Spool, hashed
from app.jobs.tables import JobState
from tests.servers import (
    LOOPBACK,
    ORTHANC,
    STORESCU,
    Orthanc,
    Theramap,
    free_port,
    phantom_study,
    quick_ae,
    require,
    storescu,
    wait_until,
)

RECIPE = Path(__file__).parents[2] / "map" / "recipes" / "orthanc"
MODALITY, AE_TITLE = "theramap", "THERAMAP"
CALLED_WITHIN_S = 1.5
"""So long after a study is stable its callback has long been called."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class House:
    """Orthanc with the recipe's script and settings, and theramap."""

    orthanc: Orthanc
    theramap: Theramap
    ledger: Any

    def push(self, *files: Path) -> None:
        done = storescu(list(files), self.orthanc.dicom_port, called="PACS")
        assert done.returncode == 0, done.stderr

    def spooled(self, study: str) -> set[str]:
        """Names of the files that theramap has of a study."""
        folder = Spool(self.theramap.data).folder(AE_TITLE, study)
        return set(folder.files()) if folder.path.exists() else set()

    def transfers(self) -> list[dict[str, Any]]:
        """Transfers that the script ordered, the oldest first."""
        jobs = [self.orthanc.get(f"/jobs/{one}") for one in self.orthanc.get("/jobs")]
        sent = [one for one in jobs if one["Type"] == "DicomModalityStore"]
        return sorted(sent, key=lambda one: str(one["CreationTime"]))

    def wait_for_revision(self, study: str, revision: int) -> None:
        key = Spool(self.theramap.data).folder(AE_TITLE, study).study_key

        def done() -> bool:
            job = self.ledger.jobs.latest(key)
            return job is not None and job.revision == revision and job.state == JobState.DONE

        wait_until(done, 90, f"revision {revision}")

    def wait_for_result(self, study: str, modality: str, known: set[str] | None = None) -> Dataset:
        """The instance of a modality that is new in Orthanc."""

        def new() -> set[str]:
            return self.orthanc.sop_instance_uids(study, modality) - (known or set())

        wait_until(new, 60, f"{modality} in Orthanc")
        (found,) = new()
        return pydicom.dcmread(BytesIO(self.orthanc.file(found)))

    def wait_until_stable(self, study: str) -> None:
        """Until Orthanc calls all that it has of a study stable, and the script has been called for it."""
        (found,) = self.orthanc.lookup(study)
        wait_until(lambda: self.orthanc.get(found["Path"])["IsStable"], 30, "the study to be stable")
        time.sleep(CALLED_WITHIN_S)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    require(ORTHANC, STORESCU)
    folder = tmp_path_factory.mktemp("house")
    port = free_port()
    fragment = json.loads((RECIPE / "orthanc.json").read_text())
    its_own = ("LuaHeartBeatPeriod", "UnknownSopClassAccepted", "MaximumPduLength")
    settings = {**{name: fragment[name] for name in its_own}, "ExecuteLuaEnabled": True}
    script = (RECIPE / "theramap.lua").read_text()
    with ExitStack() as stack:
        orthanc = stack.enter_context(
            Orthanc(folder / "orthanc", {MODALITY: (AE_TITLE, port)}, lua=script, settings=settings)
        )
        theramap = stack.enter_context(Theramap(folder / "theramap", _settings(port, orthanc)))
        ledger = theramap.ledger()
        stack.callback(ledger.engine.dispose)
        yield House(orthanc, theramap, ledger)


def _settings(port: int, orthanc: Orthanc) -> dict[str, Any]:
    return {
        "device": "cpu",
        "gateway": {
            "receiver": {"port": port, "processes": 1},
            "ae_titles": [quick_ae()],
            "remotes": [orthanc.remote(commitment_timeout_s=20, retry={"first_s": 1})],
            "work": {"poll_s": 0.1},
        },
    }


def test_a_pet_study_is_sent_once_its_results_are_not_sent_back_and_a_readers_answers_are(
    house: House, tmp_path: Path
) -> None:
    """The life of one study, in order."""
    files = sorted(phantom_study(tmp_path / "pet", 1).rglob("*.dcm"))
    study = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    magnetic = _magnetic_resonance(files, tmp_path)
    house.push(*magnetic, *files)
    house.wait_for_revision(study, 1)
    seg, sr = (house.wait_for_result(study, modality) for modality in ("SEG", "SR"))

    # Of the MR study, which came first, nothing was sent; of the PET study every image, by one transfer.
    other = str(pydicom.dcmread(magnetic[0]).StudyInstanceUID)
    house.wait_until_stable(other)
    assert not house.spooled(other)
    (transfer,) = house.transfers()
    assert transfer["Content"]["InstancesCount"] == len(files)

    # The results came back into a study that is stable anew, and were not sent.
    house.wait_until_stable(study)
    assert len(house.transfers()) == 1
    assert not {f"{hashed(str(one.SOPInstanceUID))}.dcm" for one in (seg, sr)} & house.spooled(study)

    # A segmentation that an editor stored anew is sent, alone, and measured.
    edited = _edited(seg, tmp_path)
    house.push(edited)
    house.wait_for_revision(study, 2)
    assert [one["Content"]["InstancesCount"] for one in house.transfers()] == [len(files), 1]
    (reading,) = house.ledger.readings.since()
    assert reading.kind == "edited_segmentation"
    new_sr = house.wait_for_result(study, "SR", {str(sr.SOPInstanceUID)})
    assert "Edited by a reader" in str(new_sr)

    # So is a report that a physician verified.
    house.push(_verified(new_sr, tmp_path))
    wait_until(lambda: len(house.ledger.readings.since()) == 2, 30, "the verified report to be recorded")
    house.wait_until_stable(study)
    assert [one["Content"]["InstancesCount"] for one in house.transfers()] == [len(files), 1, 1]


@dataclass
class Receiver:
    """A storage SCP in theramap's place, which remembers what it took and refuses what it is told to."""

    port: int
    refused: set[str] = field(default_factory=set)
    taken: list[str] = field(default_factory=list)
    server: Any = None

    def start(self) -> None:
        entity = AE(ae_title=AE_TITLE)
        entity.supported_contexts = StoragePresentationContexts
        entity.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, self._store)]
        self.server = entity.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server = None

    def _store(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid in self.refused:
            return 0xA900
        self.taken.append(uid)
        return 0x0000


@pytest.fixture
def route(tmp_path: Path) -> Iterator[tuple[Orthanc, Receiver]]:
    """Orthanc with the script, and a receiver that does not answer yet."""
    require(ORTHANC, STORESCU)
    receiver = Receiver(free_port())
    settings = {"ExecuteLuaEnabled": True, "JobsHistorySize": 10}  # Orthanc's own, smaller than the recipe's
    script = (RECIPE / "theramap.lua").read_text()
    modalities = {MODALITY: (AE_TITLE, receiver.port)}
    with Orthanc(tmp_path / "orthanc", modalities, lua=script, settings=settings) as orthanc:
        yield orthanc, receiver
        receiver.stop()


def _studies(folder: Path, count: int, day: date) -> list[list[Path]]:
    """PET studies of two slices each."""
    (one,) = [sorted(phantom_study(folder / "one", 7, slices=2).rglob("*.dcm"))]
    studies = []
    for number in range(count):
        uids: dict[str, str] = {}
        paths = []
        for path in one:
            image = pydicom.dcmread(path)
            image.StudyInstanceUID = uids.setdefault("study", generate_uid())
            image.SeriesInstanceUID = uids.setdefault(image.SeriesInstanceUID, generate_uid())
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            image.PatientID, image.StudyDate = f"P{number}", day.strftime("%Y%m%d")
            paths.append(folder / f"{number}-{path.name}-{len(paths)}.dcm")
            image.save_as(paths[-1])
        studies.append(paths)
    return studies


def _uids(paths: list[Path]) -> set[str]:
    return {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in paths}


def _push(orthanc: Orthanc, paths: list[Path]) -> None:
    done = storescu(paths, orthanc.dicom_port, called="PACS")
    assert done.returncode == 0, done.stderr


def _stable(orthanc: Orthanc, count: int) -> bool:
    studies = orthanc.get("/studies?expand")
    return len(studies) == count and all(one["IsStable"] for one in studies)


def test_whatever_waits_while_theramap_is_away_is_sent_by_the_next_heartbeat(
    route: tuple[Orthanc, Receiver], tmp_path: Path
) -> None:
    """More studies than Orthanc remembers jobs of; no transfer is tried while nobody answers."""
    orthanc, receiver = route
    studies = _studies(tmp_path, 14, date(2020, 1, 2))
    _push(orthanc, [path for paths in studies for path in paths])
    wait_until(lambda: _stable(orthanc, 14), 60, "the studies to be stable")
    wait_until(lambda: "studies that wait: 14" in orthanc.log(), 60, "all to wait")
    assert not [one for one in orthanc.get("/jobs?expand") if one["Type"] == "DicomModalityStore"]
    (gone,) = orthanc.lookup(str(pydicom.dcmread(studies[0][0]).StudyInstanceUID))
    orthanc.delete(gone["Path"])
    receiver.start()
    orthanc.run_lua("OnHeartBeat()")  # this release of Orthanc may be older than the heartbeat
    wanted = set().union(*(_uids(paths) for paths in studies[1:]))
    wait_until(lambda: set(receiver.taken) >= wanted, 60, "all to be sent")
    assert sorted(receiver.taken) == sorted(wanted)  # each once
    time.sleep(CALLED_WITHIN_S)
    orthanc.run_lua("OnHeartBeat()")
    time.sleep(CALLED_WITHIN_S)
    assert sorted(receiver.taken) == sorted(wanted)
    assert "P3" not in orthanc.log()


def test_an_instance_that_is_refused_holds_back_only_itself_and_is_tried_ever_later(
    route: tuple[Orthanc, Receiver], tmp_path: Path
) -> None:
    orthanc, receiver = route
    (paths,) = _studies(tmp_path, 1, date(2020, 1, 2))
    refused = next(uid for uid in sorted(_uids(paths)))
    receiver.refused = {refused}
    receiver.start()
    _push(orthanc, paths)
    wait_until(lambda: "waits, failure 1: " in orthanc.log(), 60, "the first transfer to fail")
    orthanc.run_lua("OnHeartBeat()")
    wait_until(lambda: "waits, failure 2: what is not refused was sent" in orthanc.log(), 60, "the second")
    assert set(receiver.taken) == _uids(paths) - {refused}
    sent = len(receiver.taken)
    orthanc.run_lua("OnHeartBeat()")  # a minute has not passed
    time.sleep(CALLED_WITHIN_S)
    assert len(receiver.taken) == sent

    # Images that come now are no later for it.
    (more,) = _studies(tmp_path / "more", 1, date(2020, 1, 2))
    _push(orthanc, more)
    wait_until(lambda: set(receiver.taken) >= _uids(more), 60, "the other study to be sent")


def test_what_was_owed_when_orthanc_ended_is_sent_when_it_starts(
    route: tuple[Orthanc, Receiver], tmp_path: Path
) -> None:
    orthanc, receiver = route
    (recent,) = _studies(tmp_path / "recent", 1, date.today())
    (old,) = _studies(tmp_path / "old", 1, date(2020, 1, 2))
    _push(orthanc, [*old, *recent])
    wait_until(lambda: "studies that wait: 2" in orthanc.log(), 60, "both to wait")
    orthanc.stop()
    receiver.start()
    orthanc.start()
    wait_until(lambda: set(receiver.taken) >= _uids(recent), 60, "the recent study to be sent")
    time.sleep(CALLED_WITHIN_S)
    assert set(receiver.taken) == _uids(recent)  # the guide says how to send the others


def _magnetic_resonance(files: list[Path], folder: Path) -> list[Path]:
    """The CT of a study as MR images of another study."""
    study, series = generate_uid(), generate_uid()
    paths = []
    for number, path in enumerate(files):
        image = pydicom.dcmread(path)
        if image.Modality != "CT":
            continue
        image.Modality, image.SOPClassUID = "MR", MRImageStorage
        image.file_meta.MediaStorageSOPClassUID = MRImageStorage
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.save_as(folder / f"mr-{number}.dcm")
        paths.append(folder / f"mr-{number}.dcm")
    return paths


def _edited(seg: Dataset, folder: Path) -> Path:
    """Our segmentation as an editor stores it that keeps all of our names, and even our kind of UID."""
    assert seg.ManufacturerModelName == "theramap PET/CT"
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    seg.SeriesInstanceUID = generate_uid(prefix=None)
    seg.ContentTime = "235959"
    seg.save_as(folder / "edited.dcm", enforce_file_format=True)
    return folder / "edited.dcm"


def _verified(report: Dataset, folder: Path) -> Path:
    """Our report as a workstation stores it when a physician has verified it."""
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    report.SeriesInstanceUID = generate_uid()
    report.VerificationFlag = "VERIFIED"
    report.save_as(folder / "verified.dcm", enforce_file_format=True)
    return folder / "verified.dcm"
