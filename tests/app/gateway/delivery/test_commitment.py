"""Storage commitment requests, and reports on the same association."""

from __future__ import annotations

import time

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from app.gateway.delivery import commitment
from app.gateway.delivery.commitment import ask, transaction_uid
from app.gateway.network.peers import PeerError
from app.gateway.settings import Remote
from tests.app.gateway.finished import Pacs, remote

INSTANCES = [("1.2.840.10008.5.1.4.1.1.66.4", "2.25.1"), ("1.2.840.10008.5.1.4.1.1.88.34", "2.25.2")]


@pytest.fixture(scope="module")
def started():
    with Pacs() as pacs:
        yield pacs


@pytest.fixture
def peer(started, monkeypatch):
    monkeypatch.setattr(commitment, "PATIENCE_S", 1.0)
    started.asked.clear()
    started.action_status, started.reports = 0, None
    return started


def pacs(peer):
    return Remote.model_validate(remote(peer.port))


def report(event_type: int, failed: int = 0, transaction: bool = True):
    """What a PACS does that reports on the association of the request."""
    answers = []

    def send(association, uid, uids):
        information = Dataset()
        if transaction:
            information.TransactionUID = uid
        items = []
        for name in uids:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2", name
            items.append(item)
        information.FailedSOPSequence = items[:failed]
        information.ReferencedSOPSequence = items[failed:]
        status, _ = association.send_n_event_report(
            information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        answers.append(status.Status)

    return send, answers


def test_transaction_uids_are_the_same_again_and_different_for_each_attempt():
    assert transaction_uid("a:results:pacs", 1) == transaction_uid("a:results:pacs", 1)
    assert len({transaction_uid(name, number) for name in ("a", "b") for number in (1, 2)}) == 4
    assert UID(transaction_uid("a", 1)).is_valid


def test_asks_for_every_instance(peer):
    ask(pacs(peer), "2.25.9", INSTANCES, lambda *_: None)
    assert peer.asked == [("2.25.9", ["2.25.1", "2.25.2"])]


@pytest.mark.parametrize(("event_type", "failed"), [(1, 0), (2, 1), (2, 2)])
def test_a_report_on_the_same_association_is_recorded_and_then_acknowledged(peer, event_type, failed):
    peer.reports, answers = report(event_type, failed)
    recorded = []
    begun = time.monotonic()
    ask(pacs(peer), "2.25.9", INSTANCES, lambda uid, names: recorded.append((uid, names, list(answers))))
    assert recorded == [("2.25.9", ["2.25.1", "2.25.2"][:failed], [])]
    assert time.monotonic() - begun < 0.9  # it does not wait on
    time.sleep(0.1)
    assert answers == [0x0000]


@pytest.mark.parametrize(
    ("event_type", "failed", "transaction", "status"),
    [(3, 0, True, 0x0113), (2, 0, True, 0x0115), (1, 0, False, 0x0115)],
)
def test_a_report_that_is_none_is_refused(peer, event_type, failed, transaction, status):
    peer.reports, answers = report(event_type, failed, transaction)
    recorded = []
    ask(pacs(peer), "2.25.9", INSTANCES, lambda *given: recorded.append(given))
    assert (recorded, answers) == ([], [status])


def test_a_report_that_cannot_be_recorded_is_not_acknowledged(peer):
    def away(*_):
        raise OSError

    peer.reports, answers = report(1)
    ask(pacs(peer), "2.25.9", INSTANCES, away)
    assert answers == [0x0110]


def test_a_refused_request_is_told(peer):
    peer.action_status = 0x0110
    with pytest.raises(PeerError, match="STATUS_0110"):
        ask(pacs(peer), "2.25.9", INSTANCES, lambda *_: None)


def test_a_peer_without_commitment_is_told(peer):
    contexts = peer._server.contexts
    peer._server.contexts = [one for one in contexts if one.abstract_syntax != StorageCommitmentPushModel]
    try:
        with pytest.raises(PeerError, match="NO_CONTEXT"):
            ask(pacs(peer), "2.25.9", INSTANCES, lambda *_: None)
    finally:
        peer._server.contexts = contexts
