"""Waiting for a database that is locked or away: what is under way goes on when it is back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.log import get_logger
from app.process import Stop

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
LONGEST_REASON = 200
AWAY = (OperationalError, InterfaceError, PoolTimeoutError)
"""Locked, not reachable, shutting down, no connection to be had."""

Result = TypeVar("Result")


def is_away(error: Exception) -> bool:
    """Whether an error says that the database cannot be reached now, rather than that we asked nonsense."""
    return isinstance(error, AWAY) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def reason_of(error: Exception) -> str:
    """Return why the database is away, as its driver says it: one line, without statement and parameters."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0][:LONGEST_REASON] if said else type(error).__name__


def patiently(call: Callable[[], Result], stop: Stop) -> Result:
    """Return what a call on the database returns, trying until the database is there.

    Parameters
    ----------
    call : callable
        A whole transaction; it is done again after a failure.
    stop : Stop
        When it is set, a further failure is raised.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        Any that waiting does not help against, and every one after the stop.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return call()
        except (DBAPIError, PoolTimeoutError) as error:
            if not is_away(error) or stop.is_set:
                raise
            get_logger().warning("database_away", reason=reason_of(error), pause_s=pause_s)
        stop.wait(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
