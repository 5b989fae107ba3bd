"""What an evaluation writes: ``evaluation.json`` (schema: ``evaluation.schema.json``) and ``cases.csv``."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from app.evaluation.detection import LEAST_IOU, Detection
from app.evaluation.evaluate import Evaluation
from app.evaluation.measure import CaseMetrics
from app.evaluation.statistics import LEVEL, RESAMPLES, SEED
from app.evaluation.summary import MEASURES, Pooled

SCHEMA_VERSION: Final = "1"
JSON_FILE: Final = "evaluation.json"
CSV_FILE: Final = "cases.csv"
STATEMENT: Final = (
    "Research software, not a medical device. Figures hold for these cases and their references alone."
)
MATCHINGS: Final = ("overlap", "iou")


def write(evaluation: Evaluation, folder: Path) -> tuple[Path, Path]:
    """Write ``evaluation.json`` and ``cases.csv`` into a folder, which is made.

    Raises
    ------
    OSError
    """
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_csv = folder / JSON_FILE, folder / CSV_FILE
    text = json.dumps(content_of(evaluation), indent=2, ensure_ascii=False, allow_nan=False)
    as_json.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    with as_csv.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        _write_rows(evaluation, csv.writer(file))
    return as_json, as_csv


def content_of(evaluation: Evaluation) -> dict[str, Any]:
    """Return ``evaluation.json``. A number that could not be computed is null."""
    request, summary = evaluation.request, evaluation.summary
    return {
        "schema_version": SCHEMA_VERSION,
        "statement": STATEMENT,
        "theramap": version("theramap"),
        "prediction": {
            "kind": request.predictor.kind,
            "name": request.predictor.name,
            "digest": request.predictor.digest,
            "parameters": dict(request.predictor.parameters),
            "labels": _list(request.predictor.labels),
        },
        "reference_labels": _list(request.reference_labels),
        "tolerance_mm": request.tolerance_mm,
        "min_lesion_ml": request.min_lesion_ml,
        "least_iou": LEAST_IOU,
        "bootstrap": {"level": LEVEL, "resamples": RESAMPLES, "seed": SEED},
        "cases": [
            {
                "name": each.name,
                "metrics": row_of(each.metrics),
                "notes": [asdict(note) for note in each.notes],
            }
            for each in evaluation.measured
        ],
        "left_out": [asdict(each) for each in evaluation.left_out],
        "summary": {
            "cases": summary.cases,
            "without_lesion": summary.without_lesion,
            "nothing_predicted": summary.nothing_predicted,
            "measures": {
                each.name: {"unit": each.unit} | asdict(summary.measures[each.name]) for each in MEASURES
            },
            "lesions": {name: _pooled(getattr(summary, name)) for name in MATCHINGS},
            "bland_altman": {"mtv_ml": asdict(summary.mtv_ml), "tlg_g": asdict(summary.tlg_g)},
        },
    }


def row_of(metrics: CaseMetrics) -> dict[str, float | int | None]:
    """Return one case's measures and counts of lesions by name."""
    measures = {measure.name: measure.of(metrics) for measure in MEASURES}
    counts = {
        f"{matching}_{name}": count
        for matching in MATCHINGS
        for name, count in asdict(getattr(metrics, matching)).items()
    }
    return measures | counts


def _write_rows(evaluation: Evaluation, writer: Any) -> None:
    counts = [f"{matching}_{name}" for matching in MATCHINGS for name in Detection.__dataclass_fields__]
    columns = [*(measure.name for measure in MEASURES), *counts]
    writer.writerow(["case", *columns, "left_out"])
    for each in evaluation.measured:
        row = row_of(each.metrics)
        writer.writerow([each.name, *(row[column] for column in columns), ""])
    for left in evaluation.left_out:
        writer.writerow([left.name, *("" for _ in columns), left.code])


def _pooled(pooled: Pooled) -> dict[str, Any]:
    found = pooled.detection
    shares = {
        name: {"value": getattr(found, name), "interval": None if interval is None else asdict(interval)}
        for name, interval in (
            ("sensitivity", pooled.sensitivity),
            ("precision", pooled.precision),
            ("f1", pooled.f1),
        )
    }
    return asdict(found) | shares


def _list(values: tuple[int, ...] | None) -> list[int] | None:
    return None if values is None else list(values)
