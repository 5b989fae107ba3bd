"""All figures of the package: patients by the folds, the whole body, simulated bodies, the guard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.evaluation.measure import CaseMetrics, measure_case
from models.petct_lesion.training.calibrate import fit_guard, fit_voxels, predicted_dices, reliability
from models.petct_lesion.training.design import LESION, SPACING_MM
from models.petct_lesion.training.export import export
from models.petct_lesion.training.folds import FOLDS, fold_of
from models.petct_lesion.training.judge import Judged, judge
from models.petct_lesion.training.patients import Patient
from models.petct_lesion.training.pipeline import WHOLE_BODY_OF, Site, train_side_by_side, tuned
from models.petct_lesion.training.recipe import UNSEEN, Recipe
from models.petct_lesion.training.report.record import (
    NETWORK,
    PET_ONLY,
    PatientResult,
    ReliabilityBin,
    SimulatedResult,
    WholeBodyResult,
)
from models.petct_lesion.training.side_by_side import side_by_side
from models.petct_lesion.training.simulator.body import simulate_body
from models.petct_lesion.training.simulator.types import Body
from operators.domain import Geometry
from operators.segmentation.network.grid import onto
from operators.segmentation.network.types import Image
from operators.segmentation.package.types import Guard, Package, Shape, Triple

MIN_LESION_ML = 1.0
"""Of the lesions that are counted in simulated bodies."""


@dataclass(frozen=True, slots=True)
class Folds:
    """What the cross-validation found."""

    patients: tuple[PatientResult, ...]
    judged: tuple[Judged, ...]
    """With CT, in the order of the patients."""
    whole_body: WholeBodyResult
    whole_body_judged: Judged


def cross_validate(recipe: Recipe, site: Site, seed: int) -> Folds:
    """Train folds and shipped network, or take those that are there, and judge patients by their folds."""
    patients = site.patients()
    dealt = fold_of(patients, seed)
    judged: dict[str, Judged] = {}
    alone: dict[str, Judged] = {}
    whole: tuple[WholeBodyResult, Judged] | None = None
    seen: dict[int | None, Sequence[Patient]] = {None: patients}
    for fold in range(FOLDS):
        seen[fold] = [patient for patient in patients if dealt[patient.name] != fold]
    train_side_by_side(recipe, site, seen)
    for fold in range(FOLDS):
        network = tuned(recipe, site, seen[fold], fold)
        package = export(network, site.work / "packages" / f"fold{fold}" / "petct_lesion")
        for patient in patients:
            if dealt[patient.name] == fold:
                judged[patient.name] = judge(package, patient.name, patient.own, patient.truth)
                alone[patient.name] = judge(package, patient.name, patient.own, patient.truth, with_ct=False)
                if patient.name == WHOLE_BODY_OF:
                    whole = judge_whole_body(package, patient, site.whole_body())
    if whole is None:
        message = f"{WHOLE_BODY_OF} is in no fold"
        raise ValueError(message)
    cases = tuple(judged[patient.name] for patient in patients)
    said = predicted_dices(cases, fit_voxels(cases, "the patients"))
    results = tuple(
        _result(patient, dealt[patient.name], dice, case, alone[patient.name])
        for patient, dice, case in zip(patients, said, cases, strict=True)
    )
    return Folds(results, cases, *whole)


def _result(patient: Patient, fold: int, said: float | None, case: Judged, alone: Judged) -> PatientResult:
    suv, truth = patient.own.array[0], patient.truth
    z, y, x = patient.own.geometry.spacing_mm
    return PatientResult(
        name=patient.name,
        fold=fold,
        tumour_ml=case.metrics.reference_mtv_ml,
        suv_max=float(suv[truth].max()),
        suv_mean=float(suv[truth].mean()),
        spacing_mm=(z, y, x),
        predicted_dice=said,
        methods={NETWORK: case.metrics, PET_ONLY: alone.metrics, **dict(_thresholds(patient))},
    )


def _thresholds(patient: Patient) -> Iterator[tuple[str, CaseMetrics]]:
    suv = patient.own.array[0]
    values: Mapping[str, float] = {
        **{f"suv_{value}": value for value in (1.5, 2.0, 2.5, 4.0)},
        "suvmax_41": 0.41 * float(suv[patient.truth].max()),  # of the tumour, as a reader would point at it
    }
    for name, value in values.items():
        yield name, measure_case(suv >= value, patient.truth, suv, patient.own.geometry)


# ---- the whole body ------------------------------------------------------------------------------


def judge_whole_body(package: Package, patient: Patient, image: Image) -> tuple[WholeBodyResult, Judged]:
    """Judge the whole-body PET: in the box in which its tumour was outlined, and elsewhere."""
    grid = image.geometry
    truth = onto(patient.truth.astype(np.uint8), patient.own.geometry, grid) > 0
    outlined = onto(np.ones_like(patient.truth, np.uint8), patient.own.geometry, grid) > 0
    case = judge(package, patient.name, image, truth)
    high = image.array[0] >= 4.0
    z, y, x = grid.shape
    result = WholeBodyResult(
        patient=patient.name,
        metrics=_inside(case.mask, truth, outlined, image),
        false_positive_ml_elsewhere=_volume(case.mask & ~outlined, grid),
        threshold_4=_inside(high, truth, outlined, image),
        threshold_4_ml_elsewhere=_volume(high & ~outlined, grid),
        seconds=case.seconds,
        shape=(z, y, x),
    )
    return result, case


def _inside(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], box: NDArray[np.bool_], image: Image
) -> CaseMetrics:
    return measure_case(mask & box, truth, image.array[0], image.geometry)


def _volume(mask: NDArray[np.bool_], grid: Geometry) -> float:
    return int(np.count_nonzero(mask)) * grid.voxel_volume_ml


# ---- simulated bodies ----------------------------------------------------------------------------


def judge_bodies(
    package: Package, tracers: Sequence[str], bodies: int
) -> Iterator[tuple[SimulatedResult, Judged]]:
    """Judge the package on simulated bodies that were in no training, every second one without its CT."""
    jobs = [(tracer, number) for tracer in tracers for number in range(bodies)]
    yield from side_by_side(partial(_judge_body, package), jobs)


def _judge_body(package: Package, job: tuple[str, int]) -> tuple[SimulatedResult, Judged]:
    tracer, number = job
    seed, with_ct = UNSEEN + number, number % 2 == 0
    body = simulate_body(seed, tracer)
    case = judge(
        package,
        f"{tracer} {seed}",
        image_of_body(body),
        body.labels == LESION,
        with_ct=with_ct,
        min_lesion_ml=MIN_LESION_ML,
    )
    wrong = int(np.count_nonzero(case.mask & (body.labels > LESION))) * case.voxel_volume_ml
    return SimulatedResult(seed, tracer, with_ct, case.metrics, wrong), case


def image_of_body(body: Body) -> Image:
    """A simulated body as the engine takes an image."""
    z, y, x = body.suv.shape
    array = np.stack([body.suv.astype(np.float32), body.hu.astype(np.float32)])
    return Image(array, simulated_grid((z, y, x), (SPACING_MM, SPACING_MM, SPACING_MM)))


def simulated_grid(shape: Shape, spacing_mm: Triple) -> Geometry:
    """A grid, (z, y, x), along the patient's axes."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing_mm
    affine[3, 3] = 1.0
    return Geometry(shape, affine, "simulated")


def guard_of(
    patients: Sequence[Judged], bodies: Sequence[Judged], data: str
) -> tuple[Guard, tuple[ReliabilityBin, ...]]:
    """The guard, and how well voxels are calibrated before and after it."""
    guard = fit_guard(patients, bodies, data)
    return guard, (*reliability(patients, None), *reliability(patients, guard.voxel))
