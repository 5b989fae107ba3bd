"""Bodies whose organs are known: the simulator's, as studies of a tracer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.protocols import load_protocols
from models.petct_lesion.training.simulator.body import simulate_body
from operators.domain import Volume, Volumes
from tests.operators.conftest import affine_of, build_volume, build_volumes

Study = tuple[Volumes, NDArray[np.uint8]]


@cache
def simulated(tracer: str, seed: int, with_ct: bool) -> Study:
    """A simulated study, and the simulator's labels on its grid."""
    body = simulate_body(seed, tracer)
    pet = as_volume(body.suv.astype(np.float32))
    ct = as_volume(body.hu) if with_ct else None
    return study_of(pet, ct, tracer), body.labels


def as_volume(array: NDArray[Any]) -> Volume:
    return build_volume(array, affine=affine_of((4.0, 4.0, 4.0)))


def study_of(pet: Volume, ct: Volume | None, tracer: str) -> Volumes:
    volumes = build_volumes(pet)
    selection = replace(volumes.selection, protocol=load_protocols()[tracer])
    return replace(volumes, selection=selection, ct=ct)


@pytest.fixture(scope="session")
def make_body() -> Callable[[str, int, bool], Study]:
    return simulated
