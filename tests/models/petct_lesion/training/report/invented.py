"""An invented record: every figure in it is made up, none was measured."""

from __future__ import annotations

from app.evaluation.detection import Detection
from app.evaluation.measure import CaseMetrics
from models.petct_lesion.training.report.record import (
    PatientResult,
    Record,
    ReliabilityBin,
    SimulatedResult,
    Timing,
    WholeBodyResult,
)

NETWORK_DICE = (0.90, 0.85, 0.80, 0.75, 0.70, 0.95, 0.88, 0.82, 0.40)
SUV_2_DICE = (0.60, 0.60, 0.85, 0.50, 0.50, 0.60, 0.60, 0.60, 0.30)
SUV_4_DICE = (0.30, 0.20, 0.10, 0.60, 0.30, 0.20, 0.10, 0.40, 0.45)
PREDICTED = (0.85, 0.85, 0.85, 0.75, 0.75, 0.90, 0.88, 0.82, 0.60)
VOLUMES = (100.0, 200.0, 50.0, 400.0, 800.0, 25.0, 300.0, 150.0, 10.0)
MTV = (110.0, 190.0, 60.0, 390.0, 800.0, 30.0, 270.0, 150.0, 40.0)
SUV_MEAN = (3.0, 4.0, 2.0, 6.0, 7.0, 1.5, 5.0, 2.5, 1.0)
IN_PLANE = (5.46875,) * 5 + (4.6875,) * 2 + (3.90625,) * 2


def metrics(
    dice: float | None,
    reference_ml: float,
    mtv_ml: float,
    found: tuple[int, int, int] = (1, 0, 0),
    min_lesion_ml: float = 0.0,
) -> CaseMetrics:
    return CaseMetrics(
        dice=dice,
        surface_dice=dice,
        hd95_mm=8.0,
        overlap=Detection(*found),
        iou=Detection(*found),
        false_negative_volume_ml=0.0,
        false_positive_volume_ml=2.0,
        mtv_ml=mtv_ml,
        reference_mtv_ml=reference_ml,
        tlg_g=3 * mtv_ml,
        reference_tlg_g=3 * reference_ml,
        tolerance_mm=4.0,
        min_lesion_ml=min_lesion_ml,
    )


def patient(n: int) -> PatientResult:
    volume = VOLUMES[n]
    return PatientResult(
        name=f"INVENTED_{n + 1:03d}",
        fold=n % 3,
        tumour_ml=volume,
        suv_max=12.5,
        suv_mean=SUV_MEAN[n],
        spacing_mm=(3.27, IN_PLANE[n], IN_PLANE[n]),
        predicted_dice=PREDICTED[n],
        methods={
            "network": metrics(NETWORK_DICE[n], volume, MTV[n]),
            "network_pet_only": metrics(NETWORK_DICE[n] - 0.1, volume, MTV[n]),
            "suv_2.0": metrics(SUV_2_DICE[n], volume, volume / 2),
            "suv_4.0": metrics(SUV_4_DICE[n], volume, volume / 4),
        },
    )


def body(seed: int, tracer: str, found: tuple[int, int, int], physiological_ml: float) -> SimulatedResult:
    return SimulatedResult(seed, tracer, True, metrics(0.7, 40.0, 40.0, found, 1.0), physiological_ml)


def record() -> Record:
    return Record(
        date="2026-11-21",
        patients=tuple(patient(n) for n in range(9)),
        whole_body=WholeBodyResult(
            patient="INVENTED_001",
            metrics=metrics(0.81, 100.0, 90.0),
            false_positive_ml_elsewhere=31.5,
            threshold_4=metrics(0.3, 100.0, 20.0),
            threshold_4_ml_elsewhere=1420.0,
            seconds=21.4,
            shape=(267, 128, 128),
        ),
        simulated=(
            body(1, "fdg", (9, 1, 0), 2.0),
            body(2, "fdg", (8, 0, 2), 4.0),
            body(3, "fdg", (3, 0, 0), 60.0),
            body(4, "psma", (5, 5, 5), 1.0),
            body(5, "psma", (5, 5, 5), 30.0),
        ),
        reliability=(
            ReliabilityBin(False, 0.0, 0.5, 0.2, 0.1, 300),
            ReliabilityBin(False, 0.5, 1.0, 0.9, 0.5, 100),
            ReliabilityBin(True, 0.5, 1.0, 0.8, 0.8, 100),
            ReliabilityBin(True, 0.0, 0.5, 0.1, 0.14, 300),
        ),
        recipe={"steps": 4000, "seeds": (1, 100), "machine": "an invented one"},
        timings=(
            Timing("two invented cores", False, (350, 200, 200), 58.25),
            Timing("an invented GPU", True, (350, 200, 200), 3.0),
        ),
        remarks=("An invented remark.",),
    )
