"""Deliveries from the record to the destination and back, against real and scripted destinations."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from io import BytesIO

import pytest
from pydicom.filereader import read_dataset

from app.gateway.delivery import commitment
from app.gateway.delivery.commitment import transaction_uid
from app.gateway.delivery.delivery import SCRATCH, check_confirmation, delay_s
from app.gateway.delivery.outgoing import is_another_patient
from app.gateway.inbox import import_reports, write_report
from app.gateway.network.query import Identity
from app.gateway.settings import Retry
from app.jobs.records.transitions import delivery_id
from app.jobs.tables import DeliveryKind, DeliveryState
from tests.app.gateway.finished import (
    Pacs,
    attempt,
    confirm,
    data_set,
    house,
    import_report,
    reason,
    rejection_of,
    remote,
    result_uids,
)
from tests.servers import free_port

SENT, WAITING, CONFIRMED = DeliveryState.SENT, DeliveryState.WAITING, DeliveryState.CONFIRMED
PARKED, WITHDRAWN = DeliveryState.PARKED, DeliveryState.WITHDRAWN


@pytest.fixture(scope="module")
def started() -> Iterator[Pacs]:
    with Pacs() as pacs:
        yield pacs


@pytest.fixture
def peer(started, monkeypatch):
    monkeypatch.setattr(commitment, "PATIENCE_S", 0.5)
    started.stored.clear()
    started.asked.clear()
    started.status = started.action_status = 0
    started.identity = started.reports = None
    return started


# ---- sending -------------------------------------------------------------------------------------


def test_results_arrive_as_they_were_computed(tmp_path, peer):
    with house(tmp_path, remote(peer.port)) as built:
        delivery = built.done()
        assert attempt(built, delivery) == CONFIRMED
        assert [content for _, content in peer.stored] == [data_set(path) for path in built.study.files]
        assert not any((built.gateway.data / SCRATCH).iterdir())
        assert attempt(built, delivery) == CONFIRMED
        assert len(peer.stored) == 2  # an attempt that is over sends nothing


def test_a_destination_gets_the_kinds_and_the_form_that_it_reads(tmp_path, peer):
    with house(tmp_path, remote(peer.port, results=["sr"])) as built:
        attempt(built, built.done())
        assert [uid for uid, _ in peer.stored] == [result_uids()[1]]


def test_the_same_bytes_again_after_a_kill(tmp_path, peer, monkeypatch):
    class KilledError(BaseException):
        pass

    def kill(*_):
        raise KilledError

    with house(tmp_path, remote(peer.port, commitment=True)) as built:
        delivery = built.done()
        for name in ("sent", "get"):  # between sent and recorded; recorded and asked for
            with monkeypatch.context() as patch:
                patch.setattr(built.ledger.deliveries, name, kill)
                with pytest.raises(KilledError):
                    attempt(built, delivery)
        assert len(peer.stored) == 4
        assert peer.stored[:2] == peer.stored[2:]
        assert (attempt(built, delivery), peer.asked) == (SENT, [])  # the look after it asks
        assert confirm(built, delivery) == SENT
        assert [uid for uid, _ in peer.asked] == [transaction_uid(delivery, 2)]


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0x0122])
def test_a_refusing_destination_is_tried_again_ever_later(tmp_path, peer, status):
    with house(tmp_path, remote(peer.port)) as built:
        delivery = built.done()
        peer.status = status
        waits = []
        for number in (1, 2, 3, 4):
            assert attempt(built, delivery, number) == WAITING
            row = built.ledger.deliveries.get(delivery)
            assert row.reason_code == f"STATUS_{status:04X}"
            waits.append(row.next_s - time.time())
        assert [round(wait / (10 * 2**n)) for n, wait in enumerate(waits)] == [1, 1, 1, 1]
        assert built.queued(f"deliver:{delivery}:5") == [f"deliver:{delivery}:5"]
        peer.status = 0
        assert attempt(built, delivery, 5) == CONFIRMED
        assert reason(built, delivery) is None


def test_gives_up_after_days_and_begins_anew_when_resumed(tmp_path):
    with house(tmp_path, remote(free_port())) as built:
        delivery = built.done()
        built.age(delivery, 6.9)
        assert attempt(built, delivery) == WAITING
        built.age(delivery, 0.2)
        assert attempt(built, delivery, 2) == PARKED
        row = built.ledger.deliveries.get(delivery)
        assert row.reason_code == "GAVE_UP"
        assert "UNREACHABLE" in row.reason
        assert built.ledger.deliveries.resume(delivery)
        assert attempt(built, delivery, 3) == WAITING


def test_an_attempt_that_failed_and_was_killed_is_queued_once(tmp_path):
    with house(tmp_path, remote(free_port())) as built:
        delivery = built.done()
        attempt(built, delivery)
        attempt(built, delivery)
        assert sorted(built.queued(f"deliver:{delivery}:")) == [f"deliver:{delivery}:{n}" for n in (1, 2)]


def test_a_destination_that_hangs_in_the_midst_costs_its_timeout(tmp_path):
    release = threading.Event()
    with Pacs() as slow, house(tmp_path, remote(slow.port, timeout_s=1)) as built:
        slow.status = lambda _: release.wait(15) * 0
        try:
            begun = time.monotonic()
            delivery = built.done()
            assert attempt(built, delivery) == WAITING
            assert time.monotonic() - begun < 4
            assert reason(built, delivery) == "TIMEOUT"
        finally:
            release.set()


def test_a_destination_that_is_gone_from_the_settings_parks(tmp_path):
    with house(tmp_path, remote(1)) as built:
        assert attempt(built, built.done("other")) == PARKED


def test_a_result_that_is_not_as_computed_is_never_sent(tmp_path, peer):
    with house(tmp_path, remote(peer.port)) as built:
        delivery = built.done()
        path = built.exchange.fetch_output("study-r1", tmp_path) / "sr.dcm"
        content = path.read_bytes()
        path.unlink()  # it is linked
        path.write_bytes(content[:-1] + b"\x01")
        assert attempt(built, delivery) == PARKED
        assert reason(built, delivery) == "RESULT_DAMAGED"
        assert peer.stored == []


def test_a_missing_output_is_waited_for(tmp_path, peer):
    with house(tmp_path, remote(peer.port)) as built:
        delivery = built.done()
        built.exchange.remove_output("study-r1")
        assert attempt(built, delivery) == WAITING
        assert reason(built, delivery) == "OUTPUT_MISSING"


def test_delays_grow_to_the_longest_and_differ_between_deliveries():
    retry = Retry(first_s=10, factor=2, longest_s=1800)
    assert 9 <= delay_s(retry, "a", 1) <= 11
    assert 1620 <= delay_s(retry, "a", 10_000) <= 1980
    assert delay_s(retry, "a", 3) == delay_s(retry, "a", 3)
    assert len({delay_s(retry, name, 9) for name in "abcdef"}) == 6


# ---- commitment ------------------------------------------------------------------------------------


def test_a_destination_that_never_commits_is_asked_ever_later_and_parked_in_the_end(tmp_path, peer):
    with house(tmp_path, remote(peer.port, commitment=True, commitment_timeout_s=0)) as built:
        delivery = built.done()
        assert attempt(built, delivery) == SENT
        for number in (1, 2, 3):
            assert confirm(built, delivery, number) == SENT
            assert confirm(built, delivery, number) == SENT  # done again after a kill: asks no second time
        assert [uid for uid, _ in peer.asked] == [transaction_uid(delivery, n) for n in (1, 2, 3, 4)]
        assert {tuple(uids) for _, uids in peer.asked} == {tuple(result_uids())}
        assert len(peer.stored) == 2
        wait = built.ledger.deliveries.get(delivery).next_s - time.time()
        assert 35 < wait < 45  # 10, 20, 40 s
        built.age(delivery, 8)
        assert (confirm(built, delivery, 4), reason(built, delivery)) == (PARKED, "UNCONFIRMED")
        write_report(built.gateway.data, transaction_uid(delivery, 2), [])
        import_reports(built.gateway.data, built.ledger)
        assert built.ledger.deliveries.get(delivery).state == CONFIRMED  # late, but it did


def test_a_commitment_request_that_fails_is_made_again(tmp_path, peer):
    with house(tmp_path, remote(peer.port, commitment=True)) as built:
        delivery = built.done()
        peer.action_status = 0x0110
        assert attempt(built, delivery) == SENT
        peer.action_status = 0
        assert confirm(built, delivery) == SENT
        import_report(built, transaction_uid(delivery, 2))
        assert built.ledger.deliveries.get(delivery).state == CONFIRMED
        assert confirm(built, delivery, 2) == CONFIRMED


def test_what_was_not_committed_is_sent_again_at_once_and_then_ever_later(tmp_path, peer):
    with house(tmp_path, remote(peer.port, commitment=True)) as built:
        delivery = built.done()
        attempt(built, delivery)
        import_report(built, transaction_uid(delivery, 1), (result_uids()[0],))
        assert attempt(built, delivery, 2) == SENT
        assert len(peer.stored) == 4
        import_report(built, transaction_uid(delivery, 2), (result_uids()[0],))
        assert attempt(built, delivery, 3) == WAITING
        assert len(peer.stored) == 4
        row = built.ledger.deliveries.get(delivery)
        assert row.reason_code == "COMMITMENT_DENIED"
        assert row.next_s - time.time() > 30
        assert attempt(built, delivery, 4) == SENT
        import_report(built, transaction_uid(delivery, 4))
        assert built.ledger.deliveries.get(delivery).state == CONFIRMED


def test_no_more_commitment_in_the_settings_confirms(tmp_path, peer):
    with house(tmp_path / "a", remote(peer.port, commitment=True)) as built:
        delivery = built.done()
        attempt(built, delivery)
        changed = built.gateway.model_copy(
            update={"remotes": (built.gateway.remotes[0].model_copy(update={"commitment": False}),)}
        )
        check_confirmation(changed, built.ledger, built.exchange, delivery, 1)
        assert built.ledger.deliveries.get(delivery).state == CONFIRMED


# ---- identity --------------------------------------------------------------------------------------


OURS = {
    "PatientID": "PHANTOM-1",
    "PatientName": "PHANTOM^PETCT^^^",
    "PatientBirthDate": "19640229",
    "PatientSex": "M",
}


@pytest.mark.parametrize(
    ("theirs", "state"),
    [
        (OURS, CONFIRMED),
        ({"PatientID": "PHANTOM-1 ", "PatientName": ""}, CONFIRMED),
        (None, CONFIRMED),
        (OURS | {"PatientID": "PHANTOM-2"}, PARKED),
        (OURS | {"PatientID": ""}, PARKED),
        (OURS | {"PatientName": "Phantom^Other"}, PARKED),
        (OURS | {"PatientBirthDate": "19640228"}, PARKED),
        (OURS | {"PatientSex": "F"}, PARKED),
    ],
)
def test_a_changed_identity_parks(tmp_path, peer, theirs, state):
    with house(tmp_path, remote(peer.port, check_identity=True)) as built:
        delivery = built.done()
        peer.identity = theirs
        assert attempt(built, delivery) == state
        assert reason(built, delivery) == (None if state == CONFIRMED else "IDENTITY_CHANGED")
        assert len(peer.stored) == (2 if state == CONFIRMED else 0)


def test_the_pacs_that_the_study_came_from_must_have_it(tmp_path, peer):
    with house(tmp_path, remote(peer.port, check_identity=True), pacs="pacs") as built:
        delivery = built.done()
        assert attempt(built, delivery) == WAITING
        assert reason(built, delivery) == "STUDY_UNKNOWN"
        peer.identity = OURS
        assert attempt(built, delivery, 2) == CONFIRMED


def test_identities_compare_what_both_state():
    one = Identity("1", "SITE", "Müller^Jörg^^Dr.", "19700101", "F")
    assert not is_another_patient(one, Identity(" 1 ", "", "MÜLLER^JÖRG^^DR.^", "", ""))
    assert not is_another_patient(
        one, Identity("1", "SITE", "Mu\u0308ller ^Jo\u0308rg^^Dr.=X", "19700101", "F")
    )
    assert is_another_patient(one, Identity("1", "OTHER", "", "", ""))
    assert is_another_patient(one, Identity("01", "SITE", "", "", ""))


# ---- withdrawn -------------------------------------------------------------------------------------


def test_superseded_results_are_rejected_by_a_note_that_names_them(tmp_path, peer):
    with house(tmp_path, remote(peer.port)) as built:
        first = built.done()
        attempt(built, first)
        second = built.done(other="newer")
        assert attempt(built, rejection_of(first)) == CONFIRMED
        assert attempt(built, second) == CONFIRMED
        assert named_in(peer.stored[2][1]) == set(result_uids())
        assert {row.state for row in built.ledger.deliveries.of_job("study-r1")} == {"confirmed"}


def named_in(note: bytes) -> set[str]:
    found = read_dataset(BytesIO(note), False, True)
    return {
        str(one.ReferencedSOPInstanceUID)
        for series in found.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }


def test_results_that_never_left_are_withdrawn_without_a_note(tmp_path, peer):
    with house(tmp_path, remote(free_port())) as built:
        first = built.done()
        assert attempt(built, first) == WAITING
        built.done(other="newer")
        assert built.ledger.deliveries.get(first).state == WITHDRAWN
        assert attempt(built, first, 2) == WITHDRAWN
        assert [row.kind for row in built.ledger.deliveries.of_job("study-r1")] == ["results"]


def test_results_that_were_stored_in_part_are_rejected(tmp_path, peer):
    with house(tmp_path, remote(peer.port)) as built:
        first = built.done()
        peer.status = lambda event: 0xA700 * (event.request.AffectedSOPInstanceUID == result_uids()[1])
        assert attempt(built, first) == WAITING
        peer.status = 0
        built.done(other="newer")
        assert attempt(built, first, 2) == WITHDRAWN
        assert attempt(built, rejection_of(first)) == CONFIRMED
        assert len(peer.stored) == 2


def test_results_withdrawn_after_they_were_sent_are_not_sent_again(tmp_path, peer):
    with house(tmp_path, remote(peer.port, commitment=True)) as built:
        first = built.done()
        attempt(built, first)
        built.done(other="newer")
        assert built.ledger.deliveries.get(first).state == SENT
        import_report(built, transaction_uid(first, 1), tuple(result_uids()))
        assert attempt(built, first, 2) == WITHDRAWN
        assert len(peer.stored) == 2


def test_nobody_asks_to_keep_what_is_withdrawn(tmp_path, peer):
    with house(tmp_path, remote(peer.port, commitment=True)) as built:
        first = built.done()
        attempt(built, first)
        built.done(other="newer")
        assert confirm(built, first) == WITHDRAWN
        assert len(peer.asked) == 1


def test_a_rejection_waits_for_results_that_are_on_their_way(tmp_path, peer, monkeypatch):
    with house(tmp_path, remote(peer.port)) as built:
        first = built.done()
        attempt(built, first)
        built.done(other="newer")
        monkeypatch.setattr(built.ledger.queue, "is_delivering", lambda delivery: delivery == first)
        assert attempt(built, rejection_of(first)) == WAITING
        assert reason(built, rejection_of(first)) == "RESULTS_UNDERWAY"
        monkeypatch.undo()
        assert attempt(built, rejection_of(first), 2) == CONFIRMED


def test_is_delivering_tells_a_running_workflow(tmp_path):
    with house(tmp_path, remote(1)) as built:
        delivery = built.done()
        assert not built.ledger.queue.is_delivering(delivery)  # only queued
        statement = "UPDATE workflow_status SET status = 'PENDING' WHERE workflow_uuid = ?"
        with built.ledger.engine.begin() as connection:
            done = connection.exec_driver_sql(statement, (f"deliver:{delivery}:1",))
            assert done.rowcount == 1
        assert built.ledger.queue.is_delivering(delivery)


def test_the_very_same_results_of_a_newer_revision_are_not_rejected(tmp_path, peer):
    with house(tmp_path, remote(peer.port)) as built:
        first = built.done()
        attempt(built, first)
        built.done()
        assert attempt(built, rejection_of(first)) == CONFIRMED
        assert len(peer.stored) == 2


def test_a_recall_after_the_results_were_cleaned_away_takes_the_patient_from_the_pacs(tmp_path, peer):
    with house(tmp_path, remote(peer.port, check_identity=True)) as built:
        first = built.done()
        attempt(built, first)
        built.exchange.remove_output("study-r1")
        with built.ledger.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE theramap_result SET model = 'net@1'")
        built.ledger.results.recall("net@1")
        assert attempt(built, rejection_of(first)) == PARKED
        built.ledger.deliveries.resume(rejection_of(first))
        peer.identity = OURS | {"StudyDate": "20260301"}
        assert attempt(built, rejection_of(first), 2) == CONFIRMED
        assert named_in(peer.stored[2][1]) == set(result_uids())


# ---- status reports --------------------------------------------------------------------------------


def test_a_refused_study_gets_a_report_of_the_same_bytes(tmp_path, peer):
    with house(tmp_path, remote(peer.port)) as built:
        delivery = built.refused()
        peer.status = lambda _: 0xA700 if not seen else 0
        seen: list[int] = []
        assert attempt(built, delivery) == WAITING
        seen.append(1)
        assert attempt(built, delivery, 2) == CONFIRMED
        assert b"The study has no PET series. (NO_PET)" in peer.stored[0][1]


def test_what_is_resumed_after_a_crash_in_its_midst_is_the_same_instance(tmp_path, peer, monkeypatch):
    class KilledError(BaseException):
        pass

    def kill(*_):
        raise KilledError

    with house(tmp_path, remote(peer.port)) as built:
        delivery = built.refused()
        with monkeypatch.context() as patch:
            patch.setattr(built.ledger.deliveries, "confirm", kill)
            with pytest.raises(KilledError):
                attempt(built, delivery)
        built.ledger.deliveries.park(delivery, "GAVE_UP", "After days.")
        time.sleep(1)
        assert built.ledger.deliveries.resume(delivery)
        assert attempt(built, delivery, 2) == CONFIRMED
        assert len(peer.stored) == 2
        assert peer.stored[0] == peer.stored[1]


def test_a_report_that_is_no_longer_true_is_not_sent(tmp_path, peer):
    with house(tmp_path, remote(peer.port)) as built:
        delivery = built.refused()
        built.done()
        assert attempt(built, delivery) == WITHDRAWN
        assert peer.stored == []


def test_delivery_ids_are_what_the_ledger_makes():
    assert rejection_of(delivery_id("a-r1", DeliveryKind.RESULTS, "p")) == delivery_id(
        "a-r1", DeliveryKind.REJECTION, "p"
    )
