"""Make the package, or measure how it is made: ``python -m models.petct_lesion.training COMMAND``."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from models.petct_lesion.training.export import export
from models.petct_lesion.training.measure import cross_validate, guard_of, judge_bodies
from models.petct_lesion.training.pipeline import Site, tuned
from models.petct_lesion.training.publish import write_figures, write_shipped
from models.petct_lesion.training.recipe import CPU, GPU, Recipe
from models.petct_lesion.training.report.record import Record, Words
from models.petct_lesion.training.report.remarks import REMARKS
from models.petct_lesion.training.simulator.uptake import TRACERS
from models.petct_lesion.training.timing import time_whole_body

FOLD_SEED = 0
BODIES = 20
"""Simulated bodies of each tracer that the package is judged on."""


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m models.petct_lesion.training", description=__doc__)
    parser.add_argument("command", choices=("train", "crossvalidate"))
    parser.add_argument("--data", type=Path, required=True, help="folder with sts/ and the archives of masks")
    parser.add_argument(
        "--work", type=Path, default=Path("build/petct_lesion"), help="what can be made again"
    )
    given = parser.parse_args()
    site = Site(given.data, given.work)
    recipe = GPU if torch.cuda.is_available() else CPU
    if given.command == "train":
        sys.stdout.write(f"written: {train(recipe, site)}\n")
    else:
        cross_validation(recipe, site)


def train(recipe: Recipe, site: Site) -> str:
    """Train on all patients and write the package; returns its name and digest."""
    package = write_shipped(tuned(recipe, site, site.patients()))
    return f"{package.identity} {package.digest}"


def cross_validation(recipe: Recipe, site: Site) -> None:
    """Train and judge the folds, judge the package on simulated bodies, and write all that they show."""
    patients = site.patients()
    folds = cross_validate(recipe, site, FOLD_SEED)
    shipped = export(tuned(recipe, site, patients), site.work / "packages" / "all" / "petct_lesion")
    bodies = list(judge_bodies(shipped, list(TRACERS), BODIES))
    guard, bins = guard_of(folds.judged, [case for _, case in bodies], "five folds, simulated bodies")
    record = Record(
        date=datetime.now(UTC).date().isoformat(),
        patients=folds.patients,
        whole_body=folds.whole_body,
        simulated=tuple(result for result, _ in bodies),
        reliability=bins,
        recipe=_words(recipe),
        timings=(time_whole_body(shipped),),
        remarks=REMARKS,
    )
    write_figures(record, guard, folds, patients, site.whole_body())


def _words(recipe: Recipe) -> Mapping[str, Words | tuple[Words, ...]]:
    plans = {name: asdict(getattr(recipe, name)) for name in ("anatomy", "detail", "tuning")}
    return {
        "recipe": recipe.name,
        "coarse_channels": recipe.coarse_channels,
        "fine_channels": recipe.fine_channels,
        "bodies": recipe.bodies,
        "bodies_with_real_tumours": recipe.pasted,
        **{
            f"{name}_{key}": plan[key]
            for name, plan in plans.items()
            for key in ("steps", "patch", "batch", "rate", "seed")
        },
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "simulated_bodies_judged_by": "the network of all patients",
    }


if __name__ == "__main__":
    main()
