"""What was measured of the package, in one JSON file: tables, pictures and card are made from it alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from app.evaluation.measure import CaseMetrics
from models.petct_lesion.training.simulator.uptake import TRACERS

NETWORK = "network"
PET_ONLY = "network_pet_only"
THRESHOLDS = {
    "suv_1.5": "SUV ≥ 1.5",
    "suv_2.0": "SUV ≥ 2.0",
    "suv_2.5": "SUV ≥ 2.5",
    "suv_4.0": "SUV ≥ 4.0",
    "suvmax_41": "41 % of the tumour's SUVmax",
}
METHODS = {NETWORK: "network", PET_ONLY: "network, PET alone"} | THRESHOLDS
"""What a patient may have been segmented by, and how it is called."""

PSEUDONYM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class PatientResult:
    """A patient, judged by the network of the fold that left that patient out."""

    __pydantic_config__ = _CHECKED

    name: str
    """Pseudonym of the collection."""
    fold: int
    tumour_ml: float
    """Of the reference, as the next two."""
    suv_max: float
    suv_mean: float
    spacing_mm: tuple[float, float, float]
    """Of the PET, (z, y, x)."""
    predicted_dice: float | None
    """What the guard expected; None where it had no value."""
    methods: Mapping[str, CaseMetrics]
    """By the names of `METHODS`: the network, and what else was tried on the same patient."""


@dataclass(frozen=True, slots=True)
class WholeBodyResult:
    """The one real whole-body PET, by the network of the fold that left its patient out."""

    __pydantic_config__ = _CHECKED

    patient: str
    metrics: CaseMetrics
    """In the box in which the tumour was outlined."""
    false_positive_ml_elsewhere: float
    """Called lesion outside that box."""
    threshold_4: CaseMetrics
    """SUV ≥ 4 in the same box."""
    threshold_4_ml_elsewhere: float
    """SUV ≥ 4 outside it: brain, heart, bladder."""
    seconds: float
    """From the image in memory to the label map."""
    shape: tuple[int, int, int]
    """Voxels of the PET, (z, y, x)."""


@dataclass(frozen=True, slots=True)
class SimulatedResult:
    """A simulated whole body that was in no training."""

    __pydantic_config__ = _CHECKED

    seed: int
    tracer: str
    with_ct: bool
    metrics: CaseMetrics
    """Lesions from `min_lesion_ml`, the same in all bodies."""
    physiological_called_lesion_ml: float


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Voxels of the left-out patients whose probability of lesion lies between two values; at least one."""

    __pydantic_config__ = _CHECKED

    calibrated: bool
    low: float
    high: float
    mean_probability: float
    observed: float
    """Share of these voxels that are lesion in the reference."""
    voxels: int


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the package takes, from the image in memory to the label map."""

    __pydantic_config__ = _CHECKED

    machine: str
    """In words: cores or GPU, engine, precision."""
    gpu: bool
    shape: tuple[int, int, int]
    """Voxels of the PET, (z, y, x)."""
    seconds: float


Words = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Record:
    """All that was measured."""

    __pydantic_config__ = _CHECKED

    date: str
    """Of the measurement, as YYYY-MM-DD."""
    patients: tuple[PatientResult, ...]
    whole_body: WholeBodyResult | None
    simulated: tuple[SimulatedResult, ...]
    reliability: tuple[ReliabilityBin, ...]
    recipe: Mapping[str, Words | tuple[Words, ...]]
    """What was trained how: steps, seeds, times (``_s``), the machine in words. A key's underscores are
    shown as spaces."""
    timings: tuple[Timing, ...] = ()
    remarks: tuple[str, ...] = ()
    """What was tried, with its numbers, and what was seen: a sentence or two each, for the card."""


RECORD: TypeAdapter[Record] = TypeAdapter(Record)


class RecordError(ValueError):
    """A record that contradicts itself or is not one."""


def write_record(record: Record, path: Path) -> None:
    """Write a record; the same record gives the same bytes.

    Raises
    ------
    RecordError
        It would not be read again.
    OSError
    """
    check(record)
    text = json.dumps(RECORD.dump_python(record, mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text + "\n", encoding="utf-8", newline="\n")
    part.replace(path)


def read_record(path: Path) -> Record:
    """Read a record and check it.

    Raises
    ------
    RecordError
        It is no record, or contradicts itself.
    OSError
    """
    try:
        record = RECORD.validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RecordError(f"{path.name}: {where}: {first['msg']}") from error
    check(record)
    return record


def check(record: Record) -> None:
    """Check that a record's parts agree.

    Raises
    ------
    RecordError
        Says what does not.
    """
    for where, value in _numbers(RECORD.dump_python(record), "record"):
        _demand(math.isfinite(value), f"{where} is {value}")
    try:
        date.fromisoformat(record.date)
    except ValueError as error:
        raise RecordError(f"date: {error}") from error
    _check_patients(record.patients)
    if record.whole_body is not None:
        _check_whole_body(record.whole_body, record.patients)
    _check_simulated(record.simulated)
    for timing in record.timings:
        _demand(min(timing.seconds, *timing.shape) > 0, f"timing on {timing.machine}: not positive")
    for each in record.reliability:
        where = f"reliability {each.low:g} to {each.high:g}"
        _demand(0 <= each.low < each.high <= 1 and each.voxels > 0, f"{where}: no such bin")
        shares = (each.mean_probability, each.observed)
        _demand(min(shares) >= 0 and max(shares) <= 1, f"{where}: a share is not between 0 and 1")


def _check_patients(patients: Sequence[PatientResult]) -> None:
    _demand(bool(patients), "no patients")
    names = [patient.name for patient in patients]
    _demand(len(set(names)) == len(names), "a patient is there twice")
    methods = set(patients[0].methods)
    _demand(NETWORK in methods and bool(methods & set(THRESHOLDS)), "methods: no network or no threshold")
    _demand(methods <= set(METHODS), f"methods: unknown {sorted(methods - set(METHODS))}")
    for patient in patients:
        where = patient.name
        _demand(PSEUDONYM.fullmatch(where) is not None, f"{where!r} is no pseudonym")
        _demand(set(patient.methods) == methods, f"{where}: other methods than {patients[0].name}")
        positive = (patient.tumour_ml, patient.suv_max, *patient.spacing_mm)
        _demand(min(positive) > 0 and patient.fold >= 0, f"{where}: a size, SUV or fold is not positive")
        _demand(patient.suv_mean <= patient.suv_max, f"{where}: SUVmean above SUVmax")
        _demand(0 <= (patient.predicted_dice or 0) <= 1, f"{where}: predicted Dice {patient.predicted_dice}")
        for name, metrics in patient.methods.items():
            _check_metrics(metrics, f"{where}, {name}")
            same = math.isclose(metrics.reference_mtv_ml, patient.tumour_ml, rel_tol=1e-3)
            _demand(same, f"{where}, {name}: measured against another reference than that of tumour_ml")


def _check_whole_body(whole_body: WholeBodyResult, patients: Sequence[PatientResult]) -> None:
    where = "whole_body"
    _demand(whole_body.patient in {patient.name for patient in patients}, f"{where}: of no patient")
    _demand(min(whole_body.seconds, *whole_body.shape) > 0, f"{where}: seconds or shape not positive")
    elsewhere = (whole_body.false_positive_ml_elsewhere, whole_body.threshold_4_ml_elsewhere)
    _demand(min(elsewhere) >= 0, f"{where}: a volume below 0")
    _check_metrics(whole_body.metrics, where)
    _check_metrics(whole_body.threshold_4, where)


def _check_simulated(simulated: Sequence[SimulatedResult]) -> None:
    bodies = [(each.seed, each.tracer, each.with_ct) for each in simulated]
    _demand(len(set(bodies)) == len(bodies), "simulated: a body is there twice")
    least = {each.metrics.min_lesion_ml for each in simulated}
    _demand(len(least) <= 1, "simulated: bodies with different smallest lesions")
    for each in simulated:
        _demand(each.tracer in TRACERS, f"simulated {each.seed}: tracer {each.tracer!r}")
        _demand(each.physiological_called_lesion_ml >= 0, f"simulated {each.seed}: a volume below 0")


def _check_metrics(metrics: CaseMetrics, where: str) -> None:
    """Of a case with a lesion in its reference."""
    _demand(metrics.dice is not None and 0 <= metrics.dice <= 1, f"{where}: Dice {metrics.dice}")


def _numbers(value: Any, where: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield where, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(part, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _numbers(part, f"{where}.{number}")


def _demand(held: bool, otherwise: str) -> None:
    if not held:
        raise RecordError(otherwise)
