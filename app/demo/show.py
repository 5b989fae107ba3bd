"""``theramap demo``: the phantom study through the MAP, on the CPU, and what came out."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.demo.phantom import PhantomSpec, write_phantom
from app.report import print_results, progress
from app.run import ExitCode, run
from app.settings import Settings


def run_demo(folder: Path) -> ExitCode:
    """Write the phantom into ``folder/study``, run the MAP into ``folder/results`` and print the report.

    Both folders are made anew, so that what is shown is of this run.

    Parameters
    ----------
    folder : Path
        Folder of the demo.

    Returns
    -------
    ExitCode
        Of the run.
    """
    study, results = folder / "study", folder / "results"
    for old in (study, results):
        shutil.rmtree(old, ignore_errors=True)
    write_phantom(study, PhantomSpec())
    with progress() as listener:
        code, trace = run(study, results, Settings(device="cpu"), listener=listener)
    print_results(results, trace)
    return code
