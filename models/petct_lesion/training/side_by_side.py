"""Work side by side in processes, a core each: sooner done than one job after the other on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def side_by_side(do: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """Yield what is done of each job, in their order; one at a time where there is a GPU.

    Parameters
    ----------
    do : callable
        At the top level of a module, as the processes are new ones.
    jobs : sequence
    """
    cores = os.cpu_count() or 1
    at_once = 1 if torch.cuda.is_available() else min(cores, len(jobs))
    with ProcessPoolExecutor(at_once, get_context("spawn"), begin, (cores // at_once,)) as pool:
        yield from pool.map(do, jobs)


def begin(threads: int) -> None:
    """Begin a process that ends with its parent: a training that was given up writes no checkpoint."""
    torch.set_num_threads(threads)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
