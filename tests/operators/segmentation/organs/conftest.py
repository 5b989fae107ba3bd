"""A builder of organ maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from operators.domain import Algorithm, Anatomy, NetworkRun, OrganMap

RUN = NetworkRun(
    package="organs@1",
    digest="ab" * 32,
    engine="openvino 2026.4.1",
    provider="CPU",
    device="cpu",
    precision="single",
    folds=("0",),
    mirrored_axes=(),
    tiles=2,
    tiles_skipped=0,
    batch=1,
    times_s={"network": 0.1},
)
ALGORITHM = Algorithm("organs", "Organs", "1", (), "Somebody 2024", "cpu", "ab" * 32, RUN)


def build_organs(labels: Any, names: Mapping[int, str]) -> OrganMap:
    anatomy = {value: Anatomy(name, None) for value, name in names.items()}
    return OrganMap(np.asarray(labels, np.uint8), anatomy, ALGORITHM)


@pytest.fixture(scope="session")
def make_organs() -> Callable[..., OrganMap]:
    return build_organs
