"""What a person sees of the gateway and does with it: list, resume, run again, recall."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from app.gateway.assembler.revision import RerunError
from app.gateway.assembler.revision import rerun as rerun_study
from app.gateway.delivery.recall import recall as recall_results
from app.gateway.spool import Spool
from app.jobs.database import open_ledger, prepare_database
from app.jobs.exchange import Exchange
from app.jobs.ledger import Ledger
from app.log import configure_log
from app.overview import Counts, count, free_bytes, listed
from app.settings import Settings

SHOWN = 20
LISTED = 1000
"""In JSON."""
COLUMNS = {
    "jobs": ("id", "state", "reason_code", "created_s"),
    "deliveries": ("id", "state", "reason_code"),
    "incidents": ("time_s", "code", "sentence"),
}
HEADINGS = {"reason_code": "reason", "created_s": "created", "time_s": "time"}


def open_site(settings: Settings) -> Ledger:
    """Return the ledger of the site.

    Raises
    ------
    DatabaseError, sqlalchemy.exc.DBAPIError
        The database cannot be used.
    """
    configure_log("command", settings.gateway)
    prepare_database(settings.gateway.database_url)
    return open_ledger(settings.gateway.database_url)


def print_status(settings: Settings, *, as_json: bool) -> None:
    """Print counts and lists: at a terminal the latest, as JSON more of them."""
    ledger = open_site(settings)
    counts = count(ledger.engine)
    lists = listed(ledger, LISTED if as_json else SHOWN)
    console = Console()
    if as_json:
        content = {**asdict(counts), "free_bytes": free_bytes(settings.gateway.data), "lists": lists}
        console.print_json(json.dumps(content))
        return
    _print_counts(console, counts)
    for title, rows in lists.items():
        if isinstance(rows, list) and rows:
            console.print(_table(title, rows))


def resume(settings: Settings, identity: str) -> bool:
    """Queue a parked job or delivery again; False when it is not parked.

    Raises
    ------
    KeyError
        There is none of that identity.
    """
    ledger = open_site(settings)
    if ":" in identity:  # a delivery is JOB:KIND:DESTINATION
        ledger.deliveries.get(identity)
        return ledger.deliveries.resume(identity)
    ledger.jobs.get(identity)
    return ledger.jobs.resume(identity)


def rerun(settings: Settings, study_uid: str, ae_title: str | None) -> list[str]:
    """Queue a study again; the jobs.

    Raises
    ------
    LookupError
        It is not there any more, or came to several AE titles of ours.
    """
    gateway = settings.gateway
    ledger = open_site(settings)
    try:
        return [
            rerun_study(
                gateway, ledger, Spool(gateway.data), Exchange(gateway.exchange_url), study_uid, ae_title
            )
        ]
    except RerunError as error:
        raise LookupError(error.sentence) from error


def recall(settings: Settings, model: str) -> Sequence[str]:
    """Withdraw every result of a model; the jobs concerned."""
    return recall_results(open_site(settings), model)


def _print_counts(console: Console, counts: Counts) -> None:
    for title, numbers in (("jobs", counts.jobs), ("deliveries", counts.deliveries)):
        shown = [f"{number} {state}" for state, number in numbers.items() if number]
        console.print(f"{title}: {', '.join(shown) or 'none'}")
    for worker in counts.workers:
        console.print(f"{worker.role} {worker.name}: heard of {worker.heard_ago_s:.0f} s ago")


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Show what fits; whole identities, for they are typed into other commands."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in COLUMNS[title]:
        table.add_column(HEADINGS.get(name, name), no_wrap=name == "id", overflow="fold")
    for row in rows:
        table.add_row(*(_shown(name, row[name]) for name in COLUMNS[title]))
    return table


def _shown(name: str, value: object) -> str:
    if value is None:
        return ""
    if name.endswith("_s") and isinstance(value, int | float):
        return time.strftime("%m-%d %H:%M", time.localtime(value))
    return str(value)
