"""Builders of small volumes, for the steps that need neither files nor DICOM headers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from operators.domain import (
    Case,
    Geometry,
    Job,
    Protocol,
    ProtocolMethod,
    Selection,
    Series,
    Study,
    Suv,
    Tracer,
    Volume,
    Volumes,
    Window,
)


def affine_of(spacing_mm: tuple[float, float, float], turn: ArrayLike | None = None) -> Any:
    """(z, y, x, 1) to LPS mm with voxels of a size, the axes turned by a matrix."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing_mm)[::-1]
    if turn is not None:
        affine[:3, :3] = np.asarray(turn) @ affine[:3, :3]
    affine[:3, 3] = (-120.5, -33.25, 871.0)
    return affine


def build_volume(
    stored: Any,
    *,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    scale: ArrayLike = 1.0,
    offset: ArrayLike = 0.0,
    affine: Any = None,
) -> Volume:
    stored = np.asarray(stored)
    slices = stored.shape[0]
    return Volume(
        stored=stored,
        scale=np.broadcast_to(np.asarray(scale, np.float64), (slices,)),
        offset=np.broadcast_to(np.asarray(offset, np.float64), (slices,)),
        unit="g/ml{SUVbw}",
        geometry=Geometry(stored.shape, affine_of(spacing_mm) if affine is None else affine, "1.2.3"),
        instances=(),
        frames=None,
        digest="",
    )


def build_volumes(
    pet: Volume,
    *,
    job: Job | None = None,
    method: str = "fixed_suv",
    otherwise: ProtocolMethod | None = None,
    **parameters: float,
) -> Volumes:
    protocol = Protocol(
        name="fdg",
        title="FDG",
        version="1",
        tracers=(),
        tracer_texts=(),
        radionuclides=("F-18",),
        method=ProtocolMethod(method, parameters, "Somebody, J Nucl Med 2024"),
        otherwise=otherwise,
        uptake_time_min=Window(),
        uptake_time_source="",
        glucose_mmol_l=Window(),
        passed_over_texts=(),
        digest="",
    )
    series = Series("1.2.3.4", ())
    case = Case(Study("1.2.3", "key", (series,)), job or Job(), (), Path("out"))
    tracer = Tracer("fdg", None, "F-18", "code")
    suv = Suv(
        units="BQML",
        suv_type=None,
        decay_correction="START",
        reference_time=None,
        reference_time_rule="",
        injection_time=None,
        injection_time_rule="",
        uptake_time_s=None,
        half_life_s=None,
        radionuclide="F-18",
        injected_dose_bq=None,
        weight_kg=None,
        height_m=None,
        sex=None,
        suvbw_factor=np.ones(len(pet.stored)),
        lbm_ratio={},
        bsa_ratio=None,
        corrected=(),
        notes=(),
    )
    return Volumes(Selection(case, tracer, protocol, series, None, (), ()), pet, suv, None, ())


@pytest.fixture(scope="session")
def make_affine() -> Callable[..., Any]:
    return affine_of


@pytest.fixture(scope="session")
def make_volume() -> Callable[..., Volume]:
    return build_volume


@pytest.fixture(scope="session")
def make_volumes() -> Callable[..., Volumes]:
    return build_volumes
