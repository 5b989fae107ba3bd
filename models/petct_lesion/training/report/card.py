"""The model card: the text of ``card.md``, every measured figure in it from the record.

References
----------
CLAIM: Tejani et al., Radiol Artif Intell 2024;6:e240300. MONAI Model Zoo, README of bundles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from models.petct_lesion.training.design import LABELS, SPACING_MM, TILE
from models.petct_lesion.training.report.figures import (
    POOR,
    best_threshold,
    by_dice,
    dice_of,
    network_summary,
    poor,
    rank_correlation,
    simulated_groups,
)
from models.petct_lesion.training.report.goals import goals_of
from models.petct_lesion.training.report.record import METHODS, NETWORK, PatientResult, Record
from models.petct_lesion.training.report.tables import (
    agreement_table,
    certainty,
    comparison_table,
    dice_table,
    lesion_table,
    measure_table,
    physiological_table,
    subgroup_table,
)
from models.petct_lesion.training.report.words import (
    ATTRIBUTION,
    CITATION,
    COLLECTION,
    by,
    number,
    prose,
    share,
    table,
    with_interval,
)
from models.petct_lesion.training.simulator.uptake import TRACERS
from operators.segmentation.package.card import BEGIN, END

TEXT = Path(__file__).with_name("card.md")
NOT_MEASURED = "Not measured."
WORST = 5
"""Patients in the table of failures."""


def card_of(record: Record) -> str:
    """Return the text of the package's ``README.md``.

    The facts of ``model.json`` go between the marks at its end when the package is written.
    """
    return Template(TEXT.read_text(encoding="utf-8")).substitute(parts_of(record))


def parts_of(record: Record) -> Mapping[str, str]:
    """Return what stands in the text's places, by name."""
    patients, summary, best = record.patients, network_summary(record), best_threshold(record)
    dice = summary.measures["dice"]
    volumes = [patient.tumour_ml for patient in patients]
    theirs = dice_of(patients, best)
    return {
        "agreement": agreement_table(summary),
        "attribution": ATTRIBUTION,
        "best_threshold": METHODS[best],
        "best_threshold_dice": number(sum(theirs) / len(theirs)),
        "bodies_measured": _bodies_measured(record),
        "certainty": certainty(record),
        "citation": CITATION,
        "collection": COLLECTION,
        "comparison": comparison_table(record),
        "dice": dice_table(record),
        "facts": f"{BEGIN}\n{END}",
        "failures": _failures(record),
        "folds": str(len({patient.fold for patient in patients})),
        "goals": _goals(record),
        "mean_dice": with_interval(dice.mean, dice.interval),
        "measures": measure_table(summary),
        "organ_groups": str(len(LABELS) - 1),
        "organs": ", ".join(label.name for label in LABELS[1:]),
        "patients": str(len(patients)),
        "recipe": _recipe(record),
        "remarks": _remarks(record),
        "simulated": _simulated(record),
        "smallest_ml": f"{min(volumes):.0f}",
        "spacing": f"{SPACING_MM:g}",
        "speed": _speed(record),
        "stem_spacing": f"{4 * SPACING_MM:g}",
        "subgroups": subgroup_table(record),
        "suv_max": _span([patient.suv_max for patient in patients], 1),
        "suv_mean": _span([patient.suv_mean for patient in patients], 1),
        "tile": by(TILE),
        "tracers": ", ".join(tracer.upper() for tracer in TRACERS),
        "tumour_ml": _span(volumes, 0),
        "unmet": _unmet(record),
        "whole_body": _whole_body(record),
        "whole_body_use": _whole_body_use(record),
    }


def _bodies_measured(record: Record) -> str:
    where = [
        *(["on simulated bodies"] if record.simulated else []),
        *(["on one real whole-body PET"] if record.whole_body is not None else []),
    ]
    return " and ".join(where) or "nowhere"


def _unmet(record: Record) -> str:
    goals = goals_of(record)
    failed, unknown = (sum(goal.met is met for goal in goals) for met in (False, None))
    if not failed and not unknown:
        return f"All {len(goals)} requirements are met."
    return (
        f"**Of {len(goals)} requirements, {failed} are not met and {unknown} were not measured**: "
        "the next section has each with its measured number."
    )


def _goals(record: Record) -> str:
    met = {True: "yes", False: "**no**", None: "not measured"}
    rows = [(goal.on, goal.wanted, goal.measured, met[goal.met]) for goal in goals_of(record)]
    return prose(("on", "asked for", f"measured ({record.date})", "met"), rows)


def _whole_body_use(record: Record) -> str:
    if record.whole_body is None:
        return "No whole-body PET was used."
    return (
        f"Of {record.whole_body.patient} there is one whole-body PET, without CT: it was used with the "
        "tumour's outline, all else in it taken for no lesion and none of its organs outlined."
    )


def _speed(record: Record) -> str:
    if not record.timings:
        return "**Speed.** Not measured."
    rows = [(each.machine, by(each.shape), f"{each.seconds:.1f}") for each in record.timings]
    return table(("speed on", "voxels of the PET (z, y, x)", "s"), rows)


def _recipe(record: Record) -> str:
    rows = [(key.replace("_", " "), _said(value)) for key, value in record.recipe.items()]
    return prose(("recipe", "value"), rows) if rows else "The recipe is not in the record."


def _remarks(record: Record) -> str:
    if not record.remarks:
        return ""
    return "What was tried and seen:\n\n" + "\n".join(f"- {remark}" for remark in record.remarks)


def _whole_body(record: Record) -> str:
    found = record.whole_body
    if found is None:
        return NOT_MEASURED
    methods = (
        ("network", found.metrics, found.false_positive_ml_elsewhere),
        ("SUV ≥ 4", found.threshold_4, found.threshold_4_ml_elsewhere),
    )
    rows = [
        (name, number(metrics.dice), number(metrics.surface_dice), number(elsewhere, 1))
        for name, metrics, elsewhere in methods
    ]
    return "\n\n".join(
        (
            f"{found.patient}, PET without CT, by the network of the fold that left this patient out; "
            f"{by(found.shape)} voxels (z, y, x) in {found.seconds:.1f} s. One patient shows that it can "
            "work, not that it does.",
            table(("method", "Dice of the tumour", "surface Dice", "ml called lesion elsewhere"), rows),
            "![Projections of the PET, the network's result and SUV ≥ 4](evaluation/whole_body.png)",
            f"*{ATTRIBUTION}*",
        )
    )


def _simulated(record: Record) -> str:
    if not record.simulated:
        return NOT_MEASURED
    between = "Physiological uptake called lesion, ml in a body:"
    return f"{lesion_table(record)}\n\n{between}\n\n{physiological_table(record)}"


def _failures(record: Record) -> str:
    ordered = by_dice(record)
    dice = [patient.methods[NETWORK].dice or 0.0 for patient in ordered]
    with_volume = rank_correlation(dice, [patient.tumour_ml for patient in ordered])
    with_uptake = rank_correlation(dice, [patient.suv_mean for patient in ordered])
    parts = [
        f"Patients with a Dice below {POOR:g}: {share(len(poor(record)), len(ordered))}. The worst:",
        table(
            (
                "patient",
                "Dice",
                "tumour, ml",
                "SUVmean",
                "outlined, ml",
                "of it apart, ml",
                "Hausdorff 95 %, mm",
            ),
            [_failure(patient) for patient in ordered[:WORST]],
        ),
        f"Rank correlation of Dice with tumour volume {number(with_volume, 2, '+')}, with SUVmean "
        f"{number(with_uptake, 2, '+')}.",
    ]
    worst = [
        f"{group.tracer.upper()} {'with' if group.with_ct else 'without'} CT "
        f"{group.worst.physiological_called_lesion_ml:.1f} ml"
        for group in simulated_groups(record)
    ]
    if worst:
        parts.append(f"Most physiological uptake called lesion in a simulated body: {', '.join(worst)}.")
    return "\n\n".join(parts)


def _failure(patient: PatientResult) -> tuple[str, ...]:
    found = patient.methods[NETWORK]
    return (
        patient.name,
        number(found.dice),
        number(patient.tumour_ml, 1),
        number(patient.suv_mean, 1),
        number(found.mtv_ml, 1),
        number(found.false_positive_volume_ml, 1),
        number(found.hd95_mm, 1),
    )


def _span(values: Sequence[float], digits: int) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
