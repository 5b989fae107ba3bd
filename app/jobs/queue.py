"""The durable queue: DBOS workflows, queued in the caller's own transaction.

``study`` runs one job in a worker; ``deliver`` makes one attempt at one delivery; ``confirm`` looks
after a commitment that was asked for. Their arguments are identities only: what they need to know is in the
tables. Workflow IDs are made from what they are for, so that queuing twice is queuing once.
"""

from __future__ import annotations

from datetime import UTC, datetime

from dbos import DBOSClient, EnqueueOptions
from sqlalchemy import Connection

STUDIES, DELIVERIES = "studies", "deliveries"
SHAPE = "1"
"""Version of the workflows' shape, not of the release: jobs of one release run under the next."""


class Queue:
    """What may be queued.

    Parameters
    ----------
    client : DBOSClient
        On the engine whose connections are passed to the methods.
    """

    def __init__(self, client: DBOSClient) -> None:
        self._client = client

    def add_study(self, connection: Connection, job: str, priority: int, again: str = "") -> None:
        """Queue a job; ``again`` tells a resumed one from its first run."""
        identity = f"study:{job}" + (f":{again}" if again else "")
        options = self._options("study", STUDIES, identity)
        options["priority"] = priority
        self._client.enqueue_in_transaction(connection, options, job)

    def add_delivery(
        self, connection: Connection, delivery: str, attempt: int, delay_s: float, again: str = ""
    ) -> None:
        """Queue an attempt at a delivery; ``again`` as for a study."""
        identity = f"deliver:{delivery}:{attempt}" + (f":{again}" if again else "")
        options = self._options("deliver", DELIVERIES, identity)
        if delay_s:
            options["delay_seconds"] = delay_s
        self._client.enqueue_in_transaction(connection, options, delivery, attempt)

    def add_confirmation(
        self, connection: Connection, delivery: str, attempt: int, delay_s: float, again: str = ""
    ) -> None:
        """Queue the look at whether a commitment has been answered; ``again`` as for a study."""
        identity = f"confirm:{delivery}:{attempt}" + (f":{again}" if again else "")
        options = self._options("confirm", DELIVERIES, identity)
        if delay_s:
            options["delay_seconds"] = delay_s
        self._client.enqueue_in_transaction(connection, options, delivery, attempt)

    def is_delivering(self, delivery: str) -> bool:
        """Tell whether a process is in the midst of an attempt at a delivery."""
        found = self._client.list_workflows(
            workflow_id_prefix=f"deliver:{delivery}:",
            status="PENDING",
            load_input=False,
            load_output=False,
            limit=1,
        )
        return bool(found)

    def live(self) -> set[str]:
        """Return what workflows are for that wait or run: their identities without ``again``."""
        found = self._client.list_workflows(
            status=["ENQUEUED", "DELAYED", "PENDING"], load_input=False, load_output=False
        )
        parts = [one.workflow_id.split(":") for one in found]
        return {":".join(part[: 2 if part[0] == "study" else 5]) for part in parts}

    def purge(self, before_s: float, limit: int) -> int:
        """Remove workflows that ended before a time (seconds since 1970); how many there were."""
        found = self._client.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
            completed_before=datetime.fromtimestamp(before_s, UTC).isoformat(),
            load_input=False,
            load_output=False,
            limit=limit,
        )
        if found:
            self._client.delete_workflows([one.workflow_id for one in found])
        return len(found)

    def _options(self, workflow: str, queue: str, identity: str) -> EnqueueOptions:
        return {
            "workflow_name": workflow,
            "queue_name": queue,
            "workflow_id": identity,
            "app_version": SHAPE,
        }
