"""The inbox: storage commitment reports, durable as files before they are acknowledged.

Receivers never touch the database, and an answered report does not come again. So a report is first a
file, ``inbox/RANDOM.json``, and the keeper takes it into the tables.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from app.gateway.durable import fsync_folder
from app.jobs.ledger import Ledger
from app.log import get_logger, private

INBOX, DAMAGED = "inbox", "inbox-damaged"
SUFFIX, PART = ".json", ".part"
LARGEST_BYTES = 16 * 2**20
"""Of a report; one of ours has a few UIDs."""


class DamagedReportError(Exception):
    """A file in the inbox is no report."""


def write_report(data: Path, transaction_uid: str, failed: Sequence[str]) -> None:
    """Keep a commitment report (PS3.4 J.3.3); when this returns it is durable.

    Parameters
    ----------
    data : Path
        The data folder.
    transaction_uid : str
        (0008,1195), which request it answers.
    failed : sequence of str
        SOP Instance UIDs of the Failed SOP Sequence (0008,1198); empty when everything is kept.

    Raises
    ------
    OSError
        It could not be made durable, and must not be acknowledged.
    """
    folder = data / INBOX
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fsync_folder(data)  # also when it is there: who made it may not have come so far yet
    name = secrets.token_hex(16)
    part = folder / f"{name}{PART}"
    content = {"transaction_uid": transaction_uid, "failed": list(failed)}
    try:
        with part.open("xb") as file:
            file.write(json.dumps(content, sort_keys=True).encode())
            file.flush()
            os.fsync(file.fileno())
        part.rename(folder / f"{name}{SUFFIX}")
    finally:
        part.unlink(missing_ok=True)
    fsync_folder(folder)


def import_reports(data: Path, ledger: Ledger) -> int:
    """Take every report into the tables, and then remove it; return how many there were.

    Taking one in twice, after a kill in between, changes nothing. A report that answers no request of
    ours is reported and removed, a file that is no report is moved aside.

    Raises
    ------
    sqlalchemy.exc.DBAPIError
        The database is away; what was not taken in stays.
    """
    found = sorted((data / INBOX).glob(f"*{SUFFIX}"))
    for path in found:
        try:
            transaction_uid, failed = _read(path)
        except DamagedReportError as error:
            _move_aside(data, path)
            get_logger().error("commitment_report_damaged", problem=str(error))
            ledger.incidents.report(
                "REPORT_DAMAGED", "A storage commitment report could not be read; it is kept aside."
            )
            continue
        if ledger.deliveries.answer_commitment(transaction_uid, failed) is None:
            get_logger().warning("commitment_report_unknown", transaction=private(transaction_uid))
            ledger.incidents.report_once(
                "REPORT_UNKNOWN", "A storage commitment report came for which nobody had asked."
            )
        path.unlink()
    return len(found)


def _read(path: Path) -> tuple[str, list[str]]:
    """Return the transaction UID and the failed instances of a report."""
    if path.stat().st_size > LARGEST_BYTES:
        raise DamagedReportError("it is too large")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedReportError("it is not JSON") from error
    if isinstance(content, dict):
        transaction_uid, failed = content.get("transaction_uid"), content.get("failed")
        if isinstance(transaction_uid, str) and isinstance(failed, list):
            return transaction_uid, [str(uid) for uid in failed]
    raise DamagedReportError("it has no transaction UID or no list of failed instances")


def _move_aside(data: Path, path: Path) -> None:
    folder = data / DAMAGED
    folder.mkdir(mode=0o700, exist_ok=True)
    path.rename(folder / path.name)
