"""Recalls every result of a faulty model or method."""

from __future__ import annotations

from collections.abc import Sequence

from app.jobs.ledger import Ledger
from app.log import get_logger


def recall(ledger: Ledger, model: str) -> Sequence[str]:
    """Withdraw every result of a model, and queue the notes that reject them where they may have arrived.

    Parameters
    ----------
    ledger : Ledger
        The tables.
    model : str
        NAME@DIGEST of a model, NAME@VERSION of an algorithm, or NAME for all its versions.

    Returns
    -------
    sequence of str
        The jobs whose results were withdrawn now; doing it again finds none.
    """
    jobs = ledger.results.recall(model)
    for job in jobs:
        ledger.incidents.report("RECALLED", f"The results were withdrawn: {model} was recalled.", job=job)
    get_logger().warning("model_recalled", model=model, jobs=len(jobs))
    return jobs
