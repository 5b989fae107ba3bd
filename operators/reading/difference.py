"""How a reader's lesions differ from the automatic ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from operators.domain import Box, DrawnLesion, Judged, Judgement, Volume
from operators.segmentation.components import Components, component_maxima, find_components

SAME_PLACE = 0.1
"""Two lesions are one place when they share so much of the smaller one: our choice. Less is a touch."""
ACCEPTED_DICE = 0.99
"""From here on a lesion counts as left as it was: an editor's grid may move a voxel of its surface."""


def judge(pet: Volume, mask: NDArray[np.bool_], drawn: Sequence[DrawnLesion]) -> tuple[Judged, ...]:
    """Compare the automatic lesions with a reader's.

    Parameters
    ----------
    pet : Volume
        Tells the order in which automatic lesions are numbered.
    mask : ndarray of bool, shape (z, y, x)
        The automatic one; its 26-connected components are the automatic lesions.
    drawn : sequence of DrawnLesion
        The reader's, without overlaps.

    Returns
    -------
    tuple of Judged
        Each automatic lesion and each of the reader's in exactly one: by the lowest automatic number, then
        those that were added.
    """
    components = find_components(mask)
    order = np.argsort(-component_maxima(pet, components), kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(1, len(order) + 1)
    after = np.array([np.count_nonzero(one.mask) for one in drawn], np.int64)
    pairs = [
        (index, place, shared)
        for place, one in enumerate(drawn)
        for index, shared in _overlaps(components, one)
        if shared >= SAME_PLACE * min(int(components.voxels[index]), int(after[place]))
    ]
    voxel_ml = pet.geometry.voxel_volume_ml
    judged = [
        _judged(group, pairs, components.voxels, after, number, voxel_ml)
        for group in _groups(pairs, len(components), len(drawn))
    ]
    return tuple(sorted(judged, key=lambda one: (not one.before, one.before, one.after)))


def dice(mask: NDArray[np.bool_], drawn: Sequence[DrawnLesion]) -> float | None:
    """The Dice coefficient of the automatic mask and all that was drawn; None when the mask is empty."""
    before = int(np.count_nonzero(mask))
    after = sum(int(np.count_nonzero(one.mask)) for one in drawn)
    shared = sum(int(np.count_nonzero(mask[one.box] & one.mask)) for one in drawn)
    return 2 * shared / (before + after) if before else None


def _overlaps(components: Components, drawn: DrawnLesion) -> Iterator[tuple[int, int]]:
    """The components that share voxels with a drawn lesion, and how many."""
    low = np.array([axis.start for axis in drawn.box])
    high = np.array([axis.stop for axis in drawn.box])
    near = np.flatnonzero(((components.low < high) & (components.high > low)).all(axis=1))
    for index in near.tolist():
        box = components.box(index)
        common = tuple(
            slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, drawn.box, strict=True)
        )
        one = components.mask(index)[_within(common, box)]
        shared = int(np.count_nonzero(one & drawn.mask[_within(common, drawn.box)]))
        if shared:
            yield index, shared


def _within(part: tuple[slice, ...], box: Box) -> tuple[slice, ...]:
    """A part of a box in the box's own indices."""
    return tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))


def _groups(
    pairs: Sequence[tuple[int, int, int]], before: int, after: int
) -> list[tuple[list[int], list[int]]]:
    """Automatic and drawn lesions that hang together, each in exactly one group."""
    size = before + after
    rows = np.array([index for index, _, _ in pairs], np.int64)
    columns = np.array([before + place for _, place, _ in pairs], np.int64)
    graph = coo_array((np.ones(len(pairs), np.int8), (rows, columns)), shape=(size, size))
    count, labels = connected_components(graph, directed=False)
    groups: list[tuple[list[int], list[int]]] = [([], []) for _ in range(count)]
    for node, label in enumerate(labels.tolist()):
        own, drawn = groups[label]
        if node < before:
            own.append(node)
        else:
            drawn.append(node - before)
    return groups


def _judged(
    group: tuple[list[int], list[int]],
    pairs: Sequence[tuple[int, int, int]],
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    number: NDArray[np.int64],
    voxel_ml: float,
) -> Judged:
    own, drawn = group
    voxels_before, voxels_after = int(before[own].sum()), int(after[drawn].sum())
    shared = sum(count for index, _, count in pairs if index in own)
    agreement = 2 * shared / (voxels_before + voxels_after) if own and drawn else None
    return Judged(
        _judgement(len(own), len(drawn), agreement),
        tuple(sorted(number[own].tolist())),
        tuple(place + 1 for place in drawn),
        voxels_before * voxel_ml,
        voxels_after * voxel_ml,
        agreement,
    )


def _judgement(before: int, after: int, agreement: float | None) -> Judgement:
    match before, after:
        case (_, 0):
            return Judgement.REJECTED
        case (0, _):
            return Judgement.ADDED
        case (1, 1):
            accepted = agreement is not None and agreement >= ACCEPTED_DICE
            return Judgement.ACCEPTED if accepted else Judgement.CHANGED
        case (1, _):
            return Judgement.SPLIT
        case (_, 1):
            return Judgement.MERGED
        case _:
            return Judgement.REDRAWN
