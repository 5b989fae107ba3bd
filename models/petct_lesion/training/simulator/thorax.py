"""Lungs, heart, vessels and what else the chest holds."""

from __future__ import annotations

import numpy as np

from models.petct_lesion.training.simulator.canvas import Canvas
from models.petct_lesion.training.simulator.form import Build
from models.petct_lesion.training.simulator.shapes import (
    Field,
    Xyz,
    below,
    capsule,
    curve,
    ellipsoid,
    minus,
    rotation,
    shell,
    tube,
    union,
)
from models.petct_lesion.training.simulator.types import Label, Tissue

AORTA = [
    (6, -12, 490),
    (-8, -25, 520),
    (-10, -20, 555),
    (4, 0, 575),
    (18, 28, 568),
    (23, 40, 530),
    (22, 40, 450),
    (16, 26, 380),
    (8, 8, 320),
    (4, 2, 260),
    (2, 2, 215),
]


def paint_lungs(canvas: Canvas, uptake: dict[str, float]) -> None:
    """Air with vessels, denser at the back and the base."""
    rng = canvas.rng
    dependent = rng.uniform(0.1, 0.6)

    def lung(xyz: Xyz, _: Field) -> Field:
        y, z = xyz[1:]
        rise = 1 + dependent * np.clip((y + 20) / 100, -0.8, 1) + 0.15 * np.clip((430 - z) / 80, 0, 1)
        return np.asarray(uptake["lung"] * rise, np.float32)

    for side in (-1, 1):
        shape = ellipsoid((side * 74, 8, 480), (61, 88, 152), rotation(0, side * -5, 0))
        canvas.paint(shape, lung, -840 + 60 * dependent, tissue=Tissue.LUNG, texture=0.12, rough=3)
        box = canvas.box(shape.low, shape.high)
        if box is not None:
            here = canvas.tissue[box] == Tissue.LUNG
            vessels = np.clip(canvas.fine[box] - 1.7, 0, 1) * here
            canvas.hu[box] += 500 * vessels
            canvas.suv[box] += 0.25 * np.float32(uptake["blood"]) * vessels


def paint_mediastinum(canvas: Canvas, uptake: dict[str, float], build: Build, hot: float) -> None:
    """Fat, hila, veins, thymus and oesophagus."""
    rng = canvas.rng
    contrast = blood_hu(rng)
    blood, fat = uptake["blood"], uptake["visceral_fat"]
    core = union(ellipsoid((0, -8, 520), (30, 62, 110)), ellipsoid((10, -30, 450), (50, 50, 55)), blend_mm=15)
    canvas.paint(core, fat * 1.3, -70, tissue=Tissue.VISCERAL, rough=3, texture=0.15)
    for side in (-1, 1):
        hilum = capsule((side * 18, 8, 525), (side * 48, 14, 510), 13, 7)
        canvas.paint(hilum, blood * 0.95, contrast, Label.HEART, Tissue.BLOOD, rough=2)
        canvas.paint(capsule((side * 15, 8, 535), (side * 45, 16, 520), 7, 5), 0.4, -900, tissue=Tissue.LUMEN)
        canvas.paint(
            capsule((side * 22, -30, 598), (side * 4, -32, 570), 9),
            blood,
            contrast,
            Label.HEART,
            Tissue.BLOOD,
        )
        for segment in tube(
            curve(
                [(side * 20, -28, 602), (side * 60, -30, 612), (side * 110, 0, 590), (side * 150, 10, 560)], 8
            ),
            [5.5] * 8,
        ):
            canvas.paint(segment, blood * 0.85, 50, tissue=Tissue.BLOOD)
        if rng.random() < 0.22:  # reactive hila and mediastinum: not lesions
            level = min(uptake["reactive_node"] * rng.uniform(0.9, 1.5), 2.6)
            for _ in range(int(rng.integers(1, 4))):
                spot = np.array((side * 30, 12, 518)) + rng.normal(0, 9, 3)
                canvas.paint(
                    ellipsoid(spot, rng.uniform(4, 9, 3)),
                    level,
                    60,
                    Label.OTHER,
                    Tissue.ORGAN,
                    hot=hot,
                    rough=1,
                )
    if build.age < 40 or rng.random() < 0.15:
        thymus = union(
            ellipsoid((-10, -62, 540), (13, 8, 34)), ellipsoid((13, -62, 535), (14, 8, 38)), blend_mm=6
        )
        canvas.paint(thymus, uptake["thymus"], 20, Label.OTHER, Tissue.ORGAN, hot=hot, rough=2, texture=0.15)
    gullet = curve([(2, 2, 660), (4, 8, 600), (4, 24, 540), (6, 26, 460), (22, 12, 425)], 11)
    level = uptake["oesophagus"]
    flare = np.exp(rng.normal(0, 0.25, 11))
    flare[-2:] *= rng.uniform(0.9, 1.9)
    for segment, factor in zip(tube(gullet, 7.0), flare, strict=False):
        canvas.paint(segment, level * factor, 40, Label.GUT, Tissue.ORGAN, hot=hot)


def blood_hu(rng: np.random.Generator) -> float:
    """CT number of blood: native or contrast enhanced."""
    return float(rng.choice((42.0, 130.0, 190.0), p=(0.55, 0.3, 0.15)))


def paint_vessels(canvas: Canvas, uptake: dict[str, float], build: Build, hot: float) -> None:
    """Aorta, cava and the vessels to the legs."""
    rng = canvas.rng
    blood, hu = uptake["blood"], blood_hu(rng)
    path = np.array(AORTA, float) + rng.normal(0, 2.5, (len(AORTA), 3))
    wide = float(np.exp(rng.normal(0, 0.10)))
    points = curve(path, 25)
    radii = np.interp(np.linspace(0, 1, 25), (0, 0.3, 0.6, 1), (16, 14, 12, 9)) * wide
    for segment in tube(points, radii):
        canvas.paint(segment, blood, hu, Label.HEART, Tissue.BLOOD)
    if rng.random() < 0.12 * build.age / 60:
        patches = np.clip(rng.normal(0.6, 0.6, 25), 0, 1)
        for segment, share in zip(tube(points, radii), patches, strict=False):
            level = blood + share * (uptake["vessel_wall"] * 1.25 - blood)
            canvas.paint(shell(segment, 4), level, None, Label.OTHER, None, hot=max(hot, blood * 1.25))
    cava = curve(
        [(-14, 8, 215), (-20, 8, 300), (-22, 2, 400), (-24, -8, 450), (-26, -14, 500), (-24, -22, 570)], 12
    )
    for segment in tube(cava, 10.0):
        canvas.paint(
            segment, blood * 0.97, hu, Label.HEART if segment.low[2] > 400 else Label.BACKGROUND, Tissue.BLOOD
        )
    for side in (-1, 1):
        iliac = curve(
            [
                (side * 3, 4, 215),
                (side * 30, 12, 170),
                (side * 62, -22, 110),
                (side * 80, -48, 70),
                (side * 76, -42, -20),
                (side * 72, -15, -180),
                (side * 74, 10, -380),
            ],
            14,
        )
        for offset in (-6, 6):
            for segment in tube(iliac + np.array((offset, offset * 0.6, 0)), [5.5] * 7 + [3.6] * 7):
                canvas.paint(segment, blood * (0.9 if segment.low[2] > 50 else 0.65), hu, tissue=Tissue.BLOOD)


def paint_heart(canvas: Canvas, uptake: dict[str, float]) -> None:
    """Blood in four chambers; the left ventricle's wall from nothing to the hottest organ of the scan."""
    rng = canvas.rng
    blood, wall = uptake["blood"], uptake["myocardium"]
    hu = blood_hu(rng)
    apex = np.array((0.70, -0.58, -0.42)) + rng.normal(0, 0.10, 3)
    apex /= np.linalg.norm(apex)
    turn = _towards(apex)
    size = float(np.exp(rng.normal(0.0, 0.10)))
    middle = np.array((38.0, -36.0, 452.0)) + rng.normal(0, 5, 3)
    whole = ellipsoid(middle - 8 * apex + np.array((-12, 2, 6)), (44 * size, 42 * size, 54 * size), turn)
    canvas.paint(whole, uptake["visceral_fat"] * 1.6 + 0.2, 0, Label.HEART, Tissue.VISCERAL)
    for center, radii in (
        ((-26, -26, 478), (20, 22, 28)),
        ((4, 10, 488), (28, 17, 20)),
        ((8, -62, 458), (36, 22, 34)),
        ((2, -48, 500), (12, 14, 26)),
    ):
        canvas.paint(
            ellipsoid(np.array(center) + 0.5 * (middle - np.array((38, -36, 452))), np.array(radii) * size),
            blood,
            hu,
            Label.HEART,
            Tissue.BLOOD,
            rough=1.5,
        )
    outer = ellipsoid(middle, (31 * size, 31 * size, 45 * size), turn)
    thick = rng.uniform(8.5, 12.5)
    hollow = ellipsoid(middle - 5 * apex, (31 * size - thick, 31 * size - thick, 44 * size - thick), turn)
    base = middle - 24 * size * apex
    muscle = minus(below(outer, base, -apex), hollow)
    pattern = rng.choice(("even", "lateral", "basal", "patchy", "septal defect"))
    phase = rng.uniform(0, 2 * np.pi)
    floor = rng.uniform(0.15, 0.7)

    def wall_uptake(xyz: Xyz, _: Field) -> Field:
        local = [axis - np.float32(c) for axis, c in zip(xyz, middle, strict=True)]
        u, v, w = (sum(local[i] * np.float32(turn[i, k]) for i in range(3)) for k in range(3))
        if pattern == "even":
            share = 1 + 0.08 * np.cos(np.arctan2(v, u) - phase)
        elif pattern == "basal":
            share = floor + (1 - floor) * np.clip(0.5 - w / (45 * size), 0, 1)
        elif pattern == "patchy":
            share = floor + (1 - floor) * np.clip(
                0.5 + 0.8 * np.cos(2 * np.arctan2(v, u) - phase) + w / 60, 0, 1
            )
        else:
            power = 1.0 if pattern == "lateral" else 3.0
            share = floor + (1 - floor) * (0.5 + 0.5 * np.cos(np.arctan2(v, u) - phase)) ** (1 / power)
        low = min(blood, wall)
        return np.asarray(low + (wall - low) * share, np.float32)

    canvas.paint(below(outer, base, -apex), blood, hu, Label.HEART, Tissue.BLOOD)
    canvas.paint(muscle, wall_uptake, 75, Label.HEART, Tissue.ORGAN, texture=0.05)
    strength = rng.choice((0.25, 0.4, 0.8), p=(0.6, 0.3, 0.1))
    right = shell(ellipsoid(middle + np.array((-30, -18, 4)), (36 * size, 26 * size, 36 * size), turn), 4)
    canvas.paint(
        minus(right, outer), blood + max(wall - blood, 0) * strength * 0.6, 60, Label.HEART, Tissue.ORGAN
    )
    if rng.random() < 0.12:  # lipomatous septum, atrial appendage, papillary muscle
        canvas.paint(
            ellipsoid(np.array((-8, 0, 488)) + rng.normal(0, 5, 3), rng.uniform(4, 8, 3)),
            blood * rng.uniform(1.3, 2.6),
            -60,
            Label.HEART,
            None,
        )


def paint_breasts(canvas: Canvas, uptake: dict[str, float], build: Build, hot: float) -> None:
    """Drawn before the muscles' details; the fat is already there or is added."""
    rng = canvas.rng
    if not build.female:
        return
    size = float(np.clip(0.55 + build.fat_mm / 40 + rng.normal(0, 0.15), 0.35, 1.6))
    depth = -96 - build.fat_mm * 0.8 + 6
    for side in (-1, 1):
        if rng.random() < 0.06:
            continue  # mastectomy
        middle = (side * 78, depth, 500 - 12 * size)
        canvas.paint(
            ellipsoid(middle, (55 * size, 42 * size, 50 * size)),
            uptake["fat"],
            -95,
            tissue=Tissue.FAT,
            only=(Tissue.AIR, Tissue.FAT),
            rough=2,
        )
        gland = ellipsoid((middle[0], middle[1] - 10 * size, middle[2]), (34 * size, 26 * size, 32 * size))
        canvas.paint(
            gland,
            uptake["breast"],
            10,
            Label.OTHER,
            Tissue.ORGAN,
            hot=max(hot, 1.2),
            texture=0.35,
            rough=7,
            only=(Tissue.FAT,),
        )
        canvas.paint(
            ellipsoid((middle[0], middle[1] - 40 * size, middle[2]), (5, 4, 5)),
            uptake["nipple"],
            20,
            Label.OTHER,
            None,
            hot=hot,
            only=(Tissue.FAT,),
        )


def _towards(axis: np.ndarray) -> np.ndarray:
    """A rotation whose third column is the axis."""
    side = np.cross(axis, (0.0, 0.0, 1.0))
    side /= np.linalg.norm(side)
    return np.stack([side, np.cross(axis, side), axis], axis=1)
