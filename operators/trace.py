"""What a run says of itself: the time of each operator, the memory, and how each study ended.

The one object of a run that changes. It is made by the runner, handed to every operator, and read
by the operator that writes ``results.json`` and by the progress display.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from operators.errors import InputRefusal

Listener = Callable[[str, str], None]
"""Called as ``(step, event)`` when a step starts or ends, and as ``(folder, status)`` at a study's end."""

_MAXRSS_PER_MIB = 1024 if sys.platform != "darwin" else 1024 * 1024


def peak_memory_mib() -> float:
    """Largest resident set of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MAXRSS_PER_MIB


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one study ended."""

    status: Literal["completed", "refused"]
    results_json: Path


def _silent(_step: str, _event: str) -> None:
    """Listen to nothing."""


@dataclass(slots=True)
class Trace:
    """Times by study folder and step, and the outcomes."""

    listener: Listener = _silent
    outcomes: list[Outcome] = field(default_factory=list)
    input_refusal: InputRefusal | None = None
    """Why the input folder gave no study at all."""
    peaks_mib: dict[str, float] = field(default_factory=dict)
    """Largest resident set after each step; of the last study, for the benchmarks."""
    _timings_s: dict[Path, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, *folders: Path) -> Iterator[list[Path]]:
        """Time a step for the studies of these result folders; more may be added to the list it yields."""
        self.listener(name, "started")
        timed = list(folders)
        start = time.perf_counter()
        try:
            yield timed
        finally:
            elapsed = time.perf_counter() - start
            for folder in timed:
                self._timings_s.setdefault(folder, {})[name] = elapsed
            self.peaks_mib[name] = peak_memory_mib()
            self.listener(name, "ended")

    def timings_s(self, folder: Path) -> dict[str, float]:
        """Seconds by step so far for the study of a result folder."""
        return dict(self._timings_s.get(folder, {}))

    def finish(self, outcome: Outcome) -> None:
        """Set down how a study ended."""
        self.outcomes.append(outcome)
        self.listener(outcome.results_json.parent.name, outcome.status)
