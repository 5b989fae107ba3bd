"""Shapes drawn on an image (SCOORD, PS3.3 C.18.6) as the pixels that they enclose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CORNERS = 48
"""Of the polygon that stands for a circle or an ellipse."""

Points = NDArray[np.float64]


def polygon_of(graphic_type: str, points: Points) -> Points:
    """The closed outline of a graphic.

    Parameters
    ----------
    graphic_type : str
        Graphic Type (0070,0023).
    points : ndarray of float64, shape (n, 2)
        (column, row), pixel centres at halves.

    Returns
    -------
    ndarray of float64, shape (m, 2)
        Without an area where the type is unknown or only marks points.
    """
    turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)[:, None]
    if graphic_type == "CIRCLE" and len(points) == 2:
        radius = np.linalg.norm(points[1] - points[0])
        return np.asarray(points[0] + radius * np.concatenate([np.cos(turn), np.sin(turn)], axis=1))
    if graphic_type == "ELLIPSE" and len(points) == 4:
        middle = points.mean(axis=0)
        major, minor = (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
        return np.asarray(middle + np.cos(turn) * major + np.sin(turn) * minor)
    return points


def fill(outline: Points, shape: tuple[int, int]) -> NDArray[np.int64]:
    """The pixels whose centres lie in an outline, by the even-odd rule.

    Parameters
    ----------
    outline : ndarray of float64, shape (n, 2)
        (column, row) of its corners; the last is joined to the first. One that holds no pixel's centre, as
        a point, is the pixels that its corners lie in.
    shape : tuple of int
        (rows, columns) of the image.

    Returns
    -------
    ndarray of int64, shape (pixels, 2)
        (row, column).
    """
    rows, columns = shape
    # where a row of pixel centres crosses an edge, inside and outside change places to the right of it
    changes = np.zeros((rows, columns + 1), np.bool_)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        low, high = sorted((y0, y1))
        first, stop = max(int(np.ceil(low - 0.5)), 0), min(int(np.ceil(high - 0.5)), rows)
        crossed = np.arange(first, stop)
        x = x0 + (crossed + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        at = np.clip(np.ceil(x - 0.5), 0, columns).astype(np.int64)
        changes[crossed, at] ^= True
    inside = np.logical_xor.accumulate(changes[:, :columns], axis=1)
    if inside.any():
        return np.argwhere(inside)
    pixels = np.unique(np.floor(outline[:, ::-1]).astype(np.int64), axis=0)
    return pixels[np.all((pixels >= 0) & (pixels < np.array(shape)), axis=1)]
