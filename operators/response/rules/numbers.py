"""Numbers that are not known exactly, compared, and numbers as a reader sees them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from operators.domain import Fact
from operators.response.rules.types import Relation

EQUAL_WITHIN = 1e-9
"""Relative. Far above what sums of floating numbers are off by, far below what anything is measured to."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a number lies, ends included."""

    low: float
    high: float

    def __mul__(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.high * factor)


def interval_of(fact: Fact) -> Interval:
    """Where a fact's number lies: one place where it is known, everywhere where nothing is."""
    if isinstance(fact.value, int | float):
        return Interval(float(fact.value), float(fact.value))
    return Interval(
        -math.inf if fact.at_least is None else fact.at_least,
        math.inf if fact.at_most is None else fact.at_most,
    )


def compare(value: Interval, relation: Relation, bound: Interval) -> bool | None:
    """Whether a relation holds; None where that depends on where in their intervals the numbers are."""
    match relation:
        case Relation.AT_LEAST:
            return _ordered(_at_least(value.low, bound.high), _at_least(value.high, bound.low))
        case Relation.ABOVE:
            return _ordered(_above(value.low, bound.high), _above(value.high, bound.low))
        case Relation.AT_MOST:
            return compare(bound, Relation.AT_LEAST, value)
        case Relation.BELOW:
            return compare(bound, Relation.ABOVE, value)
        case Relation.EQUALS:
            if _above(value.low, bound.high) or _above(bound.low, value.high):
                return False
            points = value.low == value.high and bound.low == bound.high
            return True if points else None


def _ordered(at_worst: bool, at_best: bool) -> bool | None:
    return True if at_worst else None if at_best else False


def _same(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=EQUAL_WITHIN, abs_tol=1e-12)


def _at_least(value: float, bound: float) -> bool:
    return value >= bound or _same(value, bound)


def _above(value: float, bound: float) -> bool:
    return value > bound and not _same(value, bound)


def shown(value: float, unit: str, beside: Iterable[float] = ()) -> str:
    """A number with its unit, with as many digits as tell it from others: at least 4, at most 10."""
    digits = 4
    others = [other for other in beside if not _same(value, other)]
    while digits < 10 and f"{value:.{digits}g}" in {f"{other:.{digits}g}" for other in others}:
        digits += 1
    words = "" if unit == "1" else unit.split("{", maxsplit=1)[0]
    return f"{_plain(value, digits)} {words}".rstrip()


def _plain(value: float, digits: int) -> str:
    """Without exponents where a reader can do without."""
    text = f"{value:.{digits}g}"
    if "e" in text and abs(value) < 1e9:
        text = f"{float(text):.0f}" if abs(value) >= 1 else f"{float(text):f}"
    return text
