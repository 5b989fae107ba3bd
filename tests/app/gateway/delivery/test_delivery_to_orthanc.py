"""Deliveries to Orthanc: stored, committed by reports on associations of their own, rejected, and guarded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from app.gateway.delivery import commitment
from app.gateway.inbox import import_reports, write_report
from app.jobs.tables import DeliveryState
from tests.app.gateway.finished import (
    LOOPBACK,
    House,
    attempt,
    confirm,
    data_set,
    house,
    phantom_results,
    reason,
    rejection_of,
    remote,
    result_uids,
)
from tests.servers import Orthanc, free_port, storescu, wait_until

SENT, WAITING, CONFIRMED = DeliveryState.SENT, DeliveryState.WAITING, DeliveryState.CONFIRMED
PARKED = DeliveryState.PARKED
PORT = free_port()


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("pacs"), {"map": ("THERAMAP", PORT)}) as orthanc:
        yield orthanc


@pytest.fixture
def real(started, monkeypatch):
    monkeypatch.setattr(commitment, "PATIENCE_S", 0.3)
    for patient in started.get("/patients"):
        started._ask("DELETE", f"/patients/{patient}", None)
    return started


def take_report(built: House) -> None:
    wait_until(lambda: import_reports(built.gateway.data, built.ledger), 10, "a commitment report")


@contextmanager
def report_receiver(built: House) -> Iterator[None]:
    """The receiver's part in storage commitment: reports come on associations of their own."""

    def take(event):
        information = event.event_information
        failed = [item.ReferencedSOPInstanceUID for item in information.get("FailedSOPSequence") or []]
        write_report(built.gateway.data, information.TransactionUID, failed)
        return 0x0000, None

    ae = AE("THERAMAP")
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = ae.start_server((LOOPBACK, PORT), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    try:
        yield
    finally:
        server.shutdown()


def test_down_then_up_stored_committed_rejected_and_guarded(tmp_path, real):
    images = sorted(phantom_results().images.rglob("*.dcm"))
    assert storescu(images, real.dicom_port, "PACS", "THERAMAP").returncode == 0
    settings = remote(real.dicom_port, commitment=True, check_identity=True)
    with house(tmp_path, settings, pacs="pacs") as built, report_receiver(built):
        delivery = built.done()
        real.stop()
        assert attempt(built, delivery) == WAITING
        assert reason(built, delivery) == "UNREACHABLE"
        real.start()
        assert attempt(built, delivery, 2) == SENT
        take_report(built)
        assert built.ledger.deliveries.get(delivery).state == CONFIRMED
        for path, uid in zip(built.study.files, result_uids(), strict=True):
            (tmp_path / "got.dcm").write_bytes(real.file(uid))
            assert data_set(tmp_path / "got.dcm") == data_set(path)

        second = built.done(other="newer")
        assert attempt(built, rejection_of(delivery)) == SENT
        take_report(built)
        assert built.ledger.deliveries.get(rejection_of(delivery)).state == CONFIRMED
        assert len(real.sop_instance_uids(built.study.uid, "KO")) == 1

        (patient,) = real.get("/patients")
        kept = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
        change = {"Replace": {"PatientID": "ANOTHER"}, "Keep": kept, "Force": True, "KeepSource": False}
        real.post(f"/patients/{patient}/modify", change | {"Synchronous": True})
        assert attempt(built, second) == PARKED
        assert reason(built, second) == "IDENTITY_CHANGED"
        assert real.sop_instance_uids(built.study.uid, "SEG") == {result_uids()[0]}


def test_an_instance_that_it_lost_is_sent_again(tmp_path, real):
    with house(tmp_path, remote(real.dicom_port, commitment=True)) as built, report_receiver(built):
        delivery = built.done()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commitment, "ask", lambda *_: None)
            assert attempt(built, delivery) == SENT
        (found,) = real.lookup(result_uids()[0])
        real._ask("DELETE", found["Path"], None)
        assert confirm(built, delivery) == SENT
        take_report(built)
        assert reason(built, delivery) == "COMMITMENT_FAILED"
        assert attempt(built, delivery, 3) == SENT
        take_report(built)
        assert built.ledger.deliveries.get(delivery).state == CONFIRMED
        assert real.sop_instance_uids(built.study.uid) == set(result_uids())
