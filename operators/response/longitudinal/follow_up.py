"""A prior study beside the current one: registered, its lesions matched, their names read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from operators.domain import FollowUp, Note, Quantified, Registration
from operators.response.longitudinal.matching import match
from operators.response.longitudinal.names import read_names
from operators.response.longitudinal.registration import register
from operators.response.longitudinal.times import study_time

SECONDS_A_DAY = 86_400.0


MOST_REGIONS = 2000
"""Of both studies together that are matched; more are noise, and take memory and time by their square."""


def follow_up(current: Quantified, prior: Quantified) -> FollowUp:
    """Put a prior study beside the current one.

    Also for a companion of another tracer at about the same time, as FDG beside PSMA. A lesion without a
    counterpart is then neither resolved nor new, but seen by one tracer only: for the caller to say.

    Parameters
    ----------
    current, prior : Quantified
        Measured by the same software and settings.

    Returns
    -------
    FollowUp
        Without correspondences where the studies could not be registered: a note says why.
    """
    ours, theirs = current.selection.case.study, prior.selection.case.study
    if ours.patient_key != theirs.patient_key:
        reason = "The prior study is of another patient ID: nothing of it is compared."
        registration = Registration(False, reason, "none", np.eye(4))
    else:
        registration = register(current.segmented.volumes, prior.segmented.volumes)
    regions = len(current.lesions) + len(prior.lesions)
    if registration.accepted and regions > MOST_REGIONS:
        reason = f"The two studies have {regions} regions, more than the {MOST_REGIONS} that can be lesions."
        registration = replace(registration, accepted=False, reason=reason)
    notes = []
    if not registration.accepted:
        sentence = f"The prior study could not be laid on the current one. {registration.reason}"
        notes.append(Note("PRIOR_NOT_REGISTERED", sentence))
    names, name_notes = read_names(theirs, prior)
    now, then = study_time(current), study_time(prior)
    days = None if now is None or then is None else (now - then).total_seconds() / SECONDS_A_DAY
    return FollowUp(
        prior=prior,
        time=then,
        days=days,
        registration=registration,
        correspondences=match(current, prior, registration),
        prior_names=names,
        notes=(*notes, *name_notes),
    )
