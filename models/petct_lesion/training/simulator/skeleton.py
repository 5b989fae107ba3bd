"""The bones: cortex over marrow, with discs, joints and what age does to them."""

from __future__ import annotations

import numpy as np

from models.petct_lesion.training.simulator.canvas import Canvas
from models.petct_lesion.training.simulator.form import Build, arm_points, leg_points
from models.petct_lesion.training.simulator.shapes import (
    Shape,
    below,
    capsule,
    curve,
    ellipsoid,
    grown,
    minus,
    rotation,
    shell,
    tube,
    union,
)
from models.petct_lesion.training.simulator.types import Label, Tissue

LUMBAR = tuple((f"L{n}", 187.0 + 35.0 * (5 - n)) for n in range(5, 0, -1))
THORACIC = tuple((f"T{n}", 360.0 + 24.5 * (12 - n)) for n in range(12, 0, -1))
CERVICAL = tuple((f"C{n}", 652.0 + 17.0 * (7 - n)) for n in range(7, 0, -1))


def spine_y(z: float) -> float:
    """Where the vertebral bodies' middles lie: lordosis, kyphosis, lordosis."""
    table = (
        (150, 52),
        (187, 34),
        (225, 26),
        (290, 30),
        (360, 42),
        (450, 56),
        (530, 58),
        (600, 44),
        (652, 24),
        (700, 14),
        (760, 14),
    )
    return float(np.interp(z, [row[0] for row in table], [row[1] for row in table]))


def paint_skeleton(canvas: Canvas, uptake: dict[str, float], build: Build) -> None:
    """All bones, from the inside of the trunk outwards."""
    _spine(canvas, uptake, build)
    _ribs(canvas, uptake)
    _pelvis(canvas, uptake)
    _limb_bones(canvas, uptake, build)
    _shoulders(canvas, uptake, build)
    _joints(canvas, uptake, build)


def bone(
    canvas: Canvas,
    uptake: dict[str, float],
    shape: Shape,
    *,
    cortex_mm: float = 2.5,
    red: float = 1.0,
    hu: float = 180.0,
) -> None:
    """A bone; ``red`` is its share of active marrow."""
    canvas.paint(shape, uptake["cortical_bone"], 620, tissue=Tissue.MARROW, rough=0.8)
    yellow = uptake["fat"]
    marrow = yellow + red * (uptake["marrow"] - yellow)
    canvas.paint(
        grown(shape, -cortex_mm),
        marrow,
        -20 + (hu + 20) * (0.4 + 0.6 * red),
        tissue=Tissue.MARROW,
        texture=0.10,
        rough=0.8,
    )


def _spine(canvas: Canvas, uptake: dict[str, float], build: Build) -> None:
    rng = canvas.rng
    density = float(np.clip(260 - 1.9 * build.age + rng.normal(0, 30), 60, 330))
    for name, z in (*LUMBAR, *THORACIC, *CERVICAL):
        y = spine_y(z)
        if name[0] == "L":
            radii, half, process = (25.0, 18.0), 15.0, 38.0
        elif name[0] == "T":
            radii, half, process = (16.0 + 5 * (530 - z) / 170, 14.0), 10.5, 34.0
        else:
            radii, half, process = (12.0, 9.0), 7.5, 26.0
        body = ellipsoid((0, y, z), (radii[0], radii[1], half * 2.2))
        body = below(below(body, (0, y, z + half), (0, 0, 1)), (0, y, z - half), (0, 0, -1))
        canvas.paint(
            capsule((0, y, z - half - 2), (0, y, z - half - 3), radii[1] * 0.9),
            uptake["disc"],
            70,
            tissue=Tissue.MUSCLE,
        )
        bone(canvas, uptake, body, cortex_mm=1.5, red=float(rng.normal(1.0, 0.06)), hu=density)
        back = y + radii[1]
        arch = union(
            capsule((radii[0] * 0.7, back + 2, z), (0, back + process * 0.6, z - 4), 4.5),
            capsule((-radii[0] * 0.7, back + 2, z), (0, back + process * 0.6, z - 4), 4.5),
            capsule((0, back + process * 0.6, z - 4), (0, back + process * 1.1, z - 10), 4.0),
            capsule((-radii[0] * 1.5, back + 10, z), (radii[0] * 1.5, back + 10, z), 4.5),
        )
        bone(canvas, uptake, arch, cortex_mm=2.0, red=0.7, hu=density)
    heights = np.arange(190, 770, 20.0)
    cord = [(0.0, spine_y(z) + np.interp(z, (187, 400, 652, 760), (27, 23, 17, 16)), z) for z in heights]
    for segment in tube(cord, 6.5):
        canvas.paint(segment, uptake["csf"] * 0.6 + 0.2, 20, tissue=Tissue.ORGAN)
    for segment in tube([p for p in cord if p[2] > 330], 4.5):
        canvas.paint(segment, uptake["spinal_cord"], 35, tissue=Tissue.ORGAN)


def _ribs(canvas: Canvas, uptake: dict[str, float]) -> None:
    rng = canvas.rng
    angles = np.deg2rad(np.linspace(8, 150, 10))
    for number, (_, z) in enumerate(reversed(THORACIC), start=1):
        top = np.interp(number, (1, 4, 12), (0.42, 0.86, 0.96))
        last = 10 if number <= 7 else 9 if number <= 10 else 5
        drop = np.interp(number, (1, 6, 12), (38, 85, 75)) + rng.normal(0, 3)
        y_half = 88.0 * np.interp(number, (1, 4, 12), (0.55, 0.92, 0.95))
        for side in (-1, 1):
            path = []
            for angle in angles[:last]:
                share = (angle - angles[0]) / (angles[-1] - angles[0])
                middle = np.interp(number, (1, 3, 12), (22, 10, 6))
                path.append(
                    (
                        side * 140 * top * np.sin(angle) ** 0.8,
                        middle + y_half * np.cos(angle),
                        z + 4 - drop * share**1.1,
                    )
                )
            for segment in tube(path, 4.8):
                bone(canvas, uptake, segment, cortex_mm=1.8, red=0.75, hu=200)
            if last == 10:
                end = path[-1]
                cartilage = capsule(end, (side * 12, -84, min(end[2] + 25, 560)), 5)
                canvas.paint(cartilage, uptake["fat"] * 1.3, 110, tissue=Tissue.MUSCLE)
    sternum = union(capsule((0, -78, 575), (0, -86, 545), 13), capsule((0, -88, 540), (0, -93, 440), 10))
    bone(canvas, uptake, sternum, cortex_mm=2.0, red=0.9, hu=130)


def _pelvis(canvas: Canvas, uptake: dict[str, float]) -> None:
    sacrum = below(ellipsoid((0, 66, 140), (50, 20, 62), rotation(18)), (0, 0, 178), (0, -0.3, 1))
    bone(canvas, uptake, sacrum, cortex_mm=2.0, red=0.95, hu=150)
    bone(canvas, uptake, capsule((0, 84, 85), (0, 72, 58), 8, 5), red=0.5)
    for side in (-1, 1):
        wing = ellipsoid((side * 92, 18, 165), (10, 62, 56), rotation(0, side * 22, side * 32))
        wing = below(wing, (side * 92, 18, 105), (0, 0, -1))
        bone(canvas, uptake, wing, red=0.95, hu=200)
        bone(canvas, uptake, capsule((side * 62, 55, 150), (side * 88, 15, 105), 15, 18), red=0.9, hu=230)
        cup = minus(ellipsoid((side * 86, 8, 85), (33, 33, 33)), ellipsoid((side * 98, 4, 80), (30, 30, 30)))
        bone(canvas, uptake, cup, red=0.7, hu=260)
        bone(canvas, uptake, capsule((side * 70, -22, 85), (side * 14, -55, 68), 10, 9), red=0.7, hu=160)
        bone(canvas, uptake, capsule((side * 10, -55, 72), (side * 12, -48, 45), 9, 8), red=0.7, hu=160)
        bone(canvas, uptake, capsule((side * 12, -48, 45), (side * 52, 12, 12), 8, 10), red=0.5, hu=160)
        bone(canvas, uptake, capsule((side * 78, 28, 65), (side * 58, 28, 10), 14, 14), red=0.6, hu=180)


def _limb_bones(canvas: Canvas, uptake: dict[str, float], build: Build) -> None:
    for side in (-1, 1):
        _, knee, ankle, toe = leg_points(side)
        head = (side * 90, 6, 86)
        shaft = (side * 118, 14, 30)
        bone(canvas, uptake, ellipsoid(head, (23, 23, 23)), red=0.35, hu=280)
        bone(canvas, uptake, capsule(head, (side * 120, 16, 58), 15), red=0.45, hu=180)
        bone(canvas, uptake, capsule((side * 124, 20, 66), (side * 118, 14, 20), 16, 15), red=0.4, hu=120)
        bone(
            canvas,
            uptake,
            capsule(shaft, (knee[0], knee[1], knee[2] + 40), 14, 14),
            cortex_mm=5.5,
            red=0.15,
            hu=0,
        )
        bone(
            canvas,
            uptake,
            capsule((knee[0] - 16, 2, knee[2] + 22), (knee[0] + 16, 2, knee[2] + 22), 24),
            red=0.1,
            hu=160,
        )
        bone(
            canvas,
            uptake,
            capsule((knee[0] - 14, 6, knee[2] - 22), (knee[0] + 14, 6, knee[2] - 22), 24),
            red=0.1,
            hu=160,
        )
        bone(canvas, uptake, ellipsoid((knee[0], -45, knee[2] + 15), (20, 9, 20)), red=0.1)
        bone(
            canvas,
            uptake,
            capsule((knee[0], 8, knee[2] - 40), (ankle[0], 22, ankle[2] + 10), 13, 11),
            cortex_mm=4,
            red=0.05,
            hu=0,
        )
        bone(
            canvas,
            uptake,
            capsule((knee[0] + side * 30, 25, knee[2] - 40), (ankle[0] + side * 22, 32, ankle[2]), 6),
            cortex_mm=2.5,
            red=0.05,
        )
        bone(canvas, uptake, capsule((ankle[0], 50, ankle[2] - 35), toe, 17, 9), red=0.1)
        pose = build.arms[0 if side < 0 else 1]
        if pose == "absent":
            continue
        shoulder, elbow, wrist, hand = arm_points(side, pose)
        bone(canvas, uptake, ellipsoid(shoulder, (23, 23, 23)), red=0.5, hu=180)
        bone(canvas, uptake, capsule(shoulder, elbow, 12, 11), cortex_mm=4, red=0.25, hu=20)
        aside = np.array((0, 14, 0))
        bone(
            canvas,
            uptake,
            capsule(np.array(elbow) + aside, np.array(wrist) + aside * 0.6, 7, 7),
            cortex_mm=3,
            red=0.1,
        )
        bone(
            canvas,
            uptake,
            capsule(np.array(elbow) - aside * 0.5, np.array(wrist) - aside * 0.6, 7, 8),
            cortex_mm=3,
            red=0.1,
        )
        bone(canvas, uptake, capsule(wrist, hand, 11, 8), red=0.1)


def _shoulders(canvas: Canvas, uptake: dict[str, float], build: Build) -> None:
    for side in (-1, 1):
        pose = build.arms[0 if side < 0 else 1]
        lift = 12 if pose == "up" else 0
        clavicle = curve(
            [
                (side * 18, -72, 585),
                (side * 60, -66, 600),
                (side * 105, -30, 608 + lift),
                (side * 150, 0, 606 + lift),
            ],
            7,
        )
        for segment in tube(clavicle, 6.5):
            bone(canvas, uptake, segment, cortex_mm=2.5, red=0.5)
        blade = ellipsoid((side * 112, 72, 545), (7, 36, 62), rotation(0, side * -12, side * -58))
        bone(canvas, uptake, blade, cortex_mm=2, red=0.7)
        bone(
            canvas,
            uptake,
            capsule((side * 90, 84, 580), (side * 155, 18, 610 + lift), 7, 8),
            cortex_mm=2,
            red=0.6,
        )
        bone(canvas, uptake, capsule((side * 130, 40, 585), (side * 150, 20, 588 + lift), 12, 15), red=0.6)


def _joints(canvas: Canvas, uptake: dict[str, float], build: Build) -> None:
    """Degenerative and inflammatory uptake about joints and facets."""
    rng = canvas.rng
    hot = max(0.9, 1.3 * uptake["muscle"])
    for side in (-1, 1):
        shoulder = arm_points(side, build.arms[0 if side < 0 else 1].replace("absent", "down"))[0]
        for center, radius, chance in (
            (shoulder, 27, 0.35),
            ((side * 90, 6, 86), 31, 0.25),
            ((side * 20, -72, 583), 10, 0.2),
            ((side * 78, 5, -400), 34, 0.3),
            ((side * 40, 68, 150), 18, 0.12),
            ((side * 120, 25, 62), 18, 0.15),
        ):
            if rng.random() < chance * (0.4 + build.age / 70):
                level = uptake["joint"] * float(np.exp(rng.normal(0, 0.3)))
                ring = shell(ellipsoid(center, (radius, radius, radius)), 7)
                canvas.paint(
                    ring,
                    level,
                    None,
                    Label.OTHER,
                    None,
                    hot=hot,
                    texture=0.35,
                    rough=2,
                    only=(Tissue.MUSCLE, Tissue.FAT),
                )
    for _ in range(int(rng.poisson(1.2 * build.age / 60))):
        name, z = (*LUMBAR, *CERVICAL, *THORACIC)[int(rng.integers(24))]
        side = rng.choice((-1, 1))
        spot = (
            side * (14 if name[0] == "C" else 20),
            spine_y(z) + rng.uniform(-22, 26),
            z - rng.uniform(8, 14),
        )
        level = max(uptake["joint"], uptake["marrow"]) * rng.uniform(1.0, 1.6)
        canvas.paint(ellipsoid(spot, rng.uniform(4, 8, 3)), level, 350, Label.OTHER, None, hot=hot, rough=1.5)
