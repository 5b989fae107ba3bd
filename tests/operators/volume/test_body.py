"""Published body formulas."""

import pytest

from operators.volume import body

VECTORS = [
    (body.morgan_kg, "M", 62.777575),
    (body.morgan_kg, "F", 55.925676),
    (body.janmahasatian_kg, "M", 60.915336),
    (body.janmahasatian_kg, "F", 49.214380),
]


@pytest.mark.parametrize(("formula", "sex", "expected_kg"), VECTORS)
def test_lean_mass_of_75_kg_and_185_cm(formula, sex, expected_kg):
    assert body.body_mass_kg(formula, 75, 1.85, sex) == pytest.approx(expected_kg, abs=1e-6)


def test_surface_of_75_kg_and_185_cm():
    assert body.surface_cm2(75, 1.85) == pytest.approx(19813.758, abs=1e-3)


def test_other_sex_takes_the_mean_of_both():
    expected = (62.777575 + 55.925676) / 2
    assert body.body_mass_kg(body.morgan_kg, 75, 1.85, "O") == pytest.approx(expected, abs=1e-6)


def test_mass_that_is_not_positive_is_absent():
    assert body.body_mass_kg(body.morgan_kg, 200, 0.5, "M") is None
