"""Commitment reports: durable before they are acknowledged, taken into the tables once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.gateway.inbox import DAMAGED, INBOX, import_reports, write_report
from app.jobs.tables import DeliveryState
from tests.app.gateway.finished import House, house, remote

TRANSACTION = "2.25.1"


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[tuple[House, str]]:
    """A delivery for which commitment has been asked."""
    with house(tmp_path, remote(1)) as built:
        delivery = built.done()
        built.ledger.deliveries.start(delivery, 1)
        built.ledger.deliveries.sent(delivery, 1, TRANSACTION, 300)
        yield built, delivery


def test_a_report_confirms_its_delivery_and_is_removed(asked):
    built, delivery = asked
    write_report(built.gateway.data, TRANSACTION, [])
    assert [path.suffix for path in (built.gateway.data / INBOX).iterdir()] == [".json"]
    assert import_reports(built.gateway.data, built.ledger) == 1
    assert built.ledger.deliveries.get(delivery).state == DeliveryState.CONFIRMED
    assert import_reports(built.gateway.data, built.ledger) == 0
    assert not any((built.gateway.data / INBOX).iterdir())


def test_a_report_of_failures_queues_the_delivery_again(asked):
    built, delivery = asked
    write_report(built.gateway.data, TRANSACTION, ["2.25.7"])
    import_reports(built.gateway.data, built.ledger)
    row = built.ledger.deliveries.get(delivery)
    assert (row.state, row.reason_code) == (DeliveryState.WAITING, "COMMITMENT_FAILED")
    assert built.queued(f"deliver:{delivery}:2") == [f"deliver:{delivery}:2"]


def test_a_report_that_comes_twice_counts_once(asked):
    built, delivery = asked
    for _ in range(2):
        write_report(built.gateway.data, TRANSACTION, ["2.25.7"])
    assert import_reports(built.gateway.data, built.ledger) == 2
    assert built.queued(f"deliver:{delivery}:") == [f"deliver:{delivery}:2", f"deliver:{delivery}:1"][::-1]


def test_a_report_that_nobody_asked_for_is_reported_and_removed(asked):
    built, delivery = asked
    write_report(built.gateway.data, "2.25.999", [])
    assert import_reports(built.gateway.data, built.ledger) == 1
    assert [one.code for one in built.ledger.incidents.latest()] == ["REPORT_UNKNOWN"]
    assert built.ledger.deliveries.get(delivery).state == DeliveryState.SENT
    assert not any((built.gateway.data / INBOX).iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"transaction_uid": 1, "failed": []}', b"\xff" * 99])
def test_a_damaged_file_is_moved_aside_and_the_others_are_taken(asked, content):
    built, delivery = asked
    write_report(built.gateway.data, TRANSACTION, [])
    (built.gateway.data / INBOX / "00.json").write_bytes(content)
    assert import_reports(built.gateway.data, built.ledger) == 2
    assert [one.code for one in built.ledger.incidents.latest()] == ["REPORT_DAMAGED"]
    assert (built.gateway.data / DAMAGED / "00.json").read_bytes() == content
    assert built.ledger.deliveries.get(delivery).state == DeliveryState.CONFIRMED


def test_unfinished_parts_and_a_missing_inbox_are_no_reports(asked):
    built, _ = asked
    assert import_reports(built.gateway.data / "nowhere", built.ledger) == 0
    write_report(built.gateway.data, TRANSACTION, [])
    (written,) = (built.gateway.data / INBOX).iterdir()
    written.rename(written.with_suffix(".part"))
    assert import_reports(built.gateway.data, built.ledger) == 0


def test_a_report_stays_while_the_database_is_away(asked, monkeypatch):
    built, delivery = asked
    write_report(built.gateway.data, TRANSACTION, [])
    with built.ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE theramap_commitment RENAME TO away")
    with pytest.raises(OperationalError):
        import_reports(built.gateway.data, built.ledger)
    with built.ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO theramap_commitment")
    assert import_reports(built.gateway.data, built.ledger) == 1
    assert built.ledger.deliveries.get(delivery).state == DeliveryState.CONFIRMED


def test_a_report_holds_what_was_given(tmp_path):
    write_report(tmp_path, "2.25.5", ("1.2", "1.3"))
    (path,) = (tmp_path / INBOX).iterdir()
    assert json.loads(path.read_bytes()) == {"transaction_uid": "2.25.5", "failed": ["1.2", "1.3"]}
