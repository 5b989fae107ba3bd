"""A lesion's name for life: read from the prior's own reports, carried to the lesions that match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from operators.domain import Correspondence, Fate, FollowUp, Note, Quantified, Study, TrackedName
from operators.response.longitudinal.matching import shared_ml
from operators.response.longitudinal.reports import NamedRegion, read_regions
from operators.response.longitudinal.times import study_time

LEAST_SHARE = 0.3
"""Of the reported region or of the lesion that must be common to both. Two methods draw one lesion so
differently that a third is all they share; of a neighbour they share a rim."""


def read_names(study: Study, prior: Quantified) -> tuple[Mapping[int, TrackedName], tuple[Note, ...]]:
    """The names that a study's own reports give its lesions.

    Parameters
    ----------
    study : Study
        With its reports (SR) and segmentations (SEG).
    prior : Quantified
        The same study, measured now.

    Returns
    -------
    names : mapping of int to TrackedName
        By lesion number. Lesions that no report names are absent. Each name is given once.
    notes : tuple of Note
        What could not be read or found.
    """
    reading = read_regions(study, prior.segmented.volumes)
    time = study_time(prior)
    names: dict[int, TrackedName] = {}
    given: set[str] = set()
    for share, number, region in sorted(_shares(prior, reading.regions), key=lambda one: (-one[0], one[1])):
        if share >= LEAST_SHARE and number not in names and region.uid not in given:
            names[number] = TrackedName(region.identifier, region.uid, time)
            given.add(region.uid)
    notes = []
    if reading.unreadable:
        sentence = f"{reading.unreadable} reports or segmentations of the prior could not be read."
        notes.append(Note("PRIOR_REPORT_UNREADABLE", sentence))
    unplaced = reading.lost + len({region.uid for region in reading.regions} - given)
    if unplaced:
        sentence = f"{unplaced} lesions that the prior's reports name lie where none is found in it today."
        notes.append(Note("PRIOR_NAMES_NOT_PLACED", sentence))
    return names, tuple(notes)


def _shares(prior: Quantified, regions: Sequence[NamedRegion]) -> list[tuple[float, int, NamedRegion]]:
    """For each region and lesion that meet: the larger of the parts that they have in common.

    The regions of later reports come first among equal ones.
    """
    geometry = prior.segmented.volumes.pet.geometry
    labels = np.zeros(geometry.shape, np.int32)
    for lesion in prior.lesions:
        labels[lesion.box][lesion.mask] = lesion.number
    sizes = {lesion.number: lesion.voxels for lesion in prior.lesions}
    found = []
    for region in regions:
        index = np.rint(geometry.to_index(region.points)).astype(np.int64)
        at = index[np.all((index >= 0) & (index < np.array(geometry.shape)), axis=1)]
        hit = labels[tuple(at.T)]
        for number, points in _counts(hit[hit > 0]):
            covered = len(np.unique(at[hit == number], axis=0))
            share = max(points / len(region.points), covered / sizes[number])
            found.append((share, number, region))
    return found


def _counts(values: NDArray[np.int32]) -> list[tuple[int, int]]:
    numbers, counts = np.unique(values, return_counts=True)
    return list(zip(numbers.tolist(), counts.tolist(), strict=True))


def carry_names(current: Quantified, follow_ups: Sequence[FollowUp]) -> Mapping[int, TrackedName]:
    """The names that lesions of the current study have from prior ones.

    A matched lesion keeps its name. Of a split lesion the part that shares most with it keeps the name, and
    the others have none yet; a merged one takes the name of the largest of those that it was, or, where that
    has none, of the next.

    Parameters
    ----------
    current : Quantified
    follow_ups : sequence of FollowUp
        The latest prior first: its names hold before those of earlier ones.

    Returns
    -------
    mapping of int to TrackedName
        By lesion number of the current study; each name at most once.
    """
    names: dict[int, TrackedName] = {}
    given: set[str] = set()
    for follow_up in follow_ups:
        for correspondence in follow_up.correspondences:
            name = _former_name(correspondence, follow_up)
            if name is None or not correspondence.current or name.uid in given:
                continue
            heir = _heir(correspondence, current, follow_up)
            if heir not in names:
                names[heir] = name
                given.add(name.uid)
    since = _first_known(follow_ups)
    return {
        number: replace(name, since=since.get(name.uid, name.since)) for number, name in sorted(names.items())
    }


def _former_name(correspondence: Correspondence, follow_up: FollowUp) -> TrackedName | None:
    volumes = {lesion.number: lesion.volume_ml for lesion in follow_up.prior.lesions}
    largest_first = sorted(correspondence.prior, key=lambda number: (-volumes[number], number))
    return next((follow_up.prior_names[n] for n in largest_first if n in follow_up.prior_names), None)


def _heir(correspondence: Correspondence, current: Quantified, follow_up: FollowUp) -> int:
    if correspondence.fate is not Fate.SPLIT:
        return correspondence.current[0]
    shared = shared_ml(current, follow_up.prior, follow_up.registration, correspondence)
    return max(correspondence.current, key=lambda number: (shared[number], -number))


def _first_known(follow_ups: Sequence[FollowUp]) -> dict[str, datetime]:
    """When each name was first given, as far as the priors tell."""
    since: dict[str, datetime] = {}
    for follow_up in follow_ups:
        for name in follow_up.prior_names.values():
            if name.since is not None:
                since[name.uid] = min(name.since, since.get(name.uid, name.since))
    return since
