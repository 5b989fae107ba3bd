"""What the repository keeps: the package with its papers, and the figures that they state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from models.petct_lesion.training.design import draft
from models.petct_lesion.training.export import export
from models.petct_lesion.training.judge import Judged
from models.petct_lesion.training.measure import Folds
from models.petct_lesion.training.network import LesionNetwork
from models.petct_lesion.training.patients import Patient
from models.petct_lesion.training.report.card import card_of
from models.petct_lesion.training.report.figures import shown
from models.petct_lesion.training.report.papers import DESCRIPTION, LICENCE, quality_of, training_data
from models.petct_lesion.training.report.pictures import Overlay, draw_overlays, draw_whole_body, overlay_of
from models.petct_lesion.training.report.record import Record, read_record
from models.petct_lesion.training.report.words import CITATION
from models.petct_lesion.training.report.write import RECORD_FILE, write_report
from operators.segmentation.network.types import Image
from operators.segmentation.package.types import Guard, Package

PACKAGE = Path(__file__).resolve().parents[1]
EVALUATION = PACKAGE / "evaluation"
GUARD_FILE = "guard.json"
GUARD: TypeAdapter[Guard] = TypeAdapter(Guard)


def write_figures(
    record: Record, guard: Guard, folds: Folds, patients: Sequence[Patient], whole_body: Image
) -> None:
    """Write record, guard, tables and pictures."""
    write_report(record, EVALUATION)
    (EVALUATION / GUARD_FILE).write_bytes(GUARD.dump_json(guard, indent=2) + b"\n")
    images = {patient.name: patient for patient in patients}
    judged = {case.name: case for case in folds.judged}
    rows = [
        (title, [_overlay(images[each.name], judged[each.name]) for each in results])
        for title, results in shown(record)
    ]
    draw_overlays(rows, EVALUATION / "overlays.png")
    seen = folds.whole_body_judged
    picture = EVALUATION / "whole_body.png"
    draw_whole_body(whole_body.array[0], seen.labels, seen.truth, whole_body.geometry, picture)


def _overlay(patient: Patient, case: Judged) -> Overlay:
    dice = "no Dice" if case.metrics.dice is None else f"Dice {case.metrics.dice:.2f}"
    title = f"{patient.name}, {case.metrics.reference_mtv_ml:.0f} ml, {dice}"
    return overlay_of(title, patient.own.array[0], case.truth, case.mask, patient.own.geometry)


def write_shipped(network: LesionNetwork) -> Package:
    """Write the package with the figures that were recorded of its recipe."""
    record = read_record(EVALUATION / RECORD_FILE)
    guard = GUARD.validate_json((EVALUATION / GUARD_FILE).read_bytes())
    package = replace(
        draft(PACKAGE),
        description=DESCRIPTION,
        licence=LICENCE,
        training_data=training_data(record),
        citation=CITATION,
        quality=quality_of(record),
        guard=guard,
    )
    return export(network, PACKAGE, package, card_of(record))
