"""Opens and prepares the one database of the gateway: our tables and those of DBOS."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer
from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from app.jobs.ledger import Ledger
from app.jobs.queue import Queue
from app.jobs.records.transitions import READ_ONLY
from app.jobs.tables import SCHEMA_VERSION, meta, metadata

BUSY_TIMEOUT_MS = 30_000
PREPARING = 0x7468_6572
"""Key of the advisory lock, any number that nobody else takes."""


class DatabaseError(Exception):
    """The database cannot be used, and why."""


def open_database(url: str) -> Engine:
    """Return an engine on the database; nothing is connected yet.

    SQLite is used with a write-ahead log, full synchronisation and immediate transactions.
    """
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=5)
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, not the driver
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READ_ONLY)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def prepare_database(url: str) -> None:
    """Make the tables that are not there.

    Raises
    ------
    DatabaseError
        A newer release has used this database: this one must not.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = open_database(url)
    try:
        with _alone(engine):
            if engine.dialect.name == "sqlite":
                _write_ahead(parsed.database or "")
            metadata.create_all(engine)
            _require_schema(engine)
            logging.getLogger("dbos").setLevel(logging.WARNING)
            DBOS.migrate(url)
    finally:
        engine.dispose()


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Let one role after the other prepare a PostgreSQL database; SQLite's transactions see to that."""
    if engine.dialect.name != "postgresql":
        yield
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Asked again and again: who waits inside the server would hold up DBOS's concurrent indexing.
        while not connection.execute(select(func.pg_try_advisory_lock(PREPARING))).scalar():
            time.sleep(0.1)
        try:
            yield
        finally:
            connection.execute(select(func.pg_advisory_unlock(PREPARING)))


def _write_ahead(file: str) -> None:
    statement, deadline_s = "PRAGMA journal_mode=WAL", time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            with closing(sqlite3.connect(file, timeout=BUSY_TIMEOUT_MS / 1000)) as connection:
                connection.execute(statement)
                return
        except sqlite3.OperationalError as error:
            # SQLite does not wait for this one: another process is doing the same, or writes at this moment.
            if time.monotonic() > deadline_s:
                raise OperationalError(statement, None, error) from error
        time.sleep(0.05)


def _require_schema(engine: Engine) -> None:
    with engine.begin() as connection:
        known = connection.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar()
        if known is None:
            connection.execute(insert(meta).values(key="schema", value=str(SCHEMA_VERSION)))
        elif int(known) > SCHEMA_VERSION:
            raise DatabaseError(
                f"the database has schema {known}, this release knows {SCHEMA_VERSION}: "
                "install the newer release again, or restore a backup made by this one"
            )


def open_ledger(url: str) -> Ledger:
    """Return the ledger of a prepared database."""
    engine = open_database(url)
    return Ledger(
        engine, Queue(DBOSClient(system_database_engine=engine, serializer=DBOSPortableJSONSerializer()))
    )
