"""The pool of simulated bodies that patches are drawn from: made once, read through memory maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.petct_lesion.training.design import LABELS, LESION
from models.petct_lesion.training.patches import Source, make_source
from models.petct_lesion.training.patients import Patient, mask_on_network_grid, on_network_grid
from models.petct_lesion.training.simulator.body import simulate_body
from models.petct_lesion.training.simulator.types import Tumour
from operators.segmentation.network.grid import onto
from operators.segmentation.network.types import Image

NO_CT_HU = -1000.0
"""Air everywhere, as the engine gives a study without a CT."""

LEAD = {LESION: 1.5, 0: -0.5}
"""Votes that a label has over the others: small lesions shall not vanish."""

RIM = 3
"""Voxels round a tumour that go with it."""


def simulated_sources(
    folder: Path, seeds: Sequence[int], tumours: Sequence[Tumour] = ()
) -> tuple[Source, ...]:
    """Return simulated bodies as sources, one for each seed; those that are not in the folder are made.

    Parameters
    ----------
    folder : Path
        One for each set of tumours.
    seeds : sequence of int
    tumours : sequence of Tumour
        Real ones; one to three are pasted into every body.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lacking = [seed for seed in seeds if not _paths(folder, seed)[1].is_file()]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(_make, folder), lacking, repeat(tuple(tumours)), chunksize=1))
    return tuple(_source(folder, seed) for seed in seeds)


def tumours_of(patients: Sequence[Patient]) -> tuple[Tumour, ...]:
    """Cut the patients' tumours out, with a rim of what surrounds them."""
    return tuple(_tumour(patient) for patient in patients)


def _tumour(patient: Patient) -> Tumour:
    places = np.argwhere(patient.mask)
    low = np.maximum(places.min(0) - RIM, 0)
    high = places.max(0) + 1 + RIM
    z, y, x = (slice(a, b) for a, b in zip(low, high, strict=True))
    return Tumour(patient.image[0, z, y, x], patient.image[1, z, y, x], patient.mask[z, y, x])


def _paths(folder: Path, seed: int) -> tuple[Path, Path]:
    return folder / f"{seed}_image.npy", folder / f"{seed}_labels.npy"


def _make(folder: Path, seed: int, tumours: tuple[Tumour, ...]) -> None:
    rng = np.random.default_rng((seed, 1))
    chosen = rng.choice(len(tumours), rng.integers(1, 4), replace=False) if tumours else ()
    body = simulate_body(seed, tumours=[tumours[n] for n in chosen])
    image, labels = _paths(folder, seed)
    _save(image, np.stack([body.suv, body.hu]).astype(np.float16))
    _save(labels, body.labels)


def _save(path: Path, array: NDArray[np.generic]) -> None:
    part = path.with_suffix(".part.npy")
    np.save(part, array)
    part.replace(path)


def _source(folder: Path, seed: int) -> Source:
    image, labels = (np.load(path, mmap_mode="r") for path in _paths(folder, seed))
    return make_source(image, labels, real=False, upright=True, rng=np.random.default_rng(seed))


def halved(source: Source) -> Source:
    """The source at twice the spacing: mean values, and each voxel's most frequent label, lesions first."""
    z, y, x = (side // 2 for side in source.target.shape)
    parts = np.asarray(source.image[:, : 2 * z, : 2 * y, : 2 * x], np.float32).reshape(-1, z, 2, y, 2, x, 2)
    target = np.asarray(source.target[: 2 * z, : 2 * y, : 2 * x])
    eight = [np.ascontiguousarray(target[a::2, b::2, c::2]) for a, b, c in product((0, 1), repeat=3)]
    best, most = np.zeros((z, y, x), np.uint8), np.zeros((z, y, x), np.float32)
    for label in range(1 + len(LABELS)):
        votes = sum(part == label for part in eight) + np.float32(LEAD.get(label, 0.0))
        best[votes > most] = label
        most = np.maximum(votes, most)
    image = parts.mean((2, 4, 6)).astype(np.float16)
    return make_source(image, best, real=source.real, upright=source.upright, rng=np.random.default_rng(0))


def real_sources(patients: Sequence[Patient]) -> tuple[Source, ...]:
    """Patients as sources, of whom only the tumour is outlined."""
    return tuple(
        make_source(
            patient.image.astype(np.float16),
            (patient.mask * LESION).astype(np.uint8),
            real=True,
            upright=False,
            rng=np.random.default_rng(0),
        )
        for patient in patients
    )


def whole_body_source(whole_body: Image, patient: Patient) -> Source:
    """The whole-body PET as a source: the crop's mask at its place, nothing else is a lesion."""
    truth = onto(patient.truth.astype(np.uint8), patient.own.geometry, whole_body.geometry) > 0
    mask = mask_on_network_grid(truth, whole_body.geometry)
    image = on_network_grid(whole_body)
    image[1] = NO_CT_HU
    return make_source(
        image.astype(np.float16), (mask * LESION).astype(np.uint8),
        real=True, upright=True, rng=np.random.default_rng(0),
    )  # fmt: skip
