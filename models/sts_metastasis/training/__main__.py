"""Make the package: ``python -m models.sts_metastasis.training --data ../shared/data``."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

import numpy as np

from app.outcome.describe import Description, read_description
from app.outcome.table import Table
from app.outcome.train import REPEATS, study_table, write_study
from models.petct_lesion.training.pipeline import Site
from models.sts_metastasis.training.measure import (
    NAMES,
    agreement,
    by_network,
    by_outline,
    read_features,
    read_outcomes,
    write_features,
)

HOME = Path(__file__).resolve().parents[1]
FEATURES = HOME / "evaluation" / "features.csv"
STABLE = 0.9
"""Intraclass correlation between both outlines from which a feature may enter: excellent
by Koo, Li, J Chiropr Med 2016;15:155 (recalled)."""
MEASURED = (
    "the same models asked of the features inside the outline of petct_lesion, each patient by the network "
    "of the fold that never saw the patient; regions of 0.25 ml or more"
)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m models.sts_metastasis.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with sts/ and the archive of masks")
    parser.add_argument(
        "--packages",
        type=Path,
        help="folds of petct_lesion (build/petct_lesion/packages after make crossvalidate): outline the "
        "patients anew; by default the kept features are taken",
    )
    parser.add_argument("--work", type=Path, default=Path("build/petct_lesion"), help="cache of the images")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    given = parser.parse_args()
    if given.packages is not None:
        measure(given.data, given.packages, given.work)
    described = read_description(HOME / "training" / "describe.json")
    outcomes = read_outcomes(given.data / "sts" / "outcomes.csv")
    study = study_table(
        table("outline", described, outcomes),
        described,
        repeats=given.repeats,
        measured=table("network", described, outcomes),
        measured_how=MEASURED,
        remarks=(stability(),),
        day=date.today(),
    )
    model = write_study(study, HOME)
    sys.stdout.write(f"written: {model.identity} {model.digest}\n")


def measure(data: Path, packages: Path, work: Path) -> None:
    """Measure every patient in both outlines and keep the features."""
    patients = Site(data, work).patients()
    outcomes = read_outcomes(data / "sts" / "outcomes.csv")
    write_features(FEATURES, by_outline(patients), by_network(patients, packages), outcomes)


def table(way: str, described: Description, outcomes: dict[str, bool]) -> Table:
    """Return the kept features of one outline, ``outline`` (the expert's) or ``network``."""
    rows = list(read_features(FEATURES))
    values = [[float(row[f"{way}_{column.name}"]) for column in described.columns] for row in rows]
    return Table(
        patients=tuple(row["patient"] for row in rows),
        columns=tuple(described.columns),
        values=np.array(values),
        event=np.array([outcomes[row["patient"]] for row in rows]),
    )


def stability() -> str:
    """Return in words how well each feature agrees between both outlines."""
    rows = list(read_features(FEATURES))
    both = {
        name: [np.array([float(row[f"{way}_{name}"]) for row in rows]) for way in ("outline", "network")]
        for name in NAMES
    }
    found = {name: agreement(*pair) for name, pair in both.items()}
    listed = ", ".join(
        f"{name} {value:.3f}" for name, value in sorted(found.items(), key=lambda each: -each[1])
    )
    return (
        "Features were taken by their stability: the intraclass correlation (absolute agreement, logarithms) "
        "between the feature inside the expert's outline and inside the network's had to be at least "
        f"{STABLE}. It was: {listed}. The hottest voxel of all regions is less stable than that of the "
        "largest, since uptake beside the tumour that the network takes for a lesion may be hotter: "
        "features are those of the largest lesion. The association of such features with the outcome in this "
        "collection is published and was known when they were taken: it was no blind choice."
    )


if __name__ == "__main__":
    main()
