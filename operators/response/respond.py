"""The response step: what the measurements of a study mean, by themselves and beside earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from operators.domain import Assessed, Fact, FollowUp, Note, Quantified, Study
from operators.errors import Refusal
from operators.reading.answer import read_names
from operators.response.judge import judge
from operators.response.longitudinal.follow_up import follow_up
from operators.response.longitudinal.names import carry_names
from operators.response.prognosis.errors import OutcomeModelError
from operators.response.prognosis.predict import predict
from operators.response.prognosis.read import models_in
from operators.response.prognosis.types import OutcomeModel
from operators.response.rules import Rule
from operators.response.trend import trend
from operators.study.attributes import study_day
from operators.study.clinical import clinical_facts
from operators.study.corrections import correction_facts
from operators.study.qualification import ModelValidation, Scanner, qualification, validation

MeasurePrior = Callable[[Study, Quantified], Quantified]
"""Measures a prior of a study as that was measured; raises a :class:`~operators.errors.Refusal`."""


@dataclass(frozen=True, slots=True)
class Practice:
    """What the response step has to know of the site."""

    measure_prior: MeasurePrior
    models: tuple[OutcomeModel, ...] = ()
    device: str = "cpu"
    """``cpu`` or ``cuda``: where outcome models run."""
    rules: tuple[Rule, ...] | None = None
    """None: those that are shipped."""
    scanners: tuple[Scanner, ...] = ()
    validations: tuple[ModelValidation, ...] = ()
    notes: tuple[Note, ...] = ()
    """What every report of the site has to say, such as a model that cannot be used."""


def practice_of(
    measure_prior: MeasurePrior,
    models: Path | None,
    device: str,
    rules: tuple[Rule, ...] | None = None,
    scanners: tuple[Scanner, ...] = (),
    validations: tuple[ModelValidation, ...] = (),
) -> Practice:
    """The practice of a site.

    Parameters
    ----------
    measure_prior : callable
    models : Path or None
        Folder of model packages, outcome models among them. One that cannot be used is a note, and hides none
        of the others.
    device : str
        As the settings name it: ``auto``, ``cpu`` or ``cuda``. Outcome models are small: they leave the CPU
        only where that is asked for.
    rules : tuple of Rule, optional
        The site's, in place of those that are shipped.
    scanners : tuple of Scanner
    validations : tuple of ModelValidation
        What the site states of its scanners and of models.
    """
    found = models_in(models) if models is not None else ()
    return Practice(
        measure_prior,
        tuple(each for each in found if isinstance(each, OutcomeModel)),
        "cuda" if device == "cuda" else "cpu",
        rules,
        scanners,
        validations,
        tuple(Note(each.code, each.sentence) for each in found if isinstance(each, OutcomeModelError)),
    )


def respond(quantified: Quantified, practice: Practice) -> Assessed:
    """Say what a study's measurements mean.

    Parameters
    ----------
    quantified : Quantified
    practice : Practice

    Returns
    -------
    Assessed
        A prior that cannot be measured, or whose registration is rejected, costs what needs it and nothing
        else; a note says why.
    """
    case = quantified.selection.case
    clinical, notes = _stated(quantified, practice)
    compared: list[FollowUp] = []
    for prior in reversed(case.priors):  # the latest first
        try:
            measured = practice.measure_prior(prior, quantified)
        except Refusal as refusal:
            notes = (*notes, _refused(prior, refusal))
            continue
        compared.append(follow_up(quantified, measured))
    same, others = _by_tracer(quantified, compared)
    facts, findings = judge(quantified, same, others, clinical, practice.rules)
    return Assessed(
        quantified=quantified,
        clinical=clinical,
        facts=facts,
        findings=findings,
        follow_ups=tuple(compared),
        trend=trend(quantified, same),
        predictions=predict(quantified, facts, practice.models, practice.device),
        names=read_names(quantified.segmented.reading, carry_names(quantified, same)),
        notes=notes,
    )


def _stated(quantified: Quantified, practice: Practice) -> tuple[tuple[Fact, ...], tuple[Note, ...]]:
    """What is known beside the images: of the patient, of corrections, of the scanner and of the models."""
    selection = quantified.selection
    clinical, notes = clinical_facts(selection.case)
    corrected = correction_facts(selection.case, selection.pet)
    day = study_day(selection.case.study)
    scanner, of_scanner = qualification(selection.pet.header, practice.scanners, day)
    networks = quantified.segmented.networks
    models = [validation(run.package, run.digest, practice.validations, day) for run in networks]
    of_models = tuple(dict.fromkeys(note for _, each in models for note in each))
    facts = (*clinical, *corrected, *scanner, *dict.fromkeys(fact for fact, _ in models))
    return facts, (*practice.notes, *notes, *of_scanner, *of_models)


def _by_tracer(
    quantified: Quantified, compared: Sequence[FollowUp]
) -> tuple[tuple[FollowUp, ...], tuple[FollowUp, ...]]:
    """Studies of the same tracer, which tell of change, and of others, which tell of another target."""
    protocol = quantified.selection.protocol.name
    same = tuple(each for each in compared if each.prior.selection.protocol.name == protocol)
    return same, tuple(each for each in compared if each.prior.selection.protocol.name != protocol)


def _refused(prior: Study, refusal: Refusal) -> Note:
    return Note(
        "PRIOR_NOT_MEASURED",
        f"The prior study {prior.study_instance_uid} could not be measured, and nothing is compared with it: "
        f"{refusal.sentence}",
        refusal.tag,
    )
