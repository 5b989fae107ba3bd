"""What happened to every study, job and delivery: the only way to the tables.

Each method of the records is one transaction that moves a record from one state to the next, or does
nothing when another process was there first. What must happen after a change is queued in the same
transaction.
"""

from __future__ import annotations

from sqlalchemy import Engine

from app.jobs.queue import Queue
from app.jobs.records.deliveries import Deliveries
from app.jobs.records.incidents import Incidents
from app.jobs.records.jobs import Jobs
from app.jobs.records.readings import Readings
from app.jobs.records.results import Results


class Ledger:
    """The records of one database, with the queue beside them.

    Parameters
    ----------
    engine : Engine
        From :func:`app.jobs.database.open_database`.
    queue : Queue
        Where work is queued, in the same transactions.
    """

    def __init__(self, engine: Engine, queue: Queue) -> None:
        self.engine = engine
        self.queue = queue
        self.jobs = Jobs(engine, queue)
        self.results = Results(engine, queue)
        self.deliveries = Deliveries(engine, queue)
        self.readings = Readings(engine)
        self.incidents = Incidents(engine)
