"""Tables with a known truth."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

DESCRIPTION: dict[str, Any] = {
    "name": "relapse",
    "version": "1.0.0",
    "title": "Relapse",
    "outcome": "relapse within two years",
    "event": "relapse",
    "no_event": "no relapse",
    "population": {
        "text": "Adults with sarcoma.",
        "tracers": ["fdg"],
        "diagnoses": ["soft_tissue_sarcoma"],
    },
    "columns": [
        {"name": "largest_suv_max", "title": "SUVmax", "unit": "g/ml{SUVbw}", "scale": "log"},
        {"name": "age_years", "title": "Age", "unit": "a"},
    ],
    "training_data": "made up",
    "citation": "nobody",
    "licence": "CC0-1.0",
}


def describe(folder: Path, **changes: Any) -> Path:
    path = folder / "describe.json"
    path.write_text(json.dumps(DESCRIPTION | changes))
    return path


def rows(patients: int = 60, *, seed: int = 0, strength: float = 2.0) -> list[dict[str, Any]]:
    """Patients whose log odds rise by `strength` for each e-fold of SUVmax, and do not heed age."""
    rng = np.random.default_rng(seed)
    log_suv = rng.normal(2.2, 0.6, patients)
    age = rng.integers(20, 90, patients)
    event = rng.random(patients) < 1 / (1 + np.exp(-strength * (log_suv - 2.2)))
    return [
        {
            "patient": f"P{i}",
            "event": int(e),
            "largest_suv_max": round(float(np.exp(s)), 3),
            "age_years": int(a),
        }
        for i, (s, a, e) in enumerate(zip(log_suv, age, event, strict=True))
    ]


def write(path: Path, table: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys())
        writer.writeheader()
        writer.writerows(table)
    return path
