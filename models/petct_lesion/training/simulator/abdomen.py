"""Liver, spleen, stomach, bowel, pancreas, adrenals and kidneys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.petct_lesion.training.simulator.canvas import Canvas
from models.petct_lesion.training.simulator.form import Build
from models.petct_lesion.training.simulator.shapes import (
    Field,
    Shape,
    Xyz,
    below,
    capsule,
    curve,
    ellipsoid,
    minus,
    rotation,
    tube,
    union,
)
from models.petct_lesion.training.simulator.types import Label, Tissue

COLON = [
    (-80, -28, 140),
    (-92, -5, 170),
    (-95, 12, 230),
    (-88, 5, 285),
    (-60, -45, 285),
    (-5, -72, 262),
    (50, -60, 285),
    (92, 8, 355),
    (104, 28, 300),
    (106, 24, 220),
    (96, 5, 165),
    (62, -10, 135),
    (25, -20, 150),
    (5, 15, 150),
    (0, 42, 110),
]
RECTUM = [(0, 44, 112), (0, 48, 80), (0, 38, 45), (0, 34, 18)]


def paint_cavity(canvas: Canvas, uptake: dict[str, float], build: Build, depth: Field) -> None:
    """Peritoneal and retroperitoneal fat under the domes of the diaphragm."""
    cavity = union(
        ellipsoid((0, -12, 240), (128, 82, 170)),
        ellipsoid((-70, 2, 345), (72, 88, 100)),
        ellipsoid((70, 6, 338), (70, 86, 92)),
        ellipsoid((0, -5, 110), (80, 58, 75)),
        blend_mm=15,
    )
    box = canvas.box(cavity.low, cavity.high)
    if box is None:
        return
    wall = np.float32(14.0 - 5 * build.visceral)
    room = depth[box]

    def value(_: Xyz, d: Field) -> Field:
        return np.full(d.shape, uptake["visceral_fat"], np.float32)

    roomy = Shape(cavity.low, cavity.high, lambda xyz: np.maximum(cavity.distance(xyz), wall - room))
    canvas.paint(roomy, value, -98, tissue=Tissue.VISCERAL, texture=0.15)


def paint_abdomen(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    """What lies between the diaphragm and the pelvis, the front over the back."""
    rng = canvas.rng
    for side in (-1, 1):
        psoas = tube(
            [
                (side * 30, 30, 330),
                (side * 44, 32, 240),
                (side * 58, 20, 160),
                (side * 66, -12, 110),
                (side * 92, 0, 50),
            ],
            [8, 17, 20, 15, 9],
        )
        for segment in psoas:
            canvas.paint(segment, uptake["muscle"], 55, tissue=Tissue.MUSCLE)
        crus = tube([(side * 14, 26, 400), (side * 14, 24, 340), (side * 12, 18, 300)], [6, 6, 4])
        active = uptake["active_muscle"] if rng.random() < 0.08 else uptake["muscle"] * rng.uniform(0.9, 1.5)
        for segment in crus:
            canvas.paint(segment, active, 55, Label.OTHER, Tissue.MUSCLE, hot=hot)
    _kidneys(canvas, uptake, hot)
    for side, at in ((-1, (-34, 26, 352)), (1, (34, 22, 348))):
        for limb in ((8, 10, -14), (-6, 12, -14)):
            gland = capsule(
                np.array(at), np.array(at) + np.array((side * limb[0], limb[1], limb[2])), 4.0, 2.8
            )
            canvas.paint(
                gland,
                uptake["adrenal"] * float(np.exp(rng.normal(0, 0.12))),
                15,
                Label.OTHER,
                Tissue.ORGAN,
                hot=hot,
            )
    _small_bowel(canvas, uptake, hot)
    _colon(canvas, uptake, hot)
    _pancreas(canvas, uptake, hot)
    _spleen(canvas, uptake)
    _stomach(canvas, uptake, hot)
    _liver(canvas, uptake, hot)
    for side in (-1, 1):
        for spot in ((side * 12, 12, 335), (side * 22, 48, 128), (side * 18, 26, 640)):
            canvas.paint(
                capsule(spot, np.array(spot) + rng.normal(0, 4, 3), 3.0),
                uptake["ganglion"],
                None,
                Label.OTHER,
                None,
                hot=hot,
            )


def _liver(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    rng = canvas.rng
    size = float(np.exp(rng.normal(0, 0.09)))
    low = rng.uniform(-25, 20)
    lean = rng.normal(0, 4)
    right = ellipsoid((-72, 0, 360), (70 * size, 84 * size, 84 * size), rotation(0, lean))
    reach = rng.uniform(35, 85)
    left = ellipsoid((-2, -44, 392), (reach + 20, 42 * size, 38 * size), rotation(0, -12 + lean))
    whole = union(right, left, blend_mm=25)
    whole = below(whole, (-45, -40, 308 + low), (rng.uniform(0.3, 0.6), -rng.uniform(0.0, 0.3), -0.8))
    whole = minus(whole, ellipsoid((-18, 25, 340), (26, 34, 48)), ellipsoid((-62, 62, 305), (30, 28, 45)))
    canvas.paint(
        whole,
        uptake["liver"],
        rng.choice((20.0, 58.0, 105.0), p=(0.2, 0.5, 0.3)),
        Label.LIVER,
        Tissue.LIVER,
        texture=0.05,
        rough=3,
    )
    if rng.random() < 0.85:
        bag = float(np.exp(rng.normal(0, 0.25)))
        gall = capsule((-48, -42, 318 + low), (-56, -62, 290 + low), 9 * bag, 14 * bag)
        canvas.paint(gall, uptake["gallbladder"], 10, Label.GUT, Tissue.LUMEN, hot=hot)
        duct = curve([(-44, -30, 325), (-28, -18, 320), (-30, -10, 285)], 5)
        for segment in tube(duct, 3.2):
            canvas.paint(
                segment, uptake["gallbladder"] * rng.uniform(0.4, 1.0), 15, Label.GUT, Tissue.LUMEN, hot=hot
            )


def _spleen(canvas: Canvas, uptake: dict[str, float]) -> None:
    rng = canvas.rng
    if rng.random() < 0.04:
        return
    size = float(np.exp(rng.normal(0.0, 0.15)))
    body = ellipsoid((98, 40, 378), (27 * size, 46 * size, 48 * size), rotation(-25, -12, -20))
    body = minus(body, ellipsoid((66, 15, 370), (30, 40, 50)))
    canvas.paint(body, uptake["spleen"], 55, Label.SPLEEN, Tissue.SPLEEN, texture=0.05, rough=2.5)
    if rng.random() < 0.08:
        canvas.paint(
            ellipsoid((80, 15, 335), rng.uniform(5, 9, 3)), uptake["spleen"], 55, Label.SPLEEN, Tissue.SPLEEN
        )


def _stomach(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    rng = canvas.rng
    full = rng.uniform(0.45, 1.25)
    path = curve(
        np.array(
            [(52, 18, 415), (66, -8, 395), (70, -40, 345), (45, -62, 310), (8, -62, 300), (-24, -46, 312)]
        )
        + rng.normal(0, 5, (6, 3)),
        13,
    )
    radii = np.interp(np.linspace(0, 1, 13), (0, 0.25, 0.6, 0.85, 1), (26, 32, 25, 16, 11)) * (
        0.55 + 0.45 * full
    )
    walls, cores = tube(path, radii), tube(path, np.maximum(radii - rng.uniform(6, 11), 1.5))
    level = uptake["stomach"] * np.exp(rng.normal(0, 0.2, 12)) * np.linspace(rng.uniform(0.9, 1.6), 1, 12)
    for segment, value in zip(walls, level, strict=True):
        canvas.paint(segment, value, 45, Label.GUT, Tissue.ORGAN, hot=hot, texture=0.15, rough=2)
    food = rng.uniform(0.1, 0.5) if rng.random() < 0.5 else rng.uniform(0.4, 0.9) * uptake["stomach"]
    for number, segment in enumerate(cores):
        air = number < 4 and rng.random() < 0.5
        canvas.paint(
            segment,
            food,
            -850 if air else float(rng.choice((20, 250), p=(0.75, 0.25))),
            Label.BACKGROUND,
            Tissue.LUMEN,
        )


def _pancreas(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    rng = canvas.rng
    path = curve(
        np.array([(-36, -8, 262), (-32, -16, 288), (0, -26, 308), (34, -8, 326), (74, 26, 352)])
        + rng.normal(0, 3, (5, 3)),
        11,
    )
    radii = np.interp(np.linspace(0, 1, 11), (0, 0.25, 0.45, 1), (10, 13, 8, 9)) * float(
        np.exp(rng.normal(0, 0.15))
    )
    for number, segment in enumerate(tube(path, radii)):
        level = uptake["uncinate"] if number < 3 else uptake["pancreas"]
        canvas.paint(segment, level, 35, Label.OTHER, Tissue.ORGAN, hot=hot, texture=0.15, rough=2)


def _small_bowel(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    """Coils: a random walk in the middle of the abdomen, each stretch with its own uptake."""
    rng = canvas.rng
    duodenum = curve(
        [
            (-28, -42, 312),
            (-46, -20, 305),
            (-50, -2, 275),
            (-44, 2, 240),
            (0, -6, 236),
            (30, -18, 268),
            (40, -38, 262),
        ],
        12,
    )
    for number, segment in enumerate(tube(duodenum, 10.0)):
        level = (
            uptake["duodenum"]
            * np.interp(number, (0, 3, 11), (1.1, 1.0, 0.75))
            * float(np.exp(rng.normal(0, 0.25)))
        )
        canvas.paint(segment, level, 40, Label.GUT, Tissue.ORGAN, hot=hot, texture=0.2)
        if rng.random() < 0.4:
            canvas.paint(capsule(*_ends(segment), 4.0), level * 0.5, 15, Label.GUT, Tissue.LUMEN, hot=hot)
    for name, center, radii, coils in (
        ("jejunum", (25, -30, 225), (70, 44, 58), 56),
        ("ileum", (-10, -28, 165), (72, 44, 50), 52),
    ):
        path = _walk(rng, np.array(center, float), np.array(radii, float), coils)
        mood = np.exp(_drift(rng, coils) * rng.uniform(0.15, 0.55))
        width = np.clip(11.5 + 2.0 * _drift(rng, coils), 8, 17)
        for number, segment in enumerate(tube(path, width)):
            level = uptake[name] * mood[number]
            canvas.paint(segment, level * 0.95, 40, Label.GUT, Tissue.ORGAN, hot=hot, texture=0.15, rough=1.5)
            if number % 3 == 0:
                lumen = -700 if rng.random() < 0.08 else float(rng.choice((15, 300), p=(0.8, 0.2)))
                canvas.paint(
                    capsule(*_ends(segment), max(width[number] - 6, 2)),
                    level * 0.5,
                    lumen,
                    Label.GUT,
                    Tissue.LUMEN,
                    hot=hot,
                )


def _colon(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    rng = canvas.rng
    bend = rng.normal(0, 9, (len(COLON), 3))
    bend[-1] *= 0.2
    path = curve(np.array(COLON, float) + bend, 56)
    stretch = rng.choice(("even", "patchy", "right", "left"), p=(0.4, 0.3, 0.2, 0.1))
    along = np.linspace(0, 1, 56)
    mood = np.exp(_drift(rng, 56) * rng.uniform(0.15, 0.4))
    if stretch == "patchy":
        mood *= np.where(_drift(rng, 56) > 0.7, rng.uniform(1.5, 4), 0.8)
    elif stretch == "right":
        mood *= 1 + rng.uniform(0.5, 2.5) * np.clip(1 - 3.3 * along, 0, 1)
    elif stretch == "left":
        mood *= 1 + rng.uniform(0.5, 2) * np.clip((along - 0.65) * 4, 0, 1)
    width = (
        np.interp(along, (0, 0.25, 0.6, 0.8, 1), (24, 22, 18, 14, 15))
        * np.exp(0.12 * _drift(rng, 56))
        * rng.uniform(0.8, 1.15)
    )
    _hollow(canvas, path, width, uptake["colon"] * mood, hot, stool=rng.uniform(0.15, 0.75), gas=0.3)
    path = curve(np.array(RECTUM, float) + rng.normal(0, 3, (4, 3)), 9)
    level = uptake["rectum"] * np.exp(rng.normal(0, 0.2, 9))
    level[-1] = uptake["anus"]
    _hollow(
        canvas,
        path,
        np.array([15.0, 17, 18, 18, 17, 15, 12, 9, 8]),
        level,
        hot,
        stool=rng.uniform(0.15, 0.5),
        gas=0.25,
    )


def _hollow(
    canvas: Canvas,
    path: NDArray[np.float64],
    width: NDArray[np.float64],
    level: NDArray[np.float64],
    hot: float,
    stool: float,
    gas: float,
) -> None:
    rng = canvas.rng
    for segment, value in zip(tube(path, width), level, strict=False):
        canvas.paint(segment, value, 40, Label.GUT, Tissue.ORGAN, hot=hot, texture=0.25, rough=1.5)
    tagged = rng.random() < 0.15
    gassy = _drift(rng, len(path)) > np.quantile(_drift(rng, 200), 1 - gas)
    for number, segment in enumerate(tube(path, np.maximum(width - rng.uniform(5, 8), 1.5))):
        hu = -900.0 if gassy[number] else 350.0 if tagged else -40.0
        value = min(0.25 if gassy[number] else stool * level[number], level[number])
        canvas.paint(segment, value, hu, Label.GUT, Tissue.LUMEN, hot=hot, texture=0.2)


def _kidneys(canvas: Canvas, uptake: dict[str, float], hot: float) -> None:
    rng = canvas.rng
    missing = rng.choice((0, -1, 1), p=(0.94, 0.03, 0.03))
    for side in (-1, 1):
        if side == missing:
            continue
        size = float(np.exp(rng.normal(0, 0.08)))
        z = (300 if side < 0 else 314) + rng.normal(0, 10)
        middle = np.array((side * 62.0, 44.0, z)) + rng.normal(0, 4, 3) * np.array((1, 1, 0))
        if rng.random() < 0.02:
            middle = np.array((side * 45.0, 0.0, 140.0))  # pelvic or transplanted
        turn = rotation(10 + rng.normal(0, 4), side * (-12 + rng.normal(0, 4)), side * -25)
        body = ellipsoid(middle, (24 * size, 26 * size, 52 * size), turn)
        sinus = middle + turn @ np.array((-side * 20.0, -4.0, 0.0)) * size
        core = ellipsoid(sinus, (19 * size, 15 * size, 30 * size), turn)
        own = float(np.exp(rng.normal(0, 0.10)))
        urine = uptake["renal_urine"] * float(np.exp(rng.normal(0, 0.4)))
        fed = ellipsoid(middle, (36, 36, 64), turn)
        canvas.paint(
            fed,
            uptake["visceral_fat"],
            -100,
            tissue=Tissue.VISCERAL,
            only=(Tissue.VISCERAL, Tissue.MUSCLE),
            rough=3,
        )
        canvas.paint(
            body,
            uptake["renal_cortex"] * own,
            35 if rng.random() < 0.6 else 160,
            Label.KIDNEY,
            Tissue.ORGAN,
            texture=0.06,
            rough=2,
        )
        inner = ellipsoid(middle, (13 * size, 15 * size, 40 * size), turn)
        medulla = min(uptake["renal_medulla"], uptake["renal_cortex"] * 1.6) * own
        canvas.paint(inner, medulla, 32, Label.KIDNEY, Tissue.ORGAN, texture=0.35)
        canvas.paint(core, uptake["visceral_fat"] * 2, -60, Label.KIDNEY, Tissue.VISCERAL)
        stagnant = rng.random()
        for height in (-26, 0, 26):
            if rng.random() < 0.75:
                calyx = middle + turn @ np.array((-side * 3.0, -2.0, height)) * size
                canvas.paint(
                    capsule(calyx, sinus, rng.uniform(4, 7), 4),
                    urine * float(np.exp(rng.normal(-0.3, 0.5))),
                    10,
                    Label.KIDNEY,
                    Tissue.LUMEN,
                )
        pelvis = ellipsoid(
            sinus + turn @ np.array((-side * 5.0, -2, -6)),
            np.array((8, 8, 13)) * (1.6 if stagnant < 0.07 else rng.uniform(0.6, 1.1)),
            turn,
        )
        canvas.paint(pelvis, urine, 10, Label.KIDNEY, Tissue.LUMEN)
        if rng.random() < 0.15:
            cyst = ellipsoid(
                middle + turn @ (rng.choice((-1, 1), 3) * np.array((18, 18, 34))), [rng.uniform(6, 24)] * 3
            )
            canvas.paint(cyst, 0.4, 5, Label.KIDNEY, Tissue.LUMEN)
        _ureter(canvas, uptake, side, sinus, hot)


def _ureter(
    canvas: Canvas, uptake: dict[str, float], side: int, start: NDArray[np.float64], hot: float
) -> None:
    rng = canvas.rng
    way = np.array(
        [
            start,
            (side * 40, 24, start[2] - 40),
            (side * 38, 14, 215),
            (side * 42, 18, 165),
            (side * 46, 22, 115),
            (side * 18, 8, 92),
        ]
    )
    way[1:-1] += rng.normal(0, 4, (4, 3))
    path = curve(way, 40)
    path[2:-1] += np.cumsum(rng.normal(0, 1.0, (37, 3)), axis=0) * np.linspace(1, 0, 37)[:, None]
    amount = rng.choice((0.0, 0.25, 0.6, 1.0), p=(0.3, 0.35, 0.25, 0.10))
    filled = _drift(rng, 39) > np.quantile(_drift(rng, 400), 1 - amount) if amount else np.zeros(39, bool)
    for number, segment in enumerate(tube(path, np.full(40, rng.uniform(2.6, 4.2)))):
        if filled[number]:
            canvas.paint(
                segment,
                uptake["ureter"] * float(np.exp(rng.normal(0, 0.4))),
                15,
                Label.URINARY,
                Tissue.LUMEN,
                hot=hot,
            )


def _walk(
    rng: np.random.Generator, center: NDArray[np.float64], radii: NDArray[np.float64], steps: int
) -> NDArray[np.float64]:
    """Points of a curled path that stays within an ellipsoid, some 22 mm apart."""
    point, heading = rng.normal(0, 0.4, 3), rng.normal(0, 1, 3)
    path = []
    for _ in range(steps):
        heading = (
            0.6 * heading / np.linalg.norm(heading)
            + rng.normal(0, 0.55, 3)
            - 0.5 * point * max(float(point @ point) - 0.4, 0)
        )
        point = point + heading / np.linalg.norm(heading) * 21.0 / radii
        if point @ point > 1:
            point /= np.sqrt(point @ point)
        path.append(center + radii * point)
    return np.array(path)


def _drift(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """A slow random series with unit variance."""
    series = np.convolve(rng.standard_normal(count + 8), np.hanning(11)[1:-1], "valid")
    return np.asarray(series / np.linalg.norm(np.hanning(11)))


def _ends(segment: Shape) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    third = (segment.high - segment.low) / 3
    return segment.low + third, segment.high - third
