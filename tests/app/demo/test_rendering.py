"""Sections of ellipsoids, against the definition at every voxel."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.demo.anatomy import Ellipsoid
from app.demo.phantom_spec import Cosines
from app.demo.rendering import centred_geometry, section

number = st.floats(-30, 30)
size = st.floats(0.5, 40)
angle = st.floats(-math.pi, math.pi)


def turned(a: float, b: float, c: float) -> Cosines:
    """Direction cosines of a grid turned about the three axes."""
    x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return tuple((z @ y @ x)[:, :2].T.ravel())  # type: ignore[return-value]


@settings(max_examples=150, deadline=None)
@given(
    center=st.tuples(number, number, number),
    radii=st.tuples(size, size, size),
    spacing=st.tuples(st.floats(1, 8), st.floats(1, 8), st.floats(1, 8)),
    cosines=st.builds(turned, angle, angle, angle),
)
def test_section_holds_exactly_the_voxels_inside(
    center: tuple[float, float, float],
    radii: tuple[float, float, float],
    spacing: tuple[float, float, float],
    cosines: Cosines,
) -> None:
    geometry = centred_geometry((7, 9, 8), spacing, cosines, "1.2.3")
    ellipsoid = Ellipsoid("any", np.array(center), np.array(radii), 0.0, 1.0)
    places = geometry.to_lps(np.indices(geometry.shape).reshape(3, -1).T)
    level = np.sum(((places - center) / radii) ** 2, axis=1).reshape(geometry.shape)
    painted = np.zeros(geometry.shape, bool)
    for z in range(geometry.shape[0]):
        if (found := section(ellipsoid, geometry, z)) is not None:
            rows, columns, inside = found
            painted[z, rows, columns] = inside
    clear = np.abs(level - 1) > 1e-6
    np.testing.assert_array_equal(painted[clear], (level <= 1)[clear])


@given(
    center=st.tuples(number, number, number),
    radii=st.tuples(size, size, size),
    direction=st.tuples(angle, angle),
)
def test_clearance_never_overstates_the_distance(
    center: tuple[float, float, float], radii: tuple[float, float, float], direction: tuple[float, float]
) -> None:
    ellipsoid = Ellipsoid("any", np.zeros(3), np.array(radii), 0.0, 1.0)
    u, v = direction
    surface = np.array(radii) * [math.cos(u) * math.cos(v), math.sin(u) * math.cos(v), math.sin(v)]
    assert abs(ellipsoid.clearance_mm(np.array(center))) <= math.dist(center, surface) + 1e-6
