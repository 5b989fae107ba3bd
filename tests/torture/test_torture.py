"""The short form of the crash test; ``make torture`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import ORTHANC, STORESCU, require
from tests.torture.run import ROLES, Plan, torture

SHORT = Plan(
    kills=10,
    seed=3,
    senders=2,
    between_kills_s=(0.1, 1.0),
    pause_s=4.0,
    fault_s=(1.0, 3.0),
    lock_s=(1.0, 3.0),
    rest_s=100,
    rounds=1,
)


@pytest.mark.timeout(200)
def test_nothing_acknowledged_is_lost_and_every_study_has_one_set_of_results(tmp_path: Path) -> None:
    require(ORTHANC, STORESCU)
    report = torture(tmp_path, SHORT)
    print("\n".join(report.lines()))
    assert not report.verdict.violations, "\n".join(report.lines())
    assert sum(report.kills.values()) == SHORT.kills
    assert len(report.kills) >= len(ROLES) - 1
    assert report.verdict.counts["instances"] > 0
