"""Uptake that comes and goes: working muscles, brown fat, injection sites, catheters, scars."""

from __future__ import annotations

import numpy as np

from models.petct_lesion.training.simulator.canvas import Canvas
from models.petct_lesion.training.simulator.form import Build, arm_points
from models.petct_lesion.training.simulator.shapes import capsule, curve, ellipsoid, tube
from models.petct_lesion.training.simulator.types import Label, Tissue

# middle line and radius on the left side, and the chance that the muscle works
MUSCLES = {
    "masseter": (((50, -30, 735), (46, -30, 700)), 9.0, 0.10),
    "temporalis": (((62, -20, 800), (60, -28, 765)), 7.0, 0.04),
    "pterygoid": (((30, -30, 740), (40, -22, 715)), 7.0, 0.06),
    "sternomastoid": (((48, 12, 740), (38, -15, 680), (14, -52, 605)), 7.0, 0.10),
    "scalene": (((28, 5, 690), (50, -8, 622)), 7.0, 0.12),
    "longus colli": (((8, 0, 720), (9, 6, 640)), 5.0, 0.10),
    "trapezius": (((20, 48, 700), (60, 52, 630), (130, 30, 618)), 8.0, 0.12),
    "levator": (((30, 30, 720), (60, 55, 630)), 7.0, 0.08),
    "pectoral": (((40, -85, 540), (90, -75, 545), (140, -20, 575)), 9.0, 0.05),
    "deltoid": (((160, 0, 610), (190, 10, 560)), 14.0, 0.05),
    "supraspinatus": (((95, 70, 600), (140, 40, 605)), 8.0, 0.07),
    "rhomboid": (((25, 80, 600), (70, 88, 560)), 7.0, 0.05),
    "intercostal": (((60, -80, 480), (115, -50, 470), (132, 10, 490)), 4.0, 0.04),
    "paraspinal": (((26, 78, 190), (28, 82, 330), (26, 88, 480)), 16.0, 0.05),
    "rectus": (((25, -90, 360), (30, -95, 230), (25, -85, 110)), 10.0, 0.05),
    "psoas": (((36, 30, 310), (50, 28, 210), (64, 0, 120)), 13.0, 0.07),
    "gluteus": (((70, 80, 170), (100, 75, 100), (115, 40, 50)), 28.0, 0.02),
    "adductor": (((30, -30, 40), (50, -10, -60), (70, 5, -180)), 22.0, 0.02),
    "quadriceps": (((90, -45, 20), (85, -45, -150), (80, -40, -320)), 28.0, 0.02),
    "hamstring": (((70, 50, 0), (75, 50, -180), (75, 35, -340)), 24.0, 0.02),
    "calf": (((72, 45, -440), (70, 48, -600)), 24.0, 0.02),
    "obturator": (((40, -20, 70), (80, 20, 60)), 9.0, 0.05),
}


def paint_working_muscles(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    """Before the bones: they cover what reaches too far."""
    rng = canvas.rng
    tense = rng.choice((0.5, 1.0, 3.5), p=(0.4, 0.45, 0.15))
    for line, radius, chance in MUSCLES.values():
        if rng.random() > chance * tense:
            continue
        both = rng.random() < 0.65
        chosen = rng.choice((-1, 1))
        level = uptake["active_muscle"] * float(np.exp(rng.normal(0, 0.3)))
        for side in (-1, 1):
            if not both and side != chosen:
                continue
            points = curve([(side * x, y, z) for x, y, z in line], 5)
            own = level * float(np.exp(rng.normal(0, 0.2)))
            for segment in tube(points, radius * np.array((0.6, 1, 1.05, 1, 0.55))):
                canvas.paint(
                    segment,
                    own,
                    58,
                    Label.OTHER,
                    None,
                    hot=hot,
                    texture=0.2,
                    rough=3,
                    only=(Tissue.MUSCLE, Tissue.FAT),
                )


def paint_brown_fat(canvas: Canvas, uptake: dict[str, float], tracer: str, build: Build, hot: float) -> None:
    """Above the collar bones, beside the spine and about the kidneys, mostly in the young."""
    rng = canvas.rng
    if tracer != "fdg" or rng.random() > (0.10 if build.age > 45 else 0.25):
        return
    level = uptake["brown_fat"]
    soft = (Tissue.MUSCLE, Tissue.FAT, Tissue.VISCERAL)

    spots = [
        ((side * x, y, z), 9.0, (6.0, 16.0), (0.7, 1.3))
        for x, y, z in ((70, -5, 628), (45, 0, 648), (100, 5, 610), (55, 15, 670), (130, 20, 570))
        for side in (-1, 1)
        for _ in range(int(rng.choice((0, 3), p=(0.25, 0.75))))
    ]
    if rng.random() < 0.7:
        spots += [
            ((side * 24, 66, z), 2.0, (4.0, 6.5), (0.4, 1.0)) for z in range(380, 620, 24) for side in (-1, 1)
        ]
    if rng.random() < 0.3:
        spots += [((side * 50, 40, 350), 5.0, (10.0, 20.0), (0.3, 0.8)) for side in (-1, 1)]
    for place, wander_mm, size_mm, share in spots:
        radii = rng.uniform(*size_mm, 3)
        deposit = ellipsoid(np.array(place) + rng.normal(0, wander_mm, 3), radii)
        own = level * rng.uniform(*share)
        rough = 0.4 * float(radii.min())
        canvas.paint(deposit, own, -80, Label.OTHER, None, hot=hot, texture=0.4, rough=rough, only=soft)


def paint_procedures(canvas: Canvas, uptake: dict[str, float], build: Build, hot: float) -> None:
    """What hands did: injection, port, scars, stoma, hip replacement."""
    rng = canvas.rng
    side = int(rng.choice((-1, 1)))
    pose = build.arms[0 if side < 0 else 1]
    outer = (Tissue.MUSCLE, Tissue.FAT)
    if pose != "absent" and rng.random() < 0.22:
        _injection(canvas, side, pose, hot)
    if rng.random() < 0.12:
        port = (side * 75, -90 - 0.6 * build.fat_mm, 560)
        canvas.paint(
            ellipsoid(port, (14, 7, 14)), uptake["scar"], 1500, Label.OTHER, None, hot=hot, only=outer
        )
    for _ in range(int(rng.poisson(0.5))):
        start = np.array((rng.uniform(-130, 130), rng.uniform(-110, 100), rng.uniform(-150, 620)))
        scar = capsule(start, start + rng.normal(0, 40, 3), rng.uniform(4, 9))
        level = uptake["scar"] * rng.uniform(0.8, 1.3)
        canvas.paint(scar, level, 40, Label.OTHER, None, hot=hot, rough=4, texture=0.3, only=outer)
    if rng.random() < 0.05:
        stoma = ellipsoid((side * 70, -100 - 0.8 * build.fat_mm, 190), (17, 12, 17))
        canvas.paint(stoma, uptake["scar"] * 1.4, 40, Label.GUT, None, hot=hot, only=outer)
    if rng.random() < 0.06:
        _hip_replacement(canvas, uptake, side, hot)


def _injection(canvas: Canvas, side: int, pose: str, hot: float) -> None:
    """Tracer left in the forearm, sometimes in the vein above it and in the nodes that it drains to."""
    rng = canvas.rng
    shoulder, elbow, wrist, _ = (np.array(point, float) for point in arm_points(side, pose))
    at = elbow + (wrist - elbow) * rng.uniform(0, 1) - np.array((0.0, 25.0, 0.0))
    level = float(np.exp(rng.normal(np.log(12), 0.9)))
    depot = ellipsoid(at, rng.uniform(4, 14, 3))
    canvas.paint(depot, level, None, Label.OTHER, None, rough=3, hot=hot, only=(Tissue.MUSCLE, Tissue.FAT))
    if rng.random() < 0.4:
        way = (
            at,
            elbow - np.array((0.0, 22.0, 0.0)),
            (elbow + shoulder) / 2 - np.array((side * 18.0, 15.0, 0.0)),
            shoulder - np.array((side * 25.0, 20.0, 5.0)),
        )
        for segment in tube(curve(way, 12)[: int(rng.integers(4, 13))], 3.0):
            canvas.paint(segment, level * rng.uniform(0.1, 0.5), None, Label.OTHER, None, hot=hot)
    if rng.random() < 0.12:
        for _ in range(int(rng.integers(1, 4))):
            spot = np.array((side * 128, 0, 560)) + rng.normal(0, 12, 3)
            node = ellipsoid(spot, rng.uniform(3, 6, 3))
            canvas.paint(node, rng.uniform(1.5, 5), 40, Label.OTHER, None, hot=hot)


def _hip_replacement(canvas: Canvas, uptake: dict[str, float], side: int, hot: float) -> None:
    rng = canvas.rng
    for segment in tube([(side * 90, 6, 86), (side * 118, 16, 55), (side * 104, 10, -90)], [24, 12, 8]):
        canvas.paint(segment, 0.15, 3000, Label.BACKGROUND, Tissue.LUMEN)
    for spot in ((side * 122, 20, 60), (side * 88, 4, 112), (side * 104, 10, -95)):
        if rng.random() < 0.6:
            loose = ellipsoid(np.array(spot) + rng.normal(0, 4, 3), rng.uniform(8, 18, 3))
            level = uptake["joint"] * rng.uniform(1.0, 2.0)
            around = (Tissue.MUSCLE, Tissue.FAT, Tissue.MARROW)
            canvas.paint(loose, level, None, Label.OTHER, None, hot=hot, rough=3, only=around)
