"""Questions to a PACS: a real Orthanc by C-FIND and QIDO-RS, and peers that answer otherwise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from app.gateway.network.peers import PeerError
from app.gateway.network.query import (
    FoundSeries,
    Identity,
    Via,
    find_instances,
    find_series,
    find_studies,
    study_identity,
    study_instances,
)
from app.gateway.settings import Remote
from tests.app.gateway.spooled import change, small_study, study_uid_of
from tests.servers import Orthanc, free_port, storescu

MADE = datetime(2024, 3, 5, 10, 30)


class Pacs:
    """Orthanc with two studies of one patient, and one of another whose ID begins alike."""

    def __init__(self, orthanc: Orthanc, folder: Path) -> None:
        self.study = small_study(folder / "a", MADE)
        self.later = small_study(folder / "b", MADE.replace(year=2025), seed=1)
        self.other = small_study(folder / "c", MADE, seed=2, patient_id="PRIOR-12")
        change(
            self.study, PatientName="Müller^Änne", SpecificCharacterSet="ISO_IR 192", IssuerOfPatientID="H"
        )
        for one in (self.study, self.later, self.other):
            assert storescu(one, orthanc.dicom_port, "PACS").returncode == 0
        self.uid = study_uid_of(self.study)
        self.orthanc = orthanc

    @property
    def remote(self) -> Remote:
        web = {
            "url": self.orthanc.dicomweb_url,
            "user": self.orthanc.user,
            "password_file": self.orthanc.password_file,
        }
        return remote(self.orthanc.dicom_port, dicomweb=web)


def remote(port: int, **more: Any) -> Remote:
    given = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, "timeout_s": 10}
    return Remote.model_validate({**given, **more})


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    folder = tmp_path_factory.mktemp("pacs")
    with Orthanc(folder / "orthanc", {"map": ("THERAMAP", free_port())}) as orthanc:
        yield Pacs(orthanc, folder)


@pytest.fixture(params=["dimse", "dicomweb"])
def via(request: pytest.FixtureRequest) -> Via:
    return request.param  # type: ignore[no-any-return]


def test_counts_the_instances_of_a_study(pacs: Pacs, via: Via) -> None:
    assert study_instances(pacs.remote, pacs.uid, via) == 8
    assert study_instances(pacs.remote, "1.2.3.4", via) is None


def test_knows_the_patient_of_a_study(pacs: Pacs, via: Via) -> None:
    header = dcmread(next(pacs.study.iterdir()))
    assert study_identity(pacs.remote, pacs.uid, via) == Identity(
        "PRIOR-1", "H", "Müller^Änne", header.PatientBirthDate, "M"
    )
    assert study_identity(pacs.remote, "1.2.3.4", via) is None
    assert study_identity(pacs.remote, f"{pacs.uid}\\{study_uid_of(pacs.later)}", via) is None


def test_counts_by_series_and_names_the_instances(pacs: Pacs, via: Via) -> None:
    series = find_series(pacs.remote, pacs.uid, via)
    headers = [dcmread(path, stop_before_pixels=True) for path in pacs.study.iterdir()]
    assert set(series) == {FoundSeries(str(one.SeriesInstanceUID), str(one.Modality), 4) for one in headers}
    for one in series:
        found = find_instances(pacs.remote, pacs.uid, one.series_instance_uid, via)
        assert {(x.sop_instance_uid, x.sop_class_uid) for x in found} == {
            (str(header.SOPInstanceUID), str(header.SOPClassUID))
            for header in headers
            if header.SeriesInstanceUID == one.series_instance_uid
        }


def test_finds_the_studies_of_one_patient_and_span(pacs: Pacs, via: Via) -> None:
    both = find_studies(pacs.remote, "PRIOR-1", "20240101", "20251231", via)
    assert {one.study_instance_uid for one in both} == {pacs.uid, study_uid_of(pacs.later)}
    (one,) = find_studies(pacs.remote, "PRIOR-1", "20240101", "20241231", via)
    assert (one.date, one.modalities, one.instances) == ("20240305", {"PT", "CT"}, 8)
    for pattern in ("PRIOR*", "PRIOR-?", "*", "", "PRIOR-1\\PRIOR-12"):
        assert find_studies(pacs.remote, pattern, "20240101", "20251231", via) == ()


def test_a_pacs_that_is_away_is_an_error(pacs: Pacs) -> None:
    nobody = free_port()
    with pytest.raises(PeerError, match="UNREACHABLE"):
        study_instances(remote(nobody), pacs.uid)
    with pytest.raises(PeerError, match="UNREACHABLE"):
        study_instances(
            remote(nobody, dicomweb={"url": f"http://127.0.0.1:{nobody}/x"}), pacs.uid, "dicomweb"
        )


# ---- peers that answer otherwise -------------------------------------------------------------------


@contextmanager
def answering(answers: Any) -> Iterator[Remote]:
    """A PACS that answers each C-FIND with what the function gives for its identifier."""

    def handle(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield from answers(event.identifier)

    ae = AE("PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, handle)])
    try:
        yield remote(server.socket.getsockname()[1])
    finally:
        server.shutdown()


def match(**values: Any) -> tuple[int, Dataset]:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return 0xFF00, data


def test_a_pacs_that_does_not_count_is_counted() -> None:
    def answers(asked: Dataset) -> Iterator[tuple[int, Dataset]]:
        if asked.QueryRetrieveLevel == "STUDY":
            yield match(StudyInstanceUID="1.2")
        elif asked.QueryRetrieveLevel == "SERIES":
            yield match(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", NumberOfSeriesRelatedInstances=40)
            yield match(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.2")
        else:
            for number in range(3):
                yield match(SOPInstanceUID=f"1.2.2.{number}")

    with answering(answers) as peer:
        assert study_instances(peer, "1.2") == 43


def test_answers_that_were_not_asked_for_are_not_believed() -> None:
    with answering(lambda _: [match(StudyInstanceUID="9.9", PatientID="X")]) as peer:
        assert study_identity(peer, "1.2") is None
        assert study_instances(peer, "1.2") is None
        assert find_studies(peer, "ME", "20240101", "20250101") == ()


def test_values_that_are_none_are_absent() -> None:
    hostile = [
        match(StudyInstanceUID="../../x"),
        match(StudyInstanceUID="1.2", PatientID="ME"),
        match(PatientID="ME"),
    ]
    hostile[1][1].add_new("NumberOfStudyRelatedInstances", "IS", None)
    hostile[1][1].add_new("PatientBirthDate", "DA", None)
    with answering(lambda _: hostile) as peer:
        (only,) = find_studies(peer, "ME", "20240101", "20250101")
    assert only.instances is None
    assert only.identity.birth_date == ""


def test_a_failure_and_a_flood_end_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(lambda _: [(0xA700, None)]) as peer, pytest.raises(PeerError, match="STATUS_A700"):
        study_instances(peer, "1.2")
    monkeypatch.setattr("app.gateway.network.query.MATCHES", 20)
    flood = [match(StudyInstanceUID=f"1.2.{number}") for number in range(50)]
    with answering(lambda _: flood) as peer, pytest.raises(PeerError, match="TOO_MUCH"):
        study_instances(peer, "1.2")


def test_what_an_answer_says_of_a_patient_is_not_logged(tmp_path: Path) -> None:
    code = (
        "import sys; from app.log import configure_log; from app.gateway.settings import Gateway, Remote\n"
        "from app.gateway.network.query import study_identity\n"
        "configure_log('keeper', Gateway(data=sys.argv[1]))\n"
        "print(study_identity(Remote.model_validate_json(sys.argv[2]), '1.2').sex)\n"
    )
    secret = match(StudyInstanceUID="1.2", PatientID="SECRET " * 20)
    secret[1].add_new("PatientSex", "LO", "Not A Sex That Is One")
    with answering(lambda _: [secret]) as peer:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), peer.model_dump_json()],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=Path(__file__).resolve().parents[4],
        )
    assert done.stdout == "Not A Sex That Is One\n"
    assert done.stderr == ""
