"""The image round the hottest voxel, as a network takes it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from operators.domain import Quantified, Volume
from operators.response.prognosis.types import Patch

_OUTSIDE: Mapping[str, float] = {"PT": 0.0, "CT": -1000.0}
"""SUVbw and HU of air, where a volume does not reach."""
_AXES = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Columns: LPS directions of a patch's z (head), y (back), x (left)."""


def cut_patch(patch: Patch, quantified: Quantified) -> NDArray[np.float32] | None:
    """Cut the image round the hottest voxel of the hottest lesion.

    Parameters
    ----------
    patch : Patch
    quantified : Quantified
        With a lesion at least.

    Returns
    -------
    ndarray of float32, shape (1, channel, z, y, x), or None
        Linear interpolation at the patch's own spacing, along the patient's axes, normalised; air where a
        volume does not reach. None: the study has no CT, which the patch needs.
    """
    volumes = quantified.segmented.volumes
    sources: Mapping[str, Volume | None] = {"PT": volumes.pet, "CT": volumes.ct}
    centre = np.array(quantified.lesions[0].suv_max_lps_mm)
    positions = _positions(patch, centre)
    channels = []
    for channel in patch.channels:
        volume = sources[channel.modality]
        if volume is None:
            return None
        values = _sampled(volume, positions, _OUTSIDE[channel.modality]).clip(channel.low, channel.high)
        channels.append((values - channel.mean) / channel.sd)
    return np.stack(channels).reshape(1, len(channels), *patch.shape).astype(np.float32)


def _positions(patch: Patch, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """LPS mm of the patch's voxel centres, shape (n, 3)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in patch.shape), indexing="ij"), -1).reshape(-1, 3)
    offset = (index - (np.array(patch.shape) - 1) / 2) * np.array(patch.spacing_mm)
    result: NDArray[np.float64] = centre + offset @ _AXES.T
    return result


def _sampled(volume: Volume, positions: NDArray[np.float64], outside: float) -> NDArray[np.float64]:
    index = volume.geometry.to_index(positions)
    low = np.clip(np.floor(index.min(axis=0)).astype(int), 0, np.array(volume.geometry.shape) - 1)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, low + 1, np.array(volume.geometry.shape))
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    values: NDArray[np.float64] = map_coordinates(
        volume.values(box), (index - low).T, order=1, mode="constant", cval=outside
    )
    return values
