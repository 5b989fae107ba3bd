"""Pictures: small, the right way up, and of what they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.petct_lesion.training.report.pictures import (
    MOST_BYTES,
    draw_overlays,
    draw_whole_body,
    overlay_of,
)
from models.petct_lesion.training.report.write import write_report
from operators.domain import Geometry
from tests.models.petct_lesion.training.report.invented import record

SHAPE = (30, 20, 24)


def geometry(z: float = 3.0, y: float = 4.0, x: float = 4.0) -> Geometry:
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = (z, y, x, 1.0)
    return Geometry(SHAPE, affine, "1")


def ball(at: tuple[int, int, int], radius: float) -> np.ndarray:
    places = np.indices(SHAPE) - np.array(at)[:, None, None, None]
    return np.asarray((places**2).sum(0) <= radius**2)


def volume() -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, 0.5, SHAPE).astype(np.float32)


def test_writes_every_file_that_follows_from_the_record(tmp_path: Path) -> None:
    write_report(record(), tmp_path)
    names = {"record.json", "folds.csv", "folds.md", "simulated.md", "dice.png", "reliability.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in ("dice.png", "reliability.png"):
        assert (tmp_path / name).stat().st_size <= MOST_BYTES
        picture = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 5


def test_slices_go_through_most_of_the_reference() -> None:
    reference = ball((20, 5, 10), 4)
    found = overlay_of("invented", volume(), reference, ball((3, 15, 3), 2), geometry())
    assert found.axial.reference.sum() == reference[20].sum()
    assert found.coronal.reference.sum() == reference[:, 5].sum()
    assert not found.axial.prediction.any()
    assert (found.axial.aspect, found.coronal.aspect) == (1.0, 0.75)


def test_without_a_reference_slices_go_through_the_prediction() -> None:
    prediction = ball((8, 12, 10), 3)
    found = overlay_of("invented", volume(), np.zeros(SHAPE, bool), prediction, geometry())
    assert found.axial.prediction.sum() == prediction[8].sum()


@pytest.mark.parametrize("z", [3.0, -3.0])
@pytest.mark.parametrize("y", [4.0, -4.0])
@pytest.mark.parametrize("x", [4.0, -4.0])
def test_superior_anterior_and_the_patients_right_come_first(z: float, y: float, x: float) -> None:
    suv = np.zeros(SHAPE, np.float32)
    # most superior, most anterior, rightmost
    corner = (-1 if z > 0 else 0, 0 if y > 0 else -1, 0 if x > 0 else -1)
    suv[corner] = 9.0
    mask = suv > 0
    found = overlay_of("invented", suv, mask, mask, geometry(z, y, x))
    assert found.coronal.suv[0, 0] == 9.0
    assert found.axial.suv[0, 0] == 9.0


def test_refuses_arrays_of_another_grid_and_planes_that_are_not_axial() -> None:
    mask = np.zeros(SHAPE, bool)
    with pytest.raises(ValueError, match="on a grid of"):
        overlay_of("invented", volume()[1:], mask, mask, geometry())
    affine = geometry().affine[:, [1, 0, 2, 3]]
    with pytest.raises(ValueError, match="not axial"):
        overlay_of("invented", volume(), mask, mask, Geometry(SHAPE, affine, "1"))


def test_draws_a_grid_of_patients_with_groups_of_any_size(tmp_path: Path) -> None:
    mask = ball((15, 10, 12), 5)
    one = overlay_of("INVENTED_001, Dice 1.00", volume(), mask, mask, geometry())
    empty = overlay_of("INVENTED_002", volume(), np.zeros(SHAPE, bool), np.zeros(SHAPE, bool), geometry())
    draw_overlays([("best", [one, one]), ("worst", [empty])], tmp_path / "overlays.png")
    assert 0 < (tmp_path / "overlays.png").stat().st_size <= MOST_BYTES
    with pytest.raises(ValueError, match="no patients"):
        draw_overlays([], tmp_path / "none.png")


def test_draws_what_the_network_says_of_a_whole_body(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[ball((25, 10, 12), 4)] = 2
    labels[ball((5, 10, 12), 3)] = 1
    suv = volume() + 8.0 * (labels > 0)
    draw_whole_body(suv, labels, labels == 1, geometry(), tmp_path / "whole_body.png")
    assert 0 < (tmp_path / "whole_body.png").stat().st_size <= MOST_BYTES
    picture = np.asarray(Image.open(tmp_path / "whole_body.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 180) & (picture[..., 1] < 60) & (picture[..., 2] < 60)
    assert red.sum() > 200
    assert (picture == 255).all(-1).mean() > 0.2
