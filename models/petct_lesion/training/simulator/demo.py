"""The program's own demo phantom, at 4 mm: the network shall know it too."""

from __future__ import annotations

import numpy as np

from app.demo.anatomy import BACKGROUND_SUV, anatomy
from app.demo.phantom_spec import TracerName
from models.petct_lesion.training.simulator.types import VOXEL_MM, Body, Label

GROUPS = {
    "brain": Label.BRAIN,
    "heart": Label.HEART,
    "blood pool": Label.HEART,
    "liver": Label.LIVER,
    "spleen": Label.SPLEEN,
    "right kidney": Label.KIDNEY,
    "left kidney": Label.KIDNEY,
    "bladder": Label.URINARY,
    "bowel": Label.GUT,
    "right lacrimal": Label.HEAD_NECK,
    "left lacrimal": Label.HEAD_NECK,
    "right parotid": Label.HEAD_NECK,
    "left parotid": Label.HEAD_NECK,
    "right submandibular": Label.HEAD_NECK,
    "left submandibular": Label.HEAD_NECK,
}
HOT = 1.3 * BACKGROUND_SUV


def simulate_demo(rng: np.random.Generator, tracer: str) -> Body:
    """A phantom of ellipsoids with spheres as lesions, (z, y, x) at 4 mm.

    Parameters
    ----------
    rng : numpy.random.Generator
    tracer : str
        fdg, psma, sstr or fapi.
    """
    names: dict[str, TracerName] = {"fdg": "fdg", "psma": "psma", "sstr": "sstr", "fapi": "fapi"}
    size = np.array((380.0, 240.0, 900.0)) * np.exp(rng.normal(0, 0.06, 3))
    body = anatomy((float(size[0]), float(size[1]), float(size[2])), names[tracer], uptake=True)
    extent = (size * rng.uniform(1.0, 1.2, 3))[::-1]
    shape = tuple(int(np.ceil(length / VOXEL_MM)) for length in extent)
    z, y, x = ((np.arange(n, dtype=np.float32) - (n - 1) / 2) * VOXEL_MM for n in shape)
    suv = np.zeros(shape, np.float32)
    hu = np.full(shape, -1000, np.float32)
    labels = np.zeros(shape, np.uint8)

    def ball(center: np.ndarray, radii: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
        axes = (z, y, x)
        spans = []
        for axis, c, r in zip(axes, center[::-1], radii[::-1], strict=True):
            inside = np.flatnonzero(np.abs(axis - c) <= r)
            spans.append(slice(inside[0], inside[-1] + 1) if inside.size else slice(0, 0))
        rz, ry, rx = (
            ((axis[span] - c) / r) ** 2
            for axis, span, c, r in zip(axes, spans, center[::-1], radii[::-1], strict=True)
        )
        return tuple(spans), rz[:, None, None] + ry[None, :, None] + rx[None, None, :] <= 1

    for part in body.ellipsoids:
        box, inside = ball(part.center_mm, part.radii_mm)
        suv[box][inside], hu[box][inside] = part.suv, part.hu
        label = GROUPS.get(part.name, Label.OTHER if part.suv > max(HOT, 0.85) else Label.BACKGROUND)
        if label in (Label.HEAD_NECK, Label.GUT) and part.suv <= HOT:
            label = Label.BACKGROUND
        labels[box][inside] = label
    count, reach, placed = int(rng.integers(0, 12)), size / 2, 0
    for _ in range(400):
        if placed == count:
            break
        center, radius = rng.uniform(-reach, reach), float(rng.uniform(8, 18))
        if body.has_room(center, radius, 10.0):
            box, inside = ball(center, np.full(3, radius))
            if inside.any() and not (labels[box][inside] == Label.LESION).any():
                suv[box][inside], hu[box][inside], labels[box][inside] = (
                    float(rng.uniform(3, 20)),
                    45,
                    Label.LESION,
                )
                placed += 1
    noise = float(rng.uniform(0.0, 0.15))
    suv *= 1 + np.float32(noise) * np.clip(rng.standard_normal(shape, np.float32), -3, 3)
    hu += 8 * rng.standard_normal(shape, np.float32)
    return Body(
        suv=np.maximum(suv, 0).astype(np.float16),
        hu=np.clip(hu, -1024, 3071).astype(np.int16),
        labels=labels,
        tracer=tracer,
        facts={
            "source": "demo",
            "noise": noise,
            "lesions": float(placed),
            "lesion_ml": float((labels == 1).sum()) * 0.064,
        },
    )
