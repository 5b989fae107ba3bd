"""Numbers as a reader sees them."""

from __future__ import annotations

import pytest

from operators.response.rules.numbers import shown


@pytest.mark.parametrize(
    ("value", "unit", "beside", "text"),
    [
        (-30.0, "%", (), "-30 %"),
        (3, "1", (), "3"),
        (12.3456, "g/ml{SUVbw}", (), "12.35 g/ml"),
        (9.99996, "g/ml{SUVbw}", (10.0,), "9.99996 g/ml"),
        (9.99996, "g/ml{SUVbw}", (20.0,), "10 g/ml"),
        (10.0, "ml", (10.0,), "10 ml"),
        (123456.0, "ml", (), "123500 ml"),
        (0.00001234, "ml", (), "0.000012 ml"),
        (1.5e12, "ml", (), "1.5e+12 ml"),
    ],
)
def test_has_the_digits_that_tell_it_from_others(value, unit, beside, text) -> None:
    assert shown(value, unit, beside) == text
