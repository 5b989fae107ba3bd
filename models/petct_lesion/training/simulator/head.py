"""Head and neck."""

from __future__ import annotations

import numpy as np

from models.petct_lesion.training.simulator.canvas import Canvas
from models.petct_lesion.training.simulator.shapes import (
    Field,
    Xyz,
    below,
    capsule,
    curve,
    ellipsoid,
    shell,
    tube,
    union,
)
from models.petct_lesion.training.simulator.skeleton import bone
from models.petct_lesion.training.simulator.types import Label, Tissue


def paint_head(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    """Head and neck, from the skull inwards and down."""
    _skull(canvas, uptake)
    _brain(canvas, uptake)
    _face(canvas, uptake, hot)
    _glands(canvas, uptake, hot)
    _neck(canvas, uptake, hot)


def _skull(canvas: Canvas, uptake: dict[str, float]) -> None:
    vault = below(ellipsoid((0, 0, 828), (70, 91, 76)), (0, 0, 765), (0, 0.2, -1))
    bone(canvas, uptake, vault, cortex_mm=5, red=0.0, hu=500)
    canvas.paint(
        below(ellipsoid((0, 0, 828), (69, 90, 75)), (0, 0, 768), (0, 0.2, -1)),
        uptake["marrow"] * 0.7,
        650,
        tissue=Tissue.MARROW,
    )
    arch = curve(
        [
            (-52, 0, 748),
            (-48, -18, 702),
            (-28, -68, 680),
            (0, -84, 676),
            (28, -68, 680),
            (48, -18, 702),
            (52, 0, 748),
        ],
        13,
    )
    for segment in tube(arch, 6.5):
        bone(canvas, uptake, segment, cortex_mm=3, red=0.5, hu=350)
    maxilla = ellipsoid((0, -62, 730), (32, 28, 22))
    canvas.paint(maxilla, uptake["cortical_bone"], 350, tissue=Tissue.MARROW, rough=2)
    teeth = curve([(-26, -45, 711), (-20, -72, 711), (0, -84, 711), (20, -72, 711), (26, -45, 711)], 7)
    metal = 2800 if canvas.rng.random() < 0.4 else 1500
    for segment in tube(teeth, 6.0):
        canvas.paint(segment, uptake["muscle"], metal, tissue=Tissue.MARROW, rough=2)


def _brain(canvas: Canvas, uptake: dict[str, float]) -> None:
    rng = canvas.rng
    grey, white, csf = uptake["grey_matter"], uptake["white_matter"], uptake["csf"]
    cerebrum = union(
        below(ellipsoid((0, -2, 830), (62, 82, 67)), (0, 0, 790), (0, 0.25, -1)),
        ellipsoid((-39, -16, 794), (23, 42, 24)),
        ellipsoid((39, -16, 794), (23, 42, 24)),
        blend_mm=14,
    )
    inside = ellipsoid((0, 0, 828), (66, 86, 72))
    canvas.paint(below(inside, (0, 0, 765), (0, 0.2, -1)), csf, 12, Label.BRAIN, Tissue.BRAIN)
    box = canvas.box(cerebrum.low, cerebrum.high)
    if box is not None:
        folds = canvas.fine[box]
        waves = canvas.middle[box]
        asymmetry = rng.normal(0, 0.04)
        lobes = canvas.coarse[box]
        atrophy = rng.uniform(0.2, 1.0)

        def matter(xyz: Xyz, d: Field) -> Field:
            x, _, _ = xyz
            depth = -d - 9 - 5.5 * folds - 4 * waves
            ribbon = 1 / (1 + np.exp(np.clip(depth / 1.6, -20, 20)))
            middle = np.exp(-((np.abs(x) - 8) ** 2) / 40)
            ribbon = np.maximum(ribbon, 0.75 * middle * (-d < 30))
            value = white + (grey - white) * ribbon
            value *= 1 + 0.07 * lobes + np.float32(asymmetry) * np.sign(x)
            sulcus = np.clip((waves * 0.6 - folds * 0.9 - 1.4 + atrophy) * (d > -12), 0, 0.6)
            fissure = np.exp(-(x**2) / 8) * (d > -45) * 0.6
            return np.asarray(value + (csf - value) * np.maximum(sulcus, fissure), np.float32)

        canvas.paint(cerebrum, matter, 36, Label.BRAIN, Tissue.BRAIN)
    ventricle = rng.uniform(0.6, 1.6)
    for side in (-1, 1):
        for center, radii, value, hu in (
            ((side * 14, -30, 832), (5 * ventricle, 22, 8 * ventricle), csf, 8),
            ((side * 18, 20, 834), (5 * ventricle, 22, 8 * ventricle), csf, 8),
            ((side * 16, -28, 822), (6, 14, 9), grey * 1.1, 38),
            ((side * 27, -10, 814), (7, 20, 11), grey * 1.15, 38),
            ((side * 11, 10, 818), (9, 15, 10), grey * 1.05, 38),
            ((side * 21, 42, 784), (26, 28, 22), grey * 0.85, 38),
        ):
            canvas.paint(
                ellipsoid(center, radii), value, hu, Label.BRAIN, Tissue.BRAIN, texture=0.10, rough=1.5
            )
    canvas.paint(ellipsoid((0, 48, 782), (12, 18, 14)), grey * 0.8, 38, Label.BRAIN, Tissue.BRAIN)
    canvas.paint(capsule((0, 12, 795), (0, 20, 755), 12, 9), white * 1.3, 34, Label.BRAIN, Tissue.BRAIN)
    canvas.paint(
        ellipsoid((0, -15, 783), (7, 6, 5)), uptake["pituitary"], 40, Label.OTHER, Tissue.ORGAN, hot=0.9
    )


def _face(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    rng = canvas.rng
    for side in (-1, 1):
        canvas.paint(
            ellipsoid((side * 32, -72, 786), (17, 26, 16)), uptake["fat"] * 1.2, -70, tissue=Tissue.FAT
        )
        for dx, dz in ((0, 11), (0, -11), (10, 0), (-10, 0)):
            muscle = capsule(
                (side * 22 + dx * 0.2, -45, 786 + dz * 0.3), (side * 33 + dx, -76, 786 + dz), 2.6
            )
            canvas.paint(muscle, uptake["eye_muscle"], 50, Label.OTHER, Tissue.MUSCLE, hot=hot)
        canvas.paint(ellipsoid((side * 33, -82, 786), (12, 12, 12)), uptake["vitreous"], 15)
        sinus = ellipsoid((side * 28, -62, 752), (13, 16, 15))
        canvas.paint(sinus, uptake["nasal"] * 0.6, -300, tissue=Tissue.MUSCLE)
        canvas.paint(
            ellipsoid((side * 28, -62, 752), (10, 13, 12)),
            0.1,
            -900 if rng.random() < 0.8 else 20,
            tissue=Tissue.LUMEN,
        )
        canvas.paint(
            ellipsoid((side * 50, -25, 715), (9, 18, 26)),
            uptake["muscle"] * rng.uniform(0.9, 1.2),
            60,
            tissue=Tissue.MUSCLE,
        )
    nose = ellipsoid((0, -66, 752), (13, 34, 18))
    canvas.paint(nose, uptake["nasal"], -100, Label.HEAD_NECK, Tissue.MUSCLE, hot=hot, texture=0.25, rough=2)
    for side in (-1, 1):
        canvas.paint(ellipsoid((side * 5, -66, 752), (2.5, 28, 13)), 0.2, -900, tissue=Tissue.LUMEN)
    tongue = union(ellipsoid((0, -52, 703), (23, 32, 17)), ellipsoid((0, -38, 690), (18, 20, 18)), blend_mm=8)
    canvas.paint(tongue, uptake["tongue"], 55, Label.HEAD_NECK, Tissue.MUSCLE, hot=hot, texture=0.2, rough=2)
    canvas.paint(
        ellipsoid((0, -55, 686), (18, 18, 7)),
        uptake["mouth_floor"],
        50,
        Label.HEAD_NECK,
        Tissue.MUSCLE,
        hot=hot,
        texture=0.25,
        rough=2,
    )
    if rng.random() < 0.6:
        canvas.paint(ellipsoid((0, -58, 720), (18, 24, 4)), 0.2, -900, tissue=Tissue.LUMEN, rough=1)
    one_sided = float(np.exp(rng.normal(0, 0.25)))
    for side, factor in ((-1, 1.0), (1, one_sided)):
        canvas.paint(
            ellipsoid((side * 17, -24, 708), (6, 9, 13)),
            uptake["tonsil"] * factor,
            45,
            Label.HEAD_NECK,
            hot=hot,
            texture=0.15,
            rough=1,
        )
    canvas.paint(
        ellipsoid((0, -24, 690), (13, 7, 9)),
        uptake["tonsil"] * rng.uniform(0.5, 1.0),
        45,
        Label.HEAD_NECK,
        hot=hot,
        texture=0.2,
        rough=1,
    )
    canvas.paint(
        ellipsoid((0, -14, 745), (14, 6, 11)),
        uptake["pharynx"] * rng.uniform(0.7, 1.3),
        45,
        Label.HEAD_NECK,
        hot=hot,
        texture=0.2,
        rough=1,
    )
    throat = curve([(0, -22, 742), (0, -17, 715), (0, -16, 690), (0, -20, 665)], 7)
    for segment in tube(throat, [11, 12, 12, 12, 11, 10, 9]):
        canvas.paint(
            segment,
            uptake["pharynx"] * 0.7,
            45,
            Label.HEAD_NECK,
            Tissue.MUSCLE,
            hot=hot,
            only=(Tissue.MUSCLE, Tissue.FAT),
            texture=0.2,
        )
    for segment in tube(throat, [6, 7, 6, 6, 5, 6, 5]):
        canvas.paint(segment, 0.2, -900, tissue=Tissue.LUMEN)


def _glands(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    rng = canvas.rng
    size = float(np.exp(rng.normal(0, 0.12)))
    for side in (-1, 1):
        own = float(np.exp(rng.normal(0, 0.10)))
        if rng.random() < 0.05:  # resected or irradiated
            own *= rng.uniform(0.1, 0.5)
        parotid = union(
            ellipsoid((side * 57, -2, 722), (11 * size, 18 * size, 24)),
            ellipsoid((side * 50, 8, 712), (14, 11, 14)),
            blend_mm=6,
        )
        for shape, name, hu, texture in (
            (parotid, "parotid", -5, 0.12),
            (ellipsoid((side * 30, -38, 680), (10 * size, 15 * size, 11)), "submandibular", 35, 0.08),
            (ellipsoid((side * 13, -62, 684), (5, 12, 5)), "sublingual", 35, 0.10),
            (ellipsoid((side * 44, -76, 796), (5, 8, 6)), "lacrimal", 30, 0.05),
        ):
            canvas.paint(
                shape,
                uptake[name] * own,
                hu,
                Label.HEAD_NECK,
                Tissue.ORGAN,
                hot=hot,
                texture=texture,
                rough=1.2,
            )
        if rng.random() < 0.3:  # tears and their duct
            duct = capsule((side * 16, -88, 775), (side * 14, -80, 755), 2.5)
            canvas.paint(
                duct, uptake["lacrimal"] * rng.uniform(0.3, 0.9), None, Label.HEAD_NECK, None, hot=hot
            )


def _neck(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    rng = canvas.rng
    for side in (-1, 1):
        canvas.paint(
            capsule((side * 32, -8, 700), (side * 22, -28, 610), 6),
            uptake["blood"] * 0.9,
            60,
            tissue=Tissue.BLOOD,
        )
        canvas.paint(
            capsule((side * 34, 5, 735), (side * 22, -10, 610), 3.5), uptake["blood"], 60, tissue=Tissue.BLOOD
        )
    cartilage = capsule((0, -36, 668), (0, -36, 640), 14, 13)
    canvas.paint(cartilage, uptake["muscle"], 90, tissue=Tissue.MUSCLE, rough=1)
    speaking = rng.uniform(0.4, 1.0, 2)
    for side, factor in zip((-1, 1), speaking, strict=True):
        cord = capsule((side * 2, -46, 652), (side * 8, -28, 652), 4)
        canvas.paint(cord, uptake["larynx"] * factor, 60, Label.HEAD_NECK, Tissue.MUSCLE, hot=hot)
    windpipe = curve([(0, -30, 645), (0, -26, 620), (0, -12, 580), (-2, 6, 540)], 7)
    for segment in tube(windpipe, 11.0):
        canvas.paint(segment, uptake["trachea_wall"], 40, Label.BACKGROUND, Tissue.MUSCLE)
    for segment in tube(windpipe, 8.0):
        canvas.paint(segment, 0.3, -950, tissue=Tissue.LUMEN)
    if rng.random() < 0.9:
        goitre = float(np.exp(rng.normal(0, 0.2)))
        if rng.random() < 0.12:  # thyroiditis, goitre
            uptake["thyroid"] *= rng.uniform(2, 6)
            goitre *= 1.25
        for side in (-1, 1):
            canvas.paint(
                ellipsoid((side * 17, -28, 628), (8 * goitre, 9 * goitre, 20 * goitre)),
                uptake["thyroid"],
                95,
                Label.OTHER,
                Tissue.ORGAN,
                hot=hot,
                texture=0.15,
                rough=1,
            )
        canvas.paint(
            capsule((-12, -40, 622), (12, -40, 622), 4.5),
            uptake["thyroid"],
            95,
            Label.OTHER,
            Tissue.ORGAN,
            hot=hot,
        )
    sheath = shell(capsule((0, 14, 730), (0, 14, 640), 20), 6)
    canvas.paint(sheath, uptake["muscle"] * rng.uniform(0.9, 1.5), None, None, None, only=(Tissue.MUSCLE,))
