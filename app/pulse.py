"""A role's pulse: a file that it touches while it goes on, so that a probe need only look at its time.

``pulse/ROLE`` in the data folder. The image's word ``alive`` compares its age with a limit, which takes
milliseconds, where a start of theramap takes seconds.
"""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

FOLDER = "pulse"
EVERY_S = 1.0


class Pulse:
    """The pulse of one process.

    Parameters
    ----------
    data : Path
        The gateway's data folder.
    role : str
        Name of the file.
    """

    def __init__(self, data: Path, role: str) -> None:
        self._file = data / FOLDER / role
        self._next_s = 0.0

    @property
    def age_s(self) -> float:
        """Seconds since the last beat of whichever process; infinite when there was none."""
        try:
            return time.time() - self._file.stat().st_mtime
        except OSError:
            return math.inf

    def beat(self) -> None:
        """Touch the file, once a second at most."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + EVERY_S
        with contextlib.suppress(OSError):  # a lost disk stops no role; the probe sees it all the same
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.touch()
