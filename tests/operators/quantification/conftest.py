"""Lesions made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from operators.domain import Lesion, Site
from operators.segmentation.package.terms import anatomy_of


def build_lesion(number: int = 1, **measured: Any) -> Lesion:
    """A lesion of one voxel and 1 ml at the origin with SUV 5, but for what is given."""
    fields = {
        "box": (slice(0, 1),) * 3,
        "mask": np.ones((1, 1, 1), bool),
        "voxels": 1,
        "volume_ml": 1.0,
        "suv_max": 5.0,
        "suv_max_index": (0, 0, 0),
        "suv_max_lps_mm": (0.0, 0.0, 0.0),
        "suv_mean": 5.0,
        "suv_min": 5.0,
        "suv_sd": None,
        "suv_peak_local": 5.0,
        "suv_peak_global": 5.0,
        "peak_truncated": False,
        "tlg_g": 5.0,
        "centroid_lps_mm": (0.0, 0.0, 0.0),
        "longest_diameter_mm": 0.0,
    }
    return Lesion(number=number, **(fields | measured))


def build_site(name: str, overlap: float = 1.0) -> Site:
    """In an organ of a package's name, coded as the package would be."""
    return Site(anatomy_of(name), overlap, 0.0)


@pytest.fixture(scope="session")
def make_lesion():
    return build_lesion


@pytest.fixture(scope="session")
def make_site():
    return build_site
