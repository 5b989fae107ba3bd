"""Asks a PACS what it has of a study, beside the loop that wants to know."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from app.gateway.network.peers import PeerError
from app.gateway.network.query import FoundSeries, find_series
from app.gateway.settings import Remote
from app.log import get_logger, private

THREADS = 4
"""Questions under way at a time: a PACS that hangs holds each for minutes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a PACS has of a study."""

    asked_s: float
    """Monotonic."""
    series: frozenset[FoundSeries] | None
    """None when it could not be asked."""


class Asker:
    """Questions under way and answers that nobody has taken yet, by study."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[str] = set()
        self._answers: dict[str, Answer] = {}

    def ask(self, study_key: str, remote: Remote, study_instance_uid: str) -> bool:
        """Ask in the background; False when this must wait for other questions."""
        with self._lock:
            if study_key in self._under_way or len(self._under_way) >= THREADS:
                return False
            self._under_way.add(study_key)
        arguments = (study_key, remote, study_instance_uid)
        # A daemon: a PACS that hangs must not hold up the end of this process.
        threading.Thread(target=self._run, args=arguments, name="asking", daemon=True).start()
        return True

    def take(self, study_key: str) -> Answer | None:
        """Return an answer that has come, once."""
        with self._lock:
            return self._answers.pop(study_key, None)

    def _run(self, study_key: str, remote: Remote, study_instance_uid: str) -> None:
        asked_s = time.monotonic()
        series: frozenset[FoundSeries] | None = None
        try:
            series = frozenset(find_series(remote, study_instance_uid))
        except PeerError as error:
            get_logger().warning(
                "pacs_not_asked", remote=remote.name, code=error.code, study=private(study_instance_uid)
            )
        finally:
            with self._lock:
                self._under_way.discard(study_key)
                self._answers[study_key] = Answer(asked_s, series)
