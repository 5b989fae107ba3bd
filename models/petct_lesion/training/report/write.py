"""The files of ``models/petct_lesion/evaluation`` that follow from a record alone."""

from __future__ import annotations

from pathlib import Path

from models.petct_lesion.training.report.pictures import draw_dice, draw_reliability
from models.petct_lesion.training.report.record import Record, write_record
from models.petct_lesion.training.report.tables import folds_csv, folds_md, simulated_md

RECORD_FILE = "record.json"


def write_report(record: Record, folder: Path) -> None:
    """Write the record, its tables and its charts; overlays need images and are drawn apart.

    Raises
    ------
    RecordError
        The record contradicts itself.
    OSError
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_record(record, folder / RECORD_FILE)
    for name, text in (
        ("folds.csv", folds_csv(record)),
        ("folds.md", folds_md(record)),
        ("simulated.md", simulated_md(record)),
    ):
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    draw_dice(record, folder / "dice.png")
    draw_reliability(record, folder / "reliability.png")
