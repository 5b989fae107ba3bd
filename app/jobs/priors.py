"""The step that fetches priors: a few tries, and what becomes of the study when there are none to be had."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from app.gateway.network.peers import PeerError
from app.gateway.network.retrieval import FetchError, Limits
from app.gateway.priors import PriorsFound, current_of, fetch_priors
from app.gateway.settings import Gateway, LocalAe
from app.jobs.pool import StoppedError
from app.log import get_logger
from app.process import Stop

TRIES = 3
PAUSE_S = 20.0


class PriorsError(Exception):
    """The priors that a study must have cannot be had; the message says why."""


class PacsPriors:
    """Fetches the priors that an AE title's settings ask for.

    Parameters
    ----------
    gateway : Gateway
        The settings.
    stop : Stop
        Set when the worker is to end.
    pause_s : float
        Between two tries for priors without which a study is not run.
    """

    def __init__(self, gateway: Gateway, stop: Stop, pause_s: float = PAUSE_S) -> None:
        self._gateway, self._stop, self._pause_s = gateway, stop, pause_s

    def __call__(self, ae: LocalAe, files: Path, folder: Path) -> tuple[str, ...]:
        """Write the instances of the priors into a folder and return their Study Instance UIDs.

        Raises
        ------
        PriorsError
            They are required and could not be had in several tries.
        StoppedError
            The worker stops.
        """
        current = current_of(files)
        if current is None:
            return ()  # nothing can be read: the MAP will say so
        limits = Limits(time.monotonic() + self._gateway.work.fetch_time_limit_s, lambda: self._stop.is_set)
        reason = "they were left out"
        for _ in range(TRIES if ae.priors.required else 1):
            folder.mkdir(exist_ok=True)
            found = PriorsFound()
            try:
                found = fetch_priors(self._gateway, ae, current, folder, limits)
            except (PeerError, FetchError) as error:
                if error.code == "STOPPED":
                    raise StoppedError from error
                get_logger().warning("priors_not_fetched", code=error.code)
                reason = error.sentence
            else:
                if not (ae.priors.required and found.is_cut_short):
                    return found.study_instance_uids
            shutil.rmtree(folder)
            if ae.priors.required and self._stop.wait(self._pause_s):
                raise StoppedError
        if ae.priors.required:
            raise PriorsError(
                f"The earlier studies could not be fetched ({reason}), and without them it waits."
            )
        folder.mkdir()
        return ()
