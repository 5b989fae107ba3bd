"""Which lesions of two studies are the same disease.

The prior's lesions are moved to the current study. Two lesions may be the same where they overlap, or where
the gap between them is no wider than the registration may be off. Of these pairs the optimal assignment
(Kuhn, Munkres) takes one to one; a lesion that stays without a partner and clearly overlaps one that has
one is a part of it: the partner was split, or it merged. What remains is resolved or new, unless the other
study does not show the place: then nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from operators.domain import Correspondence, Fate, Geometry, Lesion, Quantified, Registration
from operators.response.longitudinal.places import to_current, to_prior

LEAST_TOLERANCE_MM = 4.0
"""A PET's voxel: masks of one lesion differ by as much from study to study."""
ERROR_SHARE = 1.5
"""Of the registration's median error: about its 80th percentile, where errors are normal along each axis."""
MOST_TOLERANCE_MM = 15.0
"""Farther apart, lymph nodes are neighbours, not the same."""
PART_COVERED = 0.5
"""Of a fragment that must lie in the whole (or within the tolerance of it) for it to be a part of it."""
COVERED = 0.5
"""Of a lesion that the other study must show, for its absence there to mean something."""
UNMATCHED_COST = 1.0
"""Of a lesion that stays alone: a pair costs less."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """A lesion's voxel centres in the current study."""

    number: int
    points: NDArray[np.float64]
    """(n, 3), LPS mm."""
    volume_ml: float
    voxel_ml: float
    shown: float
    """Part of it that the other study shows, 0 to 1."""

    @property
    def centroid(self) -> NDArray[np.float64]:
        return np.asarray(self.points.mean(axis=0))


@dataclass(frozen=True, slots=True)
class Pairing:
    """How a lesion of the prior and one of the current study lie to each other."""

    prior: int
    current: int
    """Places in the sequences of clouds."""
    dice: float
    gap_mm: float
    """Between their surfaces; 0 where they overlap or touch."""
    distance_mm: float
    """Between their centroids."""
    prior_within: float
    current_within: float
    """Part of the one's voxels within the tolerance of the other."""


def match(current: Quantified, prior: Quantified, registration: Registration) -> tuple[Correspondence, ...]:
    """Match the lesions of two studies.

    Parameters
    ----------
    current, prior : Quantified
    registration : Registration
        Of the prior to the current study.

    Returns
    -------
    tuple of Correspondence
        Every lesion of both studies in exactly one, ordered by the first lesion of the current study, then by
        that of the prior. Empty where the registration was rejected.
    """
    if not registration.accepted:
        return ()
    ours, theirs = clouds(current, prior, registration)
    tolerance = tolerance_mm(registration)
    pairings = list(_pairings(theirs, ours, tolerance))
    groups = _groups(theirs, ours, pairings)
    found = [_correspondence(theirs, ours, a, b) for a, b in groups]
    return tuple(sorted(found, key=_order))


def tolerance_mm(registration: Registration) -> float:
    """The gap that two masks of one lesion may have, mm: it grows with the registration's error."""
    error = registration.measures.get("error_mm", 0.0)
    return float(min(max(LEAST_TOLERANCE_MM, ERROR_SHARE * error), MOST_TOLERANCE_MM))


def clouds(
    current: Quantified, prior: Quantified, registration: Registration
) -> tuple[tuple[Cloud, ...], tuple[Cloud, ...]]:
    """The lesions of the current and of the prior study as points of the current study."""
    here = current.segmented.volumes.pet.geometry
    there = prior.segmented.volumes.pet.geometry
    ours = []
    for lesion in current.lesions:
        points = lesion_points(lesion, here)
        shown = _shown(there, to_prior(registration, points))
        ours.append(Cloud(lesion.number, points, lesion.volume_ml, here.voxel_volume_ml, shown))
    theirs = []
    for lesion in prior.lesions:
        points = to_current(registration, lesion_points(lesion, there))
        theirs.append(
            Cloud(lesion.number, points, lesion.volume_ml, there.voxel_volume_ml, _shown(here, points))
        )
    return tuple(ours), tuple(theirs)


def lesion_points(lesion: Lesion, geometry: Geometry) -> NDArray[np.float64]:
    """LPS mm of a lesion's voxel centres, shape (n, 3)."""
    return geometry.to_lps(np.argwhere(lesion.mask) + [part.start for part in lesion.box])


def shared_ml(
    current: Quantified, prior: Quantified, registration: Registration, correspondence: Correspondence
) -> dict[int, float]:
    """What each current lesion of a correspondence shares with the prior's ones, ml, by number."""
    ours, theirs = clouds(current, prior, registration)
    whole = cKDTree(np.concatenate([c.points for c in theirs if c.number in correspondence.prior]))
    half = _half_mm(theirs[0].voxel_ml)
    return {
        cloud.number: float((_nearest_mm(whole, cloud.points) <= half).sum()) * cloud.voxel_ml
        for cloud in ours
        if cloud.number in correspondence.current
    }


def _nearest_mm(tree: cKDTree, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distance of each point to the nearest of a tree."""
    return np.asarray(tree.query(points)[0], np.float64)


def _half_mm(voxel_ml: float) -> float:
    """Within this distance of its centre a place counts as covered by a voxel: the radius of its sphere."""
    return float(0.62 * (1000 * voxel_ml) ** (1 / 3))


def _shown(geometry: Geometry, points: NDArray[np.float64]) -> float:
    """Part of the points that lie in a volume."""
    index = geometry.to_index(points)
    inside = (index >= -0.5) & (index <= np.array(geometry.shape) - 0.5)
    return float(inside.all(axis=1).mean())


def _pairings(theirs: Sequence[Cloud], ours: Sequence[Cloud], tolerance: float) -> Iterator[Pairing]:
    """All pairs that may be the same."""
    if not theirs or not ours:
        return
    trees = [cKDTree(cloud.points) for cloud in ours]
    margin = tolerance + _half_mm(ours[0].voxel_ml) + _half_mm(theirs[0].voxel_ml)
    low = np.array([cloud.points.min(axis=0) for cloud in ours]) - margin
    high = np.array([cloud.points.max(axis=0) for cloud in ours]) + margin
    for a, cloud in enumerate(theirs):
        near = np.all((cloud.points.max(axis=0) >= low) & (cloud.points.min(axis=0) <= high), axis=1)
        tree = cKDTree(cloud.points)
        for b in np.flatnonzero(near).tolist():
            pairing = _pairing(a, b, cloud, ours[b], tree, trees[b], tolerance)
            if pairing is not None:
                yield pairing


def _pairing(
    a: int, b: int, prior: Cloud, current: Cloud, prior_tree: cKDTree, current_tree: cKDTree, tolerance: float
) -> Pairing | None:
    to_ours, to_theirs = _nearest_mm(current_tree, prior.points), _nearest_mm(prior_tree, current.points)
    half, their_half = _half_mm(current.voxel_ml), _half_mm(prior.voxel_ml)
    gap = max(float(to_ours.min()) - half - their_half, 0.0)
    if gap > tolerance:
        return None
    shared = (
        float((to_ours <= half).sum()) * prior.voxel_ml
        + float((to_theirs <= their_half).sum()) * current.voxel_ml
    )
    volume = len(prior.points) * prior.voxel_ml + len(current.points) * current.voxel_ml
    return Pairing(
        prior=a,
        current=b,
        dice=min(shared / volume, 1.0),
        gap_mm=gap,
        distance_mm=float(np.linalg.norm(prior.centroid - current.centroid)),
        prior_within=float((to_ours <= half + tolerance).mean()),
        current_within=float((to_theirs <= their_half + tolerance).mean()),
    )


def _groups(
    theirs: Sequence[Cloud], ours: Sequence[Cloud], pairings: Sequence[Pairing]
) -> list[tuple[list[int], list[int]]]:
    """Places of the lesions that belong together: prior, current."""
    partner = _assign(len(theirs), len(ours), pairings)
    groups: list[tuple[list[int], list[int]]] = [([a], [b]) for a, b in sorted(partner.items())]
    with_prior = {group[0][0]: group for group in groups}
    with_current = {group[1][0]: group for group in groups}
    # fragments join a pair from the closest on; a group grows on one side only
    for pairing in sorted(pairings, key=_cost):
        a_free, b_free = pairing.prior not in with_prior, pairing.current not in with_current
        if a_free and not b_free and pairing.prior_within >= PART_COVERED:
            group = with_current[pairing.current]
            if len(group[1]) == 1:
                group[0].append(pairing.prior)
                with_prior[pairing.prior] = group
        elif b_free and not a_free and pairing.current_within >= PART_COVERED:
            group = with_prior[pairing.prior]
            if len(group[0]) == 1:
                group[1].append(pairing.current)
                with_current[pairing.current] = group
    alone: list[tuple[list[int], list[int]]] = [([a], []) for a in range(len(theirs)) if a not in with_prior]
    alone += [([], [b]) for b in range(len(ours)) if b not in with_current]
    return groups + alone


def _assign(priors: int, currents: int, pairings: Sequence[Pairing]) -> dict[int, int]:
    """The one-to-one assignment of least total cost; every lesion may also stay alone.

    Lesions that no chain of pairings joins do not compete: each such island is assigned by itself.
    """
    assigned: dict[int, int] = {}
    for island in _islands(priors, currents, pairings):
        assigned |= _assign_island(island)
    return assigned


def _islands(priors: int, currents: int, pairings: Sequence[Pairing]) -> list[list[Pairing]]:
    size = priors + currents
    theirs = np.array([pairing.prior for pairing in pairings], np.intp)
    ours = priors + np.array([pairing.current for pairing in pairings], np.intp)
    graph = coo_matrix((np.ones(len(pairings)), (theirs, ours)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    islands: dict[int, list[Pairing]] = {}
    for pairing in pairings:
        islands.setdefault(int(labels[pairing.prior]), []).append(pairing)
    return list(islands.values())


def _assign_island(pairings: Sequence[Pairing]) -> dict[int, int]:
    theirs = sorted({pairing.prior for pairing in pairings})
    ours = sorted({pairing.current for pairing in pairings})
    place_of = {a: i for i, a in enumerate(theirs)}, {b: i for i, b in enumerate(ours)}
    priors, currents = len(theirs), len(ours)
    size = priors + currents
    cost = np.full((size, size), 4 * UNMATCHED_COST)
    for pairing in pairings:
        cost[place_of[0][pairing.prior], place_of[1][pairing.current]] = _cost(pairing)
    cost[np.arange(priors), currents + np.arange(priors)] = UNMATCHED_COST / 2
    cost[priors + np.arange(currents), np.arange(currents)] = UNMATCHED_COST / 2
    cost[priors:, currents:] = 0.0
    rows, columns = linear_sum_assignment(cost)
    possible = {(pairing.prior, pairing.current) for pairing in pairings}
    found = [(theirs[a], ours[b]) for a, b in zip(rows, columns, strict=True) if a < priors and b < currents]
    return {a: b for a, b in found if (a, b) in possible}


def _cost(pairing: Pairing) -> float:
    """From 0, the same voxels, to below 1; gap and distance decide between pairs that do not overlap."""
    far = pairing.distance_mm / (pairing.distance_mm + 50.0)
    return 0.7 * (1 - pairing.dice) + 0.2 * far + 0.05 * min(pairing.gap_mm / MOST_TOLERANCE_MM, 1.0)


def _correspondence(
    theirs: Sequence[Cloud], ours: Sequence[Cloud], priors: list[int], currents: list[int]
) -> Correspondence:
    a, b = [theirs[n] for n in priors], [ours[n] for n in currents]
    prior, current = tuple(sorted(c.number for c in a)), tuple(sorted(c.number for c in b))
    if not b:
        fate = Fate.RESOLVED if a[0].shown >= COVERED else Fate.NOT_COVERED
        return Correspondence(fate, prior, current)
    if not a:
        fate = Fate.NEW if b[0].shown >= COVERED else Fate.NOT_COVERED
        return Correspondence(fate, prior, current)
    fate = Fate.SPLIT if len(b) > 1 else Fate.MERGED if len(a) > 1 else Fate.MATCHED
    whole, other = _union(a), _union(b)
    both = _pairing(0, 0, whole, other, cKDTree(whole.points), cKDTree(other.points), np.inf)
    assert both is not None
    return Correspondence(fate, prior, current, both.dice, both.distance_mm)


def _union(parts: Sequence[Cloud]) -> Cloud:
    points = np.concatenate([part.points for part in parts])
    return Cloud(0, points, sum(part.volume_ml for part in parts), parts[0].voxel_ml, 1.0)


def _order(one: Correspondence) -> tuple[int, int, int]:
    first = one.current[0] if one.current else 0
    return (0 if one.current else 1, first, one.prior[0] if one.prior else 0)
