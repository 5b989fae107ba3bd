"""Where to begin: the shifts at which two studies look most alike, among all there are.

Neither frames of reference, tables nor bed ranges are trusted: every shift of the coarse grids is tried at
once, by masked normalised cross-correlation (Padfield, IEEE Trans Image Process 2012;21:2706).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from operators.response.longitudinal.scene import Field, Scene

LEAST_OVERLAP = 0.25
"""Of the smaller body: with less in common, what is beyond it decides."""
APART = 3
"""Voxels between two candidates."""


def find_shifts(current: Scene, prior: Scene, most: int) -> tuple[NDArray[np.float64], ...]:
    """Translations from the current study to the prior one, the most likely first.

    Parameters
    ----------
    current, prior : Scene
        On grids of the same spacing; 16 mm is enough.
    most : int
        How many to give.

    Returns
    -------
    tuple of ndarray of float64, shape (3,)
        LPS mm, to be added to a place of the current study. Empty where the bodies share too little at any.
    """
    size = [
        fft.next_fast_len(a + b - 1, real=True)
        for a, b in zip(current.values.shape, prior.values.shape, strict=True)
    ]
    ours = [_transform(part, size) for part in _parts(current)]
    theirs = [np.conj(_transform(part, size)) for part in _parts(prior)]

    def correlate(a: int, b: int) -> NDArray[np.float64]:
        """Sum over voxels v of ours(v + s) * theirs(v), for every shift s."""
        product: NDArray[np.float64] = fft.irfftn(ours[a] * theirs[b], size)
        return product

    known, value, square, body = range(4)
    count = np.maximum(correlate(known, known), 1e-6)
    sum_ours, sum_theirs = correlate(value, known), correlate(known, value)
    covariance = correlate(value, value) - sum_ours * sum_theirs / count
    spread = np.sqrt(
        np.maximum(correlate(square, known) - sum_ours**2 / count, 0)
        * np.maximum(correlate(known, square) - sum_theirs**2 / count, 0)
    )
    shared = correlate(body, body)
    smaller = min(np.count_nonzero(current.body), np.count_nonzero(prior.body))
    usable = (shared >= LEAST_OVERLAP * smaller) & (spread > 1e-3 * spread.max())
    score = np.where(usable, covariance / np.maximum(spread, 1e-6), -np.inf)
    peaks = usable & (score == ndimage.maximum_filter(score, 2 * APART + 1, mode="wrap"))
    places = np.argwhere(peaks)
    places = places[np.argsort(-score[peaks], kind="stable")][:most]
    sides = np.array(size)
    steps = np.where(places >= np.array(current.values.shape), places - sides, places)
    away = prior.geometry.affine[:3, 3] - current.geometry.affine[:3, 3]
    return tuple(away - current.spacing_mm * step[::-1] for step in steps)


def _parts(scene: Scene) -> tuple[Field, Field, Field, Field]:
    values = scene.values * scene.known
    return scene.known, values, values * scene.values, scene.body.astype(np.float32)


def _transform(values: Field, size: list[int]) -> NDArray[np.complex128]:
    result: NDArray[np.complex128] = fft.rfftn(values.astype(np.float64), size)
    return result
