"""``evaluation.json``: what the cross-validation measured, for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.outcome.fit import INNER_FOLDS, STRENGTHS
from app.outcome.measures import RESAMPLES
from app.outcome.study import Study
from app.outcome.validate import OUTER_FOLDS, Judged, plain_auc

RECORD_FILE = "evaluation.json"
SCHEMA_VERSION = "1"


def write_record(study: Study, path: Path) -> None:
    """Write the record; no patient is named in it."""
    text = json.dumps(content_of(study), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def content_of(study: Study) -> dict[str, Any]:
    """Return the content of ``evaluation.json``."""
    event = study.table.event
    return {
        "schema_version": SCHEMA_VERSION,
        "model": f"{study.description.name}@{study.description.version}",
        "date": study.day.isoformat(),
        "patients": len(event),
        "with_event": int(event.sum()),
        "protocol": {
            "outer_folds": OUTER_FOLDS,
            "repeats": study.repeats,
            "inner_folds": INNER_FOLDS,
            "inverse_penalties": list(STRENGTHS),
            "bootstrap_resamples": RESAMPLES,
            "interval": "95 %",
        },
        "baseline": study.description.baseline,
        "auc_gain_over_baseline": None if study.gain is None else asdict(study.gain),
        "chosen": list(study.chosen),
        "measured": study.measured or None,
        "auc_without_model": {
            column.name: asdict(plain_auc(study.table, column.name)) for column in study.table.columns
        },
        "candidates": {
            name: {
                "fitted_table": _judged(judged[0]),
                "as_measured": _judged(judged[1]) if len(judged) > 1 else None,
            }
            for name, judged in study.judged.items()
        },
        "software": {name: version(name) for name in ("theramap", "scikit-learn", "numpy", "scipy")},
    }


def _judged(judged: Judged) -> dict[str, Any]:
    return {
        "auc": asdict(judged.auc),
        "brier": asdict(judged.brier),
        "calibration_intercept": asdict(judged.intercept),
        "calibration_slope": asdict(judged.slope),
        "reliability": [asdict(each) for each in judged.bins],
        "prediction_sets": [asdict(each) for each in judged.coverage],
    }
