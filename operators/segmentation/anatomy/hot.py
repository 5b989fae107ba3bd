"""Kidneys and parotid glands, where the tracer makes them the hottest pair of their neighbourhood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.segmentation.anatomy.evidence import Evidence, Organ, absent, judged
from operators.segmentation.anatomy.grid import STEP_MM
from operators.segmentation.anatomy.scene import VOXEL_ML, Scene, widened

EDGE = 0.42
"""Of its maximum, where a hot organ ends."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What two organs of a pair are like."""

    name: str
    aside_mm: tuple[float, float]
    """From the midline."""
    volume_ml: tuple[float, float, float, float]
    """Too small, small enough, large enough, too large."""
    apart_mm: float
    """How far the two may differ along the body."""


KIDNEYS = Pair("kidneys", (28.0, 105.0), (40.0, 80.0, 350.0, 600.0), 70.0)
PAROTIDS = Pair("parotid glands", (36.0, 85.0), (2.0, 6.0, 60.0, 90.0), 28.0)


@dataclass(frozen=True, slots=True)
class _Blob:
    mask: NDArray[np.bool_]
    maximum: float
    volume_ml: float
    centre_mm: NDArray[np.float64]
    """(z, y, from the midline), mm."""


def find_kidneys(scene: Scene, liver: NDArray[np.bool_], spleen: NDArray[np.bool_]) -> tuple[Organ, Organ]:
    """Find the right and the left kidney, behind and below the liver, where they are hotter than it.

    Parameters
    ----------
    scene : Scene
        With a PET.
    liver, spleen : ndarray of bool, shape (z, y, x)
        On the scene's grid.
    """
    assert scene.suv is not None
    z, y, _ = np.nonzero(liver)
    place = np.zeros(liver.shape, np.bool_)
    low = max(int(z.min()) - round(100.0 / STEP_MM), 0)
    place[low : int(np.quantile(z, 0.9)), int(np.median(y)) :] = True
    place &= scene.body & ~widened(liver | spleen, STEP_MM)
    least = 1.5 * float(np.median(scene.suv[liver]))
    return _pair(scene, place, KIDNEYS, least)


def find_parotids(scene: Scene, liver: NDArray[np.bool_]) -> tuple[Organ, Organ]:
    """Find the right and the left parotid gland, the hottest pair beside the jaw, of a PSMA ligand.

    Parameters
    ----------
    scene : Scene
        With a PET.
    liver : ndarray of bool, shape (z, y, x)
        On the scene's grid; the head is looked for 20 cm and more above it.
    """
    assert scene.suv is not None
    place = np.zeros(liver.shape, np.bool_)
    start = int(np.flatnonzero(liver.any(axis=(1, 2)))[-1]) + round(200.0 / STEP_MM)
    place[start:] = True
    return _pair(scene, place & scene.body, PAROTIDS, 4.0)


def _pair(scene: Scene, place: NDArray[np.bool_], kind: Pair, least: float) -> tuple[Organ, Organ]:
    assert scene.suv is not None
    offset = np.arange(place.shape[2])[None, None, :] - scene.midline[:, None, None]
    near, far = (mm / STEP_MM for mm in kind.aside_mm)
    blobs = []
    for sign in (-1, 1):
        side = place & (offset * sign > near - 4.0) & (offset * sign < far + 4.0)
        blobs.append([blob for blob in _blobs(scene, side, least) if _is_aside(blob, kind)])
    if not all(blobs):
        lacking = " and ".join(
            name for name, found in zip(("right", "left"), blobs, strict=True) if not found
        )
        nothing = absent(f"nothing on the {lacking} stands out as the {kind.name} of this tracer would")
        return nothing, nothing
    right, left = min(product(*blobs), key=lambda two: _unlike(*two))
    return (
        judged(right.mask, _evidence(right, left, kind)),
        judged(left.mask, _evidence(left, right, kind)),
    )


def _blobs(scene: Scene, side: NDArray[np.bool_], least: float) -> Iterator[_Blob]:
    """The hottest things of a side, each down to a share of its maximum."""
    assert scene.suv is not None
    left = side.copy()
    for _ in range(6):
        values = np.where(left, scene.suv, 0.0)
        maximum = float(values.max(initial=0.0))
        if maximum < least:
            return
        at = np.unravel_index(int(values.argmax()), values.shape)
        labels, _ = ndimage.label(side & (scene.suv > EDGE * maximum))
        mask = labels == labels[at]
        left &= ~widened(mask, 8.0)
        z, y, x = np.nonzero(mask)
        centre = np.array([z.mean(), y.mean(), (x - scene.midline[z]).mean()]) * STEP_MM
        yield _Blob(mask, maximum, len(z) * VOXEL_ML, centre)


def _is_aside(blob: _Blob, kind: Pair) -> bool:
    smallest, _, _, largest = kind.volume_ml
    near, far = kind.aside_mm
    return near <= abs(float(blob.centre_mm[2])) <= far and smallest < blob.volume_ml < largest


def _unlike(right: _Blob, left: _Blob) -> float:
    """How unlike each other's mirror two are: distances in cm, uptakes and volumes as ratios."""
    mirrored = np.abs(right.centre_mm - left.centre_mm * np.array([1.0, 1.0, -1.0]))
    return (
        float(mirrored.sum()) / 10.0
        + 2.0 * abs(float(np.log(right.maximum / left.maximum)))
        + abs(float(np.log(right.volume_ml / left.volume_ml)))
        - float(np.log(right.maximum * left.maximum))
    )


def _evidence(one: _Blob, other: _Blob, kind: Pair) -> tuple[Evidence, ...]:
    too_small, small, large, too_large = kind.volume_ml
    what = f"what looks like the {kind.name}"
    apart, behind, aside = np.abs(one.centre_mm - other.centre_mm * np.array([1.0, 1.0, -1.0]))
    return (
        Evidence(one.volume_ml, too_small, small, f"{what} is too small"),
        Evidence(-one.volume_ml, -too_large, -large, f"{what} is too large"),
        Evidence(-float(apart), -1.5 * kind.apart_mm, -kind.apart_mm, f"{what} is no pair"),
        Evidence(-float(behind), -60.0, -35.0, f"{what} is no pair"),
        Evidence(-float(aside), -60.0, -35.0, f"{what} is no pair"),
        Evidence(
            min(one.maximum, other.maximum) / max(one.maximum, other.maximum),
            0.25,
            0.45,
            f"{what} is no pair",
        ),
    )
