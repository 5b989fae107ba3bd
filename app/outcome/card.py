"""The model card: what a reader asks of a prediction model, after TRIPOD+AI and CLAIM."""

from __future__ import annotations

from collections.abc import Sequence

from app.outcome.fit import INNER_FOLDS
from app.outcome.measures import Estimate
from app.outcome.study import Study
from app.outcome.validate import OUTER_FOLDS, Coverage, Judged, plain_auc
from operators.response.prognosis.types import OutcomeModel, TermShape
from operators.study.diseases import DISEASES

STATEMENT = (
    "Research software, not a medical device. Nothing it says is a finding before a physician has verified "
    "it."
)


def performance_of(study: Study) -> str:
    """Return the performance in two sentences, for ``outcome.json`` and the report."""
    best, event = study.best_known, study.table.event
    return (
        f"Cross-validated in {len(event)} patients, {int(event.sum())} with the event: AUC "
        f"{_words(best.auc)}, Brier score {_words(best.brier, 3)}, calibration slope {_words(best.slope)}. "
        "Not validated on patients of another centre."
    )


def card_of(study: Study, model: OutcomeModel) -> str:
    """Return the card as Markdown."""
    sections = (
        ("What it says", _says(study, model)),
        ("Whom it is for", _whom(model)),
        (
            "Data",
            f"{model.training_data}\n\n{_counts(study)}\n\nCitation: {model.citation}\n\n"
            f"Licence: {model.licence}",
        ),
        ("The model", _equation(study, model)),
        ("How it was chosen", _choice(study)),
        ("How good it is", _performance(study)),
        ("Calibration", _calibration(study)),
        ("Prediction sets", _sets(study)),
        ("Limits", _limits(study)),
    )
    body = "\n".join(f"## {heading}\n\n{text}\n" for heading, text in sections)
    return f"# {model.title}\n\n{STATEMENT}\n\n{body}"


def _says(study: Study, model: OutcomeModel) -> str:
    coverage = study.description.coverage
    return (
        f"The probability of: {model.outcome}, with its 95 % interval; and the outcomes that cannot be ruled "
        f"out at a coverage of {coverage:.0%} ({model.event}; {model.no_event}). Contributions of its inputs "
        "are exact: coefficient times the difference from the patient who has the training patients' medians."
    )


def _whom(model: OutcomeModel) -> str:
    population = model.population
    diagnoses = " or ".join(DISEASES.get(name, name) for name in population.diagnoses)
    lines = [
        population.text,
        "",
        "Nothing is predicted",
        f"- for a tracer other than {', '.join(population.tracers)}, or a diagnosis other than {diagnoses}, "
        "or without a stated diagnosis;",
        "- where the mask is of uptake that need not be disease, or where nothing was found;",
        *(["- where a therapy before the study is stated;"] if population.before_therapy else []),
        *(
            [f"- where the lesions have less than {population.least_volume_ml:g} ml;"]
            if population.least_volume_ml is not None
            else []
        ),
        *(
            [
                f"- where the segmentation's predicted Dice coefficient is below "
                f"{population.least_predicted_dice:g}, or is not known;"
            ]
            if population.least_predicted_dice is not None
            else []
        ),
        f"- where the study departs from what the segmentation network has seen, in "
        f"{population.most_departures + 1} features or more;",
        *(
            f"- where {each.title} is outside of {each.low:g} to {each.high:g} {each.unit};"
            for each in model.inputs
        ),
    ]
    lines[-1] = f"{lines[-1][:-1]} (the training patients' range, 10 % wider at each end)."
    return "\n".join(lines)


def _counts(study: Study) -> str:
    event = study.table.event
    return f"{len(event)} patients, {int(event.sum())} with the event. None was set aside."


def _equation(study: Study, model: OutcomeModel) -> str:
    terms = " ".join(
        f"{term.coefficient:+.4g} · {'ln ' if term.shape is TermShape.LOG else ''}{_title(model, term.input)}"
        for term in model.terms
    )
    return (
        f"log odds = {model.intercept:.4g} {terms}\n\nLogistic regression with an L2 penalty on standardised "
        f"columns; inverse penalty {study.final.fit.strength:g}, chosen by log loss in {INNER_FOLDS} folds. "
        "The interval comes from refitting to 500 bootstrap samples of the patients."
    )


def _title(model: OutcomeModel, name: str) -> str:
    each = next(each for each in model.inputs if each.name == name)
    return f"{each.title} [{each.unit.partition('{')[0]}]"


def _choice(study: Study) -> str:
    remarks = [f"{remark}\n\n" for remark in study.remarks]
    if study.gain is None:
        return "".join(remarks) + "The columns were given; no baseline was to be beaten."
    titles = {column.name: column.title for column in study.description.columns}
    baseline = titles[study.description.baseline or ""]
    full = " and ".join(titles[name] for name in study.description.model or titles)
    shown = study.gain.interval.low > 0
    return "".join(remarks) + (
        f"The model of {full} had to beat {baseline} alone on the same folds, the interval of the difference "
        f"above 0. The difference in AUC was {_words(study.gain)}: "
        + (
            "it is shown to be better, and is the model."
            if shown
            else f"not shown. {baseline} alone is the model."
        )
    )


def _performance(study: Study) -> str:
    several = bool(study.measured)
    head = ["model", "AUC", "Brier score", *(["AUC, as measured", "Brier, as measured"] if several else [])]
    rows = [
        [
            _candidate(study, judged[0]),
            *(cell for each in judged for cell in (_words(each.auc), _words(each.brier, 3))),
        ]
        for judged in study.judged.values()
    ]
    share = float(study.table.event.mean())
    how = (
        f"{OUTER_FOLDS} stratified folds, dealt {study.repeats} times, the same for every model; penalty and "
        "conformal scores from the training folds alone. AUC: mean over the repeats, 95 % interval by "
        f"bootstrap over patients, without refitting. A Brier score of {share * (1 - share):.3f} is that of "
        "always saying the event's share."
    )
    plain = ", ".join(
        f"{column.title} {_words(plain_auc(study.table, column.name))}" for column in study.table.columns
    )
    how = (
        f"{how}\n\nProbabilities of all folds are ranked together, which costs a single column some AUC. The "
        f"columns by themselves, ranked without any model, have: {plain}. These are in-sample."
    )
    measured = f"\n\n*As measured*: {study.measured}" if several else ""
    return f"{how}{measured}\n\n{_table(head, rows)}\n\n![ROC and calibration](evaluation.png)"


def _candidate(study: Study, judged: Judged) -> str:
    titles = {column.name: column.title for column in study.description.columns}
    name = " + ".join(titles[column] for column in judged.columns)
    return f"**{name}** (the model)" if judged.columns == study.chosen else name


def _calibration(study: Study) -> str:
    best = study.best_known
    rows = [
        [
            str(each.patients),
            f"{each.predicted:.2f}",
            f"{each.observed:.2f} ({each.interval.low:.2f} to {each.interval.high:.2f})",
        ]
        for each in best.bins
    ]
    head = ["patients", "mean probability", "share with the event"]
    return (
        f"Intercept {_words(best.intercept)} (0: right on average), slope {_words(best.slope)} (1: right "
        f"spread; below 1: too extreme).\n\n{_table(head, rows)}"
    )


def _sets(study: Study) -> str:
    rows = [_coverage(each) for each in study.best_known.coverage]
    head = ["coverage asked", "of the event", "of no event", "one outcome", "of these right", "both", "none"]
    return (
        "Class-conditional conformal prediction (Vovk et al. 2005). Measured in the same outer folds:\n\n"
        f"{_table(head, rows)}\n\nA set of both outcomes says that the model cannot tell. The model's own "
        "scores come from patients in folds, and its final coefficients from all of them: the coverage is "
        "measured, and for new patients no guarantee."
    )


def _coverage(each: Coverage) -> list[str]:
    right = "" if each.single_right is None else f"{each.single_right:.0%}"
    shares = (each.asked, each.event, each.no_event, each.single)
    return [*(f"{share:.0%}" for share in shares), right, f"{each.both:.0%}", f"{each.empty:.0%}"]


def _limits(study: Study) -> str:
    patients = len(study.table.event)
    return (
        f"- {patients} patients: intervals are wide, and what was chosen on them fits them better than "
        "others.\n"
        "- Not validated on patients of another centre, scanner or time.\n"
        "- The probability holds where the event is as frequent as among the training patients.\n"
        "- It is an association with an outcome, not the effect of a treatment."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _words(estimate: Estimate, digits: int = 2) -> str:
    low, high = estimate.interval.low, estimate.interval.high
    return f"{estimate.value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
