"""Bladder and the organs of the pelvis."""

from __future__ import annotations

import numpy as np

from models.petct_lesion.training.simulator.canvas import Canvas
from models.petct_lesion.training.simulator.form import Build
from models.petct_lesion.training.simulator.shapes import (
    Field,
    Xyz,
    capsule,
    ellipsoid,
    rotation,
    shell,
    union,
)
from models.petct_lesion.training.simulator.types import Label, Tissue


def paint_pelvis(canvas: Canvas, uptake: dict[str, float], build: Build, hot: float) -> None:
    """The organs of the sex, and the bladder over them."""
    rng = canvas.rng
    if build.female:
        _female(canvas, uptake, build, hot)
    else:
        _male(canvas, uptake, build, hot)
    volume_ml = float(np.clip(np.exp(rng.normal(np.log(120), 0.8)), 12, 700))
    radius = (volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    flat = rng.uniform(0.65, 0.95)
    radii = np.array((1.12, 1.0, flat)) * radius / (1.12 * flat) ** (1 / 3)
    middle = np.array((rng.normal(0, 4), -30.0, 78 + radii[2] * 0.85))
    urine, layered = uptake["bladder"], rng.uniform(0, 0.5)

    def filling(xyz: Xyz, _: Field) -> Field:
        sink = (xyz[1] - np.float32(middle[1])) / np.float32(radii[1])
        return np.asarray(urine * (1 + layered * np.clip(sink, -1, 1)), np.float32)

    turn = rotation(rng.normal(0, 8), rng.normal(0, 5))
    canvas.paint(ellipsoid(middle, radii + 3.5, turn), uptake["muscle"], 35, tissue=Tissue.MUSCLE, rough=1.5)
    canvas.paint(ellipsoid(middle, radii, turn), filling, 8, Label.URINARY, Tissue.LUMEN, rough=1.5)
    if rng.random() < 0.05:
        canvas.paint(
            ellipsoid(middle + rng.choice((-1, 1)) * np.array((radii[0], 8, 0)), rng.uniform(7, 16, 3)),
            urine,
            8,
            Label.URINARY,
            Tissue.LUMEN,
        )
    if rng.random() < 0.10:
        _contamination(canvas, urine * rng.uniform(0.05, 0.6))


def _contamination(canvas: Canvas, level: float) -> None:
    """Urine on the skin of the perineum, thighs or clothes."""
    rng = canvas.rng
    for _ in range(int(rng.integers(1, 4))):
        spot = np.array((rng.normal(0, 35), -70 + rng.normal(0, 25), rng.uniform(-40, 40)))
        canvas.paint(ellipsoid(spot, rng.uniform(4, 14, 3)), level, None, Label.OTHER, None, rough=3, hot=1.2)


def _female(canvas: Canvas, uptake: dict[str, float], build: Build, hot: float) -> None:
    rng = canvas.rng
    if rng.random() < 0.8:
        young = build.age < 52
        size = (1.0 if young else 0.72) * float(np.exp(rng.normal(0, 0.15)))
        middle = np.array((rng.normal(0, 8), 2.0, 128.0))
        womb = union(
            ellipsoid(middle, (27 * size, 24 * size, 34 * size), rotation(35)),
            capsule((0, 12, 100), (0, 16, 80), 13),
            blend_mm=8,
        )
        canvas.paint(
            womb,
            uptake["uterus"] * (0.55 if young else 0.5),
            60,
            Label.OTHER,
            Tissue.ORGAN,
            hot=hot,
            texture=0.1,
            rough=2,
        )
        if young or rng.random() < 0.3:
            lining = ellipsoid(middle, (11 * size, 7 * size, 20 * size), rotation(35))
            canvas.paint(
                lining, uptake["uterus"] * rng.uniform(0.7, 1.8), 55, Label.OTHER, Tissue.ORGAN, hot=hot
            )
        if rng.random() < 0.12:
            canvas.paint(
                ellipsoid(middle + rng.normal(0, 20, 3), [rng.uniform(10, 28)] * 3),
                uptake["uterus"] * rng.uniform(0.3, 0.9),
                60,
                Label.OTHER,
                Tissue.ORGAN,
                hot=hot,
                rough=2,
            )
        for side in (-1, 1):
            active = rng.uniform(1.2, 2.6) if young and rng.random() < 0.3 else 0.7
            canvas.paint(
                ellipsoid((side * 40, 5, 125), (10, 12, 14)),
                uptake["ovary"] * active,
                30,
                Label.OTHER,
                Tissue.ORGAN,
                hot=hot,
                rough=1.5,
            )
    canvas.paint(
        capsule((0, 6, 75), (0, -18, 30), 9, 8),
        uptake["muscle"] * 1.5,
        45,
        Label.OTHER,
        Tissue.MUSCLE,
        hot=hot,
    )
    if rng.random() < 0.4:
        canvas.paint(
            capsule((0, -28, 60), (0, -38, 28), 4),
            uptake["urethra"],
            20,
            Label.URINARY,
            Tissue.ORGAN,
            hot=hot,
        )
    if rng.random() < 0.10:
        canvas.paint(ellipsoid((0, -45, 22), (9, 16, 8)), uptake["anus"], None, Label.OTHER, None, hot=hot)


def _male(canvas: Canvas, uptake: dict[str, float], build: Build, hot: float) -> None:
    rng = canvas.rng
    size = float(np.exp(rng.normal(0.05 + 0.004 * (build.age - 60), 0.18)))
    if rng.random() < 0.85:
        canvas.paint(
            ellipsoid((0, -18, 66), np.array((23, 18, 19)) * size),
            uptake["prostate"],
            45,
            Label.OTHER,
            Tissue.ORGAN,
            hot=hot,
            texture=0.2,
            rough=1.5,
        )
        if rng.random() < 0.4:
            canvas.paint(
                capsule((0, -22, 78), (0, -26, 45), 4),
                uptake["urethra"] * 0.6,
                20,
                Label.URINARY,
                None,
                hot=hot,
            )
    canvas.paint(ellipsoid((0, 4, 92), (26, 7, 8)), uptake["prostate"] * 0.8, 35, tissue=Tissue.ORGAN)
    sack = union(ellipsoid((0, -88, -12), (34, 24, 30)), capsule((0, -72, 50), (0, -105, -10), 17, 15))
    canvas.paint(sack, uptake["muscle"] * 0.9, 20, tissue=Tissue.MUSCLE, only=(Tissue.AIR, Tissue.FAT))
    for side in (-1, 1):
        canvas.paint(
            ellipsoid((side * 17, -90, -16), (12, 14, 18)),
            uptake["testis"] * float(np.exp(rng.normal(0, 0.1))),
            35,
            Label.OTHER,
            Tissue.ORGAN,
            hot=hot,
        )
    if rng.random() < 0.5:
        bulb = union(capsule((0, -28, 45), (0, -62, 38), 5), capsule((0, -62, 38), (0, -105, 0), 5))
        canvas.paint(bulb, uptake["urethra"] * rng.uniform(0.3, 1.2), 25, Label.URINARY, None, hot=hot)
    canvas.paint(
        shell(capsule((0, -62, 40), (0, -104, -5), 12), 6),
        uptake["blood"] * rng.uniform(0.9, 1.3),
        45,
        Label.OTHER,
        None,
        hot=max(hot, 1.3 * uptake["blood"]),
    )
