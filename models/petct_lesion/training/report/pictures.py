"""Pictures of the results, as small PNG files; none shows anything of a patient's header."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from app.evaluation.summary import spread
from models.petct_lesion.training.design import LABELS, LESION
from models.petct_lesion.training.report.figures import bins_of, calibration_error, dice_of, methods_of
from models.petct_lesion.training.report.record import METHODS, NETWORK, Record, ReliabilityBin
from models.petct_lesion.training.report.words import ATTRIBUTION, number
from models.petct_lesion.training.simulator.preview import COLOURS
from operators.domain import Geometry

MOST_BYTES = 150_000
RESOLUTIONS = (110, 90, 75, 60)
"""Dots per inch: the first at which a picture is small enough."""
FEWER_SHADES = [round(value / 255 * 31) * 255 // 31 for value in range(256)]
"""Of red, green and blue: a palette would be smaller, but runs the organs' colours together."""

REFERENCE, PREDICTION = "#0072b2", "#d55e00"
"""Blue and vermilion, which no colour blindness confuses."""
BY_FAMILY = {True: PREDICTION, False: "#7f7f7f"}
LEAST_WINDOW, MOST_WINDOW = 3.0, 10.0
"""SUV at which a slice is black."""
THRESHOLD_SUV = 4.0


@dataclass(frozen=True, slots=True)
class Plane:
    """A slice as a reader sees it: superior or anterior at the top, the patient's right at the left."""

    suv: NDArray[np.float32]
    """(rows, columns)."""
    reference: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    aspect: float
    """Height over width of a voxel."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """A patient's two slices."""

    title: str
    axial: Plane
    coronal: Plane


def draw_dice(record: Record, path: Path) -> None:
    """Draw each patient's Dice by each method: a box, every patient as a dot, the mean with its interval."""
    methods = methods_of(record)
    figure = Figure(figsize=(7.2, 0.62 * len(methods) + 1.5), layout="constrained")
    axes = figure.add_subplot()
    jitter = np.random.default_rng(0).uniform(-0.22, 0.22, len(record.patients))
    for row, method in enumerate(methods):
        dice, colour = np.array(dice_of(record.patients, method)), BY_FAMILY[method.startswith(NETWORK)]
        axes.boxplot(
            dice, positions=[row], orientation="horizontal", widths=0.62, showfliers=False,
            medianprops={"color": "black"}, boxprops={"color": colour}, whiskerprops={"color": colour},
            capprops={"color": colour}, manage_ticks=False,
        )  # fmt: skip
        axes.plot(dice, row + jitter, "o", color=colour, alpha=0.55, markersize=3.5, markeredgewidth=0)
        _mean(axes, dice, row)
    axes.set_yticks(range(len(methods)), [METHODS[method] for method in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(
        f"Dice of {len(record.patients)} patients, each left out of training\n"
        "diamond and bar: mean with 95 % interval; box: quartiles and median"
    )
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    _save(figure, path)


def draw_reliability(record: Record, path: Path) -> None:
    """Draw observed shares against probabilities, before and after calibration, and predicted against
    measured Dice.
    """
    figure = Figure(figsize=(7.6, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.plot((0, 1), (0, 1), color="0.7", linewidth=1)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_aspect("equal")
    for calibrated, colour, word in ((False, "#7f7f7f", "before"), (True, PREDICTION, "after")):
        bins = bins_of(record, calibrated=calibrated)
        error = number(calibration_error(bins), 4)
        _curve(left, bins, colour, f"{word} calibration (error {error})")
    left.set_xlabel("probability of lesion, voxels")
    left.set_ylabel("share that is lesion")
    left.legend(loc="upper left", frameon=False, fontsize=8)
    known = [each for each in record.patients if each.predicted_dice is not None]
    right.plot(
        [each.predicted_dice or 0.0 for each in known], dice_of(known, NETWORK), "o", color=PREDICTION,
        markersize=4, alpha=0.7, markeredgewidth=0,
    )  # fmt: skip
    right.set_xlabel("predicted Dice")
    right.set_ylabel(f"measured Dice, {len(known)} patients")
    _save(figure, path)


def overlay_of(
    title: str,
    suv: NDArray[np.floating],
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    geometry: Geometry,
) -> Overlay:
    """Choose a patient's slices: those through most of the reference, or of the prediction without one.

    Parameters
    ----------
    title : str
        Stands above them: a pseudonym and figures, nothing of the patient's header.
    suv : ndarray, shape (z, y, x)
        SUVbw, g/ml.
    reference, prediction : ndarray of bool, shape (z, y, x)
    geometry : Geometry
        Of all three; z must lie nearest to the patient's length, and y to the depth.

    Raises
    ------
    ValueError
        Shapes differ, or the planes are not axial.
    """
    z_mm, y_mm, x_mm = geometry.spacing_mm
    suv, reference, prediction = (_upright(each, geometry) for each in (suv, reference, prediction))
    wanted = reference if reference.any() else prediction
    level, row = (int(wanted.sum(axis=axes).argmax()) for axes in ((1, 2), (0, 2)))
    planes = [
        Plane(suv[at].astype(np.float32), reference[at], prediction[at], aspect)
        for at, aspect in ((np.s_[level], y_mm / x_mm), (np.s_[:, row], z_mm / x_mm))
    ]
    return Overlay(title, *planes)


def draw_overlays(rows: Sequence[tuple[str, Sequence[Overlay]]], path: Path) -> None:
    """Draw a grid of patients: a row for each group, for each patient an axial and a coronal slice.

    Parameters
    ----------
    rows : sequence of (str, sequence of Overlay)
        What the group is called, and its patients.
    path : Path
    """
    columns = max((len(overlays) for _, overlays in rows), default=0)
    if not columns:
        message = "no patients to draw"
        raise ValueError(message)
    figure = Figure(figsize=(3.3 * columns, 1.95 * len(rows) + 0.5), layout="constrained")
    grid: Any = figure.subplots(len(rows), 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (group, overlays) in zip(grid, rows, strict=True):
        for number_, overlay in enumerate(overlays):
            for axes, plane in zip(line[2 * number_ :], (overlay.axial, overlay.coronal), strict=False):
                _draw_plane(axes, plane)
            line[2 * number_].set_title(f"{group}: {overlay.title}", fontsize=7, loc="left")
    figure.supxlabel(
        "Axial and coronal slice of each patient. Blue: reference, drawn on MR; vermilion: network. "
        f"Black is the slice's 99.9th percentile, SUV {LEAST_WINDOW:g} to {MOST_WINDOW:g}.\n{ATTRIBUTION}",
        fontsize=6,
    )
    _save(figure, path)


def draw_whole_body(
    suv: NDArray[np.floating],
    labels: NDArray[np.integer],
    reference: NDArray[np.bool_],
    geometry: Geometry,
    path: Path,
    source: str = ATTRIBUTION,
) -> None:
    """Draw projections from the front: the PET, what the network says, and SUV ≥ 4.

    Parameters
    ----------
    suv : ndarray, shape (z, y, x)
        SUVbw, g/ml.
    labels : ndarray of int, shape (z, y, x)
        Values of the package's labels.
    reference : ndarray of bool, shape (z, y, x)
        Where a lesion was outlined.
    geometry : Geometry
    path : Path
    source : str
        Where the image comes from, for the caption.

    Raises
    ------
    ValueError
        Shapes differ, or the planes are not axial.
    """
    suv, labels, reference = (_upright(each, geometry) for each in (suv, labels, reference))
    uptake, outlined = np.any(suv >= THRESHOLD_SUV, axis=1), np.any(reference, axis=1)
    z_mm, _, x_mm = geometry.spacing_mm
    grey = _grey(suv.max(axis=1).astype(np.float32), MOST_WINDOW)
    named, present = _coloured(grey, suv, labels)
    hot = _blended(grey, uptake, (200, 30, 30), 0.8)
    figure = Figure(figsize=(8.2, 5.6), layout="constrained")
    panels: Any = figure.subplots(1, 3)
    titles = ("PET, maximum projection", "network: lesion and organ groups", f"SUV ≥ {THRESHOLD_SUV:g}")
    for axes, picture, title in zip(panels, (grey, named, hot), titles, strict=True):
        axes.imshow(picture, aspect=z_mm / x_mm, interpolation="antialiased")
        _outline(axes, outlined, REFERENCE)
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
    handles = [Patch(color=_hex(colour), label=name) for name, colour in present.items()]
    handles.append(Patch(facecolor="none", edgecolor=REFERENCE, label="outlined by a reader"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    figure.suptitle(source, fontsize=6)
    _save(figure, path)


def _mean(axes: Axes, dice: NDArray[np.float64], row: int) -> None:
    found = spread(dice.tolist())
    if found.mean is None:
        return
    if found.interval is not None:
        axes.plot((found.interval.low, found.interval.high), (row, row), color="black", linewidth=2.2)
    axes.plot(found.mean, row, "D", color="white", markeredgecolor="black", markersize=5.5)


def _curve(axes: Axes, bins: Sequence[ReliabilityBin], colour: str, label: str) -> None:
    x, y = [each.mean_probability for each in bins], [each.observed for each in bins]
    axes.plot(x, y, "o-", color=colour, markersize=4, linewidth=1.2, label=label)


def _draw_plane(axes: Axes, plane: Plane) -> None:
    top = float(np.clip(np.percentile(plane.suv, 99.9), LEAST_WINDOW, MOST_WINDOW))
    axes.imshow(plane.suv, cmap="gray_r", vmin=0, vmax=top, aspect=plane.aspect, interpolation="bilinear")
    _outline(axes, plane.reference, REFERENCE)
    _outline(axes, plane.prediction, PREDICTION)


def _outline(axes: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    if mask.any():
        # a border of nothing, so that an outline closes where a mask ends with its image
        rows, columns = (np.arange(-1, n + 1) for n in mask.shape)
        height, width = mask.shape
        axes.contour(columns, rows, np.pad(mask, 1).astype(float), [0.5], colors=colour, linewidths=0.9)
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)


def _grey(plane: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    grey = np.asarray(255 * (1 - np.clip(plane / top, 0, 1)), np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _coloured(
    grey: NDArray[np.uint8], suv: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[NDArray[np.uint8], Mapping[str, tuple[int, int, int]]]:
    """The label of the voxel that the projection shows, and any lesion; the colour of each label, by name."""
    hottest = np.take_along_axis(labels, suv.argmax(axis=1)[:, None], axis=1)[:, 0]
    colours: dict[int, tuple[int, int, int]] = {int(value): colour for value, colour in COLOURS.items()}
    colours[LESION] = (220, 0, 0)
    picture, present = grey, {}
    for label in sorted(LABELS, key=lambda each: each.value == LESION):
        lesion = label.value == LESION
        shown = np.any(labels == LESION, axis=1) if lesion else hottest == label.value
        if shown.any():
            picture = _blended(picture, shown, colours[label.value], 0.9 if lesion else 0.5)
            present[label.name] = colours[label.value]
    return picture, present


def _blended(
    picture: NDArray[np.uint8], where: NDArray[np.bool_], colour: tuple[int, int, int], weight: float
) -> NDArray[np.uint8]:
    result = picture.copy()
    result[where] = ((1 - weight) * picture[where] + weight * np.array(colour)).astype(np.uint8)
    return result


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _upright(array: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """The array with superior first, anterior first, the patient's right first."""
    if array.shape != geometry.shape:
        message = f"an array of {array.shape} on a grid of {geometry.shape}"
        raise ValueError(message)
    directions = geometry.affine[:3, :3]
    if [int(axis) for axis in np.abs(directions).argmax(axis=0)] != [2, 1, 0]:
        message = "the image's planes are not axial"
        raise ValueError(message)
    superior, posterior, left = directions[2, 0], directions[1, 1], directions[0, 2]
    turned = (superior > 0, posterior < 0, left < 0)
    return array[tuple(slice(None, None, -1 if turn else 1) for turn in turned)]


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG of at most 150 kB, at the finest resolution that allows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for dpi in RESOLUTIONS:
        drawn, file = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, format="png", dpi=dpi)
        Image.open(drawn).convert("RGB").point(FEWER_SHADES * 3).save(file, "PNG", optimize=True)
        if len(file.getvalue()) <= MOST_BYTES:
            path.write_bytes(file.getvalue())
            return
    message = f"{path.name} is larger than {MOST_BYTES} bytes at {RESOLUTIONS[-1]} dots per inch"
    raise ValueError(message)
