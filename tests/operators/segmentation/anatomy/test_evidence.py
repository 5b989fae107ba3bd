"""The weakest piece of evidence decides, and says why."""

from __future__ import annotations

import numpy as np
import pytest

from operators.segmentation.anatomy.evidence import Evidence, absent, judged

MASK = np.ones((2, 2, 2), np.bool_)


@pytest.mark.parametrize(
    ("value", "weight"), [(100.0, 0.0), (250.0, 0.0), (425.0, 0.5), (600.0, 1.0), (1e9, 1.0)]
)
def test_weight_rises_between_two_bounds(value, weight):
    assert Evidence(value, 250.0, 600.0, "too small").weight == pytest.approx(weight)


def test_less_may_be_better():
    assert Evidence(0.2, 0.6, 0.4, "too much").weight == 1.0
    assert Evidence(0.55, 0.6, 0.4, "too much").weight == pytest.approx(0.25)


def test_the_weakest_evidence_decides():
    organ = judged(MASK, (Evidence(1, 0, 1, "a"), Evidence(0.4, 0, 1, "b"), Evidence(0.7, 0, 1, "c")))
    assert (organ.confidence, organ.reason) == (pytest.approx(0.4), "b")
    assert not organ.is_sure


def test_without_doubt_there_is_no_reason():
    organ = judged(MASK, (Evidence(1, 0, 1, "a"),))
    assert (organ.confidence, organ.reason, organ.is_sure) == (1.0, "", True)


def test_what_is_absent_is_never_sure():
    assert not absent("nowhere").is_sure
