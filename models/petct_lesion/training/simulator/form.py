"""The form of a body: what is drawn of its build, the bent coordinates it lies in, and its soft outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.petct_lesion.training.simulator.canvas import Canvas, smooth_field
from models.petct_lesion.training.simulator.shapes import Field, Point, Shape, capsule, ellipsoid, rotation
from models.petct_lesion.training.simulator.types import VOXEL_MM, Label, Tissue

# the lean trunk: half widths along x and y and the middle along y, by height z (all mm)
TRUNK = np.array(
    [
        (-100, 146, 66, 8),
        (-40, 162, 88, 8),
        (0, 168, 100, 8),
        (60, 172, 106, 6),
        (120, 166, 104, 4),
        (200, 150, 98, 2),
        (260, 140, 94, 0),
        (330, 142, 98, 0),
        (420, 152, 104, 0),
        (500, 156, 106, 2),
        (550, 160, 98, 6),
        (590, 160, 82, 10),
        (615, 132, 68, 10),
        (640, 80, 60, 4),
        (660, 55, 57, 2),
        (700, 51, 56, 4),
        (735, 46, 52, 8),
        (775, 34, 40, 14),
    ],
    np.float64,
)
FAT_BY_HEIGHT = np.array(
    [
        (-900, 0.35),
        (-400, 0.45),
        (-200, 0.9),
        (60, 1.2),
        (230, 1.3),
        (420, 0.8),
        (600, 0.7),
        (660, 0.35),
        (720, 0.18),
        (905, 0.12),
    ]
)

REGIONS = {
    # share, low and high end along z with their spreads
    "skull to thigh": (0.40, -190.0, 70.0, 925.0, 12.0),
    "skull base to thigh": (0.26, -190.0, 70.0, 770.0, 30.0),
    "whole body": (0.12, -880.0, 10.0, 930.0, 10.0),
    "trunk": (0.08, -40.0, 60.0, 700.0, 50.0),
    "legs and trunk": (0.07, -500.0, 120.0, 800.0, 80.0),
    "chest": (0.03, 300.0, 50.0, 680.0, 40.0),
    "abdomen": (0.02, 0.0, 60.0, 450.0, 50.0),
    "head and neck": (0.02, 480.0, 60.0, 930.0, 10.0),
}


@dataclass(frozen=True, slots=True)
class Build:
    """What distinguishes one body from another."""

    female: bool
    age: float
    scale: Point
    """Of the standard adult along x, y and z."""
    fat_mm: float
    visceral: float
    """0 lean to 1 obese."""
    muscle: float
    arms: tuple[str, str]
    """Right and left: up, down, belly or absent."""
    region: str
    low_mm: float
    high_mm: float
    """Field of view along z, in the body's coordinates."""
    tilt: Point
    """Degrees about x, y and z."""
    bend_mm: float
    """Amplitude of the elastic deformation."""


def draw_build(rng: np.random.Generator) -> Build:
    """Anybody who may lie in a scanner, and the part of them that is scanned."""
    names = tuple(REGIONS)
    region = names[int(rng.choice(len(names), p=[REGIONS[name][0] for name in names]))]
    _, low, low_sd, high, high_sd = REGIONS[region]
    female = bool(rng.random() < 0.5)
    height = float(np.clip(rng.normal(0.955 if female else 1.0, 0.05), 0.78, 1.14))
    width = height * float(np.clip(rng.normal(0.97 if female else 1.0, 0.05), 0.84, 1.16))
    fat = float(np.clip(rng.gamma(2.6, 6.5) + (5 if female else 1), 3, 55))
    pose = rng.random()
    arms = ("up", "up") if pose < 0.55 else ("down", "down") if pose < 0.88 else ("up", "down")
    if pose > 0.88:
        arms = [("up", "down"), ("down", "up"), ("belly", "belly"), ("up", "absent"), ("absent", "absent")][
            int(rng.integers(5))
        ]
    return Build(
        female=female,
        age=float(np.clip(rng.normal(62, 14), 18, 92)),
        scale=(width, width * float(rng.normal(1.0, 0.05)), height),
        fat_mm=fat,
        visceral=float(np.clip((fat - 6) / 30 + rng.normal(0, 0.2), 0, 1)),
        muscle=float(np.clip(rng.normal(0.95 if female else 1.02, 0.08), 0.75, 1.2)),
        arms=(arms[0], arms[1]),
        region=region,
        low_mm=low + low_sd * float(np.clip(rng.normal(), -1.5, 1.5)),
        high_mm=high + high_sd * float(np.clip(rng.normal(), -1.5, 1.5)),
        tilt=(float(rng.normal(0, 2.5)), float(rng.normal(0, 1.5)), float(rng.normal(0, 3))),
        bend_mm=float(rng.uniform(2.0, 7.0)),
    )


def blank_canvas(rng: np.random.Generator, build: Build) -> Canvas:
    """An empty grid with the coordinates of the body bent into it."""
    half_x = (
        190 * build.scale[0]
        + 1.35 * build.fat_mm
        + (75 if "down" in build.arms else 25 if "up" in build.arms else 0)
    )
    half_y = 120 * build.scale[1] * (1 + 0.25 * build.visceral) + 1.4 * build.fat_mm
    half_x, half_y = half_x + rng.uniform(5, 40), half_y + rng.uniform(10, 45)
    if rng.random() < 0.12:  # the field of view cuts the arms
        half_x = min(half_x, rng.uniform(215, 255))
    length = (build.high_mm - build.low_mm) * build.scale[2]
    shape = tuple(int(np.ceil(extent / VOXEL_MM)) for extent in (length, 2 * half_y, 2 * half_x))
    nz, ny, nx = shape
    z = (np.arange(nz) * VOXEL_MM + build.low_mm * build.scale[2])[:, None, None]
    y = ((np.arange(ny) - (ny - 1) / 2) * VOXEL_MM + rng.normal(0, 6))[None, :, None]
    x = ((np.arange(nx) - (nx - 1) / 2) * VOXEL_MM + rng.normal(0, 6))[None, None, :]
    middle = 300.0 * build.scale[2]
    turn = np.diag(1 / np.array(build.scale)) @ rotation(*build.tilt)
    kyphosis = rng.normal(0, 10)
    bent = []
    for axis in range(3):
        linear = turn[axis, 0] * x + turn[axis, 1] * y + turn[axis, 2] * (z - middle)
        wave = smooth_field(rng, (nz, ny, nx), 90.0) * np.float32(build.bend_mm * 0.6)
        wave += smooth_field(rng, (nz, ny, nx), 220.0) * np.float32(build.bend_mm)
        wave += linear.astype(np.float32)
        if axis == 2:
            wave += np.float32(300.0)
        bent.append(wave)
    curved = np.float32(kyphosis) * np.clip((bent[2] - 480) / 200, 0, 2.0) ** 2
    bent[1] += curved
    full = (nz, ny, nx)
    return Canvas(
        rng=rng,
        xyz=(bent[0], bent[1], bent[2]),
        coarse=smooth_field(rng, full, 45.0),
        middle=smooth_field(rng, full, 18.0),
        fine=smooth_field(rng, full, 9.0),
        suv=np.zeros(full, np.float32),
        hu=np.full(full, -1000, np.float32),
        labels=np.zeros(full, np.uint8),
        tissue=np.full(full, Tissue.AIR, np.uint8),
    )


def limbs(build: Build) -> dict[str, list[Shape]]:
    """Lean limbs by name: "arms" and "legs"; the bones follow `arm_points` and `leg_points`."""
    m = build.muscle
    arms = []
    for side, pose in zip((-1, 1), build.arms, strict=True):
        if pose == "absent":
            continue
        shoulder, elbow, wrist, hand = arm_points(side, pose)
        arms += [
            capsule((side * 140, 15, 585), shoulder, 46 * m, 44 * m),
            capsule(shoulder, elbow, 43 * m, 33 * m),
            capsule(elbow, wrist, 33 * m, 23),
            capsule(wrist, hand, 22, 18),
        ]
    legs = []
    for side in (-1, 1):
        hip, knee, ankle, toe = leg_points(side)
        legs += [
            capsule(hip, knee, 86 * m, 54),
            capsule((side * 75, 18, -420), (side * 72, 28, -560), 48 * m, 46 * m),
            capsule((side * 72, 24, -540), ankle, 44 * m, 30),
            capsule(ankle, toe, 32, 22),
        ]
    return {"arms": arms, "legs": legs}


def arm_points(side: int, pose: str) -> tuple[Point, Point, Point, Point]:
    """Shoulder, elbow, wrist and hand."""
    if pose == "up":
        return (side * 172, 15, 598), (side * 225, -5, 830), (side * 120, -30, 985), (side * 60, -30, 1040)
    if pose == "belly":
        return (side * 180, 12, 575), (side * 225, 10, 320), (side * 90, -130, 250), (side * 20, -140, 245)
    return (side * 180, 12, 575), (side * 222, 25, 300), (side * 225, -20, 60), (side * 215, -30, -40)


def leg_points(side: int) -> tuple[Point, Point, Point, Point]:
    """Hip, knee, ankle and toe."""
    return (side * 88, 5, 60), (side * 78, 5, -400), (side * 68, 35, -800), (side * 80, -110, -850)


def lay_outline(canvas: Canvas, build: Build, uptake: dict[str, float]) -> Field:
    """Paint skin, fat and muscle; returns the depth under the lean surface (mm, positive inside)."""
    rng = canvas.rng
    x, y, z = canvas.xyz
    lean = np.full(canvas.shape, 200, np.float32)
    levels = np.arange(-100, 791, 2)
    hips = np.where(levels < 150, 1.05 if build.female else 1.0, 1.0)
    belly = 1 + 0.30 * build.visceral * np.exp(-(((levels - 260) / 120.0) ** 2))
    half_x = np.interp(levels, TRUNK[:, 0], TRUNK[:, 1]) * hips * (1 + 0.5 * (belly - 1))
    half_y = np.interp(levels, TRUNK[:, 0], TRUNK[:, 2]) * belly
    mid_y = np.interp(levels, TRUNK[:, 0], TRUNK[:, 3]) - 60 * (belly - 1)
    planes = np.flatnonzero((z.max((1, 2)) > -85) & (z.min((1, 2)) < 775))
    if planes.size:
        part = slice(planes[0], planes[-1] + 1)
        row = np.clip((z[part] + 100) * 0.5, 0, len(levels) - 1).astype(np.int16)
        a, b, c = (table.astype(np.float32)[row] for table in (half_x, half_y, mid_y))
        u, v = np.abs(x[part] / a), np.abs((y[part] - c) / b)
        k = (u**2.4 + v**2.4) ** np.float32(1 / 2.4)
        ends = np.maximum(-80 - z[part], z[part] - 770)
        from_axis = np.hypot(x[part], y[part] - c)
        lean[part] = np.maximum(from_axis - from_axis / np.maximum(k, 1e-3), ends)
    parts = limbs(build)
    head = [
        ellipsoid((0, 0, 825), (74, 96, 80)),
        ellipsoid((0, -42, 750), (60, 60, 72)),
        capsule((0, -92, 750), (0, -104, 738), 9, 10),
    ]
    arms = np.full(canvas.shape, 200, np.float32)
    reach = 2.5 * build.fat_mm + 4
    for target, shapes in ((lean, [*head, *parts["legs"]]), (arms, parts["arms"])):
        for shape in shapes:
            box = canvas.box(shape.low - reach, shape.high + reach)
            if box is not None:
                near = shape.distance((x[box], y[box], z[box]))
                target[box] = np.minimum(target[box], near)
    fat = build.fat_mm * np.interp(levels_of(z), FAT_BY_HEIGHT[:, 0], FAT_BY_HEIGHT[:, 1]).astype(np.float32)
    uneven = np.clip(1 + 0.07 * canvas.coarse + 0.15 * smooth_field(rng, canvas.shape, 160.0), 0.5, 1.6)
    skin = np.minimum(lean - fat[:, None, None] * uneven - 2, arms - (0.3 * build.fat_mm * uneven + 2))
    lean = np.minimum(lean, arms)
    inside = skin < 0
    share = np.clip(0.5 - skin / VOXEL_MM, 0, 1)
    canvas.hu[:] = -1000 + share * 900
    canvas.suv[:] = share * np.float32(uptake["fat"])
    rim = inside & (skin > -3)
    canvas.suv[rim] = np.maximum(canvas.suv[rim], uptake["skin"] * share[rim])
    canvas.hu[rim] = np.maximum(canvas.hu[rim], -60)
    canvas.tissue[inside] = Tissue.FAT
    canvas.labels[:] = Label.BACKGROUND
    wasting = 0.25 + 0.012 * max(build.age - 40, 0)
    muscle = np.clip(0.5 - lean / VOXEL_MM, 0, 1)
    marbled = np.clip((canvas.middle + 0.6 * canvas.fine - 2.0 + wasting) * 2, 0, 0.6)
    # fat lies between the muscles of limbs, hips and shoulders as bent sheets
    sheets = np.clip(1 - np.abs(canvas.coarse + 0.3 * canvas.middle) / np.float32(0.05 + 0.2 * wasting), 0, 1)
    muscle *= 1 - np.maximum(marbled, np.float32(rng.uniform(0.2, 0.9)) * sheets * (lean < -8))
    groups = 1 + 0.10 * canvas.coarse + 0.05 * canvas.middle
    canvas.suv += muscle * (np.float32(uptake["muscle"]) * groups - canvas.suv)
    canvas.hu += muscle * (52 - canvas.hu)
    canvas.tissue[muscle > 0.5] = Tissue.MUSCLE
    return np.asarray(-lean, np.float32)


def levels_of(z: Field) -> NDArray[np.float32]:
    """The height of each plane, at its middle."""
    return z[:, z.shape[1] // 2, z.shape[2] // 2]
