"""Look at simulated bodies.

Use: python -m models.petct_lesion.training.simulator.preview OUT.png --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from models.petct_lesion.training.simulator.body import simulate_body
from models.petct_lesion.training.simulator.types import Body, Label

COLOURS = {
    Label.BRAIN: (120, 60, 200),
    Label.HEAD_NECK: (230, 140, 0),
    Label.HEART: (200, 60, 160),
    Label.LIVER: (130, 90, 30),
    Label.SPLEEN: (40, 130, 130),
    Label.KIDNEY: (30, 110, 220),
    Label.URINARY: (0, 180, 230),
    Label.GUT: (30, 160, 60),
    Label.OTHER: (160, 160, 0),
}


def panels(body: Body, suv_max: float = 10.0) -> NDArray[np.uint8]:
    """Projection, projection with labels, two coronal planes and the CT: (rows, columns, 3)."""
    suv = body.suv.astype(np.float32)
    mip = suv.max(1)
    lesion = body.labels == Label.LESION
    outline = lesion.any(1)
    outline = outline & ~ndimage.binary_erosion(outline)
    coloured = _grey(mip, suv_max)
    for label, colour in COLOURS.items():
        shown = (body.labels == label).any(1)
        coloured[shown] = (0.55 * coloured[shown] + 0.45 * np.array(colour)).astype(np.uint8)
    coloured[outline] = (255, 0, 0)
    middle = suv.shape[1] // 2
    planes = [_grey(suv[:, row], suv_max / 2.5) for row in (middle - 10, middle - 2, middle + 6)]
    ct = _grey(160.0 - np.clip(body.hu[:, middle].astype(np.float32), -160, 240), 320.0)
    picture = np.hstack([_grey(mip, suv_max), coloured, *planes, ct])
    return np.asarray(picture[::-1])


def _grey(plane: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    grey = (255 * (1 - np.clip(plane / top, 0, 1)) ** 0.9).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def main() -> None:
    """Write a sheet of projections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--tracer")
    parser.add_argument("--columns", type=int, default=2)
    chosen = parser.parse_args()
    pictures = [panels(simulate_body(seed, chosen.tracer)) for seed in chosen.seeds]
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    sheet = [
        np.pad(p, ((0, height - p.shape[0] + 4), (0, width - p.shape[1] + 4), (0, 0)), constant_values=200)
        for p in pictures
    ]
    while len(sheet) % chosen.columns:
        sheet.append(np.full_like(sheet[0], 200))
    rows = [np.hstack(sheet[at : at + chosen.columns]) for at in range(0, len(sheet), chosen.columns)]
    Image.fromarray(np.vstack(rows)).save(chosen.out)


if __name__ == "__main__":
    main()
