"""Which lesions of a reference a prediction finds: 26-connected components, matched in two ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from operators.segmentation.components import Components, find_components

LEAST_IOU = 0.1
"""From which a predicted and a reference lesion may be the same one."""


@dataclass(frozen=True, slots=True)
class Detection:
    """Lesions found, made up and missed.

    Without a lesion in the reference the shares are None, as Dice is: the false positives stand for
    themselves.
    """

    true_positives: int
    """Of the reference's lesions."""
    false_positives: int
    false_negatives: int

    @property
    def lesions(self) -> int:
        """In the reference."""
        return self.true_positives + self.false_negatives

    @property
    def sensitivity(self) -> float | None:
        """TP / (TP + FN)."""
        return self.true_positives / self.lesions if self.lesions else None

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP); None where nothing is predicted, too."""
        predicted = self.true_positives + self.false_positives
        return self.true_positives / predicted if self.lesions and predicted else None

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN)."""
        twice = 2 * self.true_positives
        errors = self.false_positives + self.false_negatives
        return twice / (twice + errors) if self.lesions else None


@dataclass(frozen=True, slots=True)
class Detections:
    """A case's lesions, by both ways to match them, and the volume of what was missed and made up."""

    overlap: Detection
    """A reference lesion is found where any voxel of it is predicted; a predicted one is false where it
    touches no reference lesion."""
    iou: Detection
    """One predicted lesion for each reference lesion, both of which share a tenth of their union."""
    missed_voxels: int
    """Of reference lesions of any size without a predicted voxel (autoPET's false-negative volume)."""
    false_voxels: int
    """Of predicted lesions of any size without a reference voxel (autoPET's false-positive volume)."""


def detect(prediction: NDArray[np.bool_], reference: NDArray[np.bool_], least_voxels: float) -> Detections:
    """Match the lesions of a prediction with those of its reference.

    Lesions smaller than `least_voxels` are neither asked for nor held against the prediction: a small one
    of the reference need not be found and excuses what finds it, and a small predicted one is no false
    positive but may find a large one. The volumes count lesions of every size.

    Parameters
    ----------
    prediction, reference : ndarray of bool, shape (z, y, x)
    least_voxels : float
        Smallest size of a lesion that counts, in voxels; rounding does not cost one its place.

    References
    ----------
    Volumes: Gatidis et al., autoPET, Nat Mach Intell 2024;6:1396 (its script joins 18 neighbours, not 26).
    Matching by overlap of at least 0.1, one to one: Maier-Hein et al., Nat Methods 2024;21:195.
    """
    found, wanted = find_components(prediction), find_components(reference)
    ours, theirs, shared = _overlaps(found, wanted)
    least = least_voxels * (1 - 1e-9)
    counts_found, counts_wanted = found.voxels >= least, wanted.voxels >= least

    hit, hitting = np.zeros(len(wanted), np.bool_), np.zeros(len(found), np.bool_)
    hit[theirs], hitting[ours] = True, True
    matched, matching = _pairs(found, wanted, ours, theirs, shared)
    return Detections(
        overlap=_count(hit, hitting, counts_wanted, counts_found),
        iou=_count(matched, matching, counts_wanted, counts_found),
        missed_voxels=int(wanted.voxels[~hit].sum()),
        false_voxels=int(found.voxels[~hitting].sum()),
    )


def _count(
    hit: NDArray[np.bool_],
    hitting: NDArray[np.bool_],
    counts_wanted: NDArray[np.bool_],
    counts_found: NDArray[np.bool_],
) -> Detection:
    """Count what was hit of the reference's lesions, what of the predicted ones hits none, and the missed."""
    return Detection(
        int((hit & counts_wanted).sum()),
        int((~hitting & counts_found).sum()),
        int((~hit & counts_wanted).sum()),
    )


def _overlaps(
    found: Components, wanted: Components
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of components that overlap, each once, and how many voxels they share: three arrays (n,).

    Both are sorted runs of voxels; a run of one meets a stretch of the other's runs.
    """
    low = np.searchsorted(wanted.stops, found.starts, side="right")
    count = np.maximum(np.searchsorted(wanted.starts, found.stops, side="left") - low, 0)
    run = np.repeat(np.arange(len(low)), count)
    other = np.repeat(low - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))
    length = np.minimum(found.stops[run], wanted.stops[other]) - np.maximum(
        found.starts[run], wanted.starts[other]
    )
    pair = found.component[run] * max(len(wanted), 1) + wanted.component[other]
    pairs, which = np.unique(pair, return_inverse=True)
    shared = np.bincount(which, length, len(pairs)).astype(np.int64)
    ours, theirs = np.divmod(pairs, max(len(wanted), 1))
    return ours, theirs, shared


def _pairs(
    found: Components,
    wanted: Components,
    ours: NDArray[np.int64],
    theirs: NDArray[np.int64],
    shared: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which reference and which predicted lesions are matched one to one, for the largest sum of IoU."""
    iou = shared / (found.voxels[ours] + wanted.voxels[theirs] - shared)
    near = iou >= LEAST_IOU
    rows, row = np.unique(theirs[near], return_inverse=True)
    columns, column = np.unique(ours[near], return_inverse=True)
    table = np.zeros((len(rows), len(columns)))
    table[row, column] = iou[near]
    row, column = linear_sum_assignment(table, maximize=True)
    real = table[row, column] > 0
    matched, matching = np.zeros(len(wanted), np.bool_), np.zeros(len(found), np.bool_)
    matched[rows[row[real]]], matching[columns[column[real]]] = True, True
    return matched, matching
