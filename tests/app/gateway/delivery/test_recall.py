"""Recalls: every result of a model, once, rejected only where it may have arrived."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.gateway.delivery.recall import recall
from app.jobs.records.transitions import delivery_id
from app.jobs.tables import DeliveryKind, DeliveryState
from tests.app.gateway.finished import house, remote


@pytest.fixture
def built(tmp_path):
    with house(tmp_path, remote(1)) as started:
        original = started.study
        for key, model in (("a", "net@11 organs@33"), ("b", "net@22"), ("c", None), ("d", "organs@33")):
            found = [
                replace(
                    one,
                    model=model,
                    algorithm="net 3" if model and "net@" in model else "fixed_suv 1",
                    sop_instance_uid=f"{one.sop_instance_uid[:40]}.{ord(key)}",
                )
                for one in original.found.results
            ]
            started.study = replace(original, found=replace(original.found, results=tuple(found)))
            started.done(study_key=key)
        yield started


@pytest.mark.parametrize(
    ("model", "jobs"),
    [
        ("net@11", ["a-r1"]),
        ("net", ["a-r1", "b-r1"]),
        ("net@3", ["a-r1", "b-r1"]),
        ("organs@33", ["a-r1", "d-r1"]),  # had a part in it
        ("organs", ["a-r1", "d-r1"]),
        ("organs@3", []),
        ("fixed_suv@1", ["c-r1", "d-r1"]),  # a method without a model
        ("fixed_suv", ["c-r1", "d-r1"]),
        ("fixed_suv@2", []),
        ("fixed-suv", []),
        ("ne", []),
        ("net@1", []),
        ("other", []),
        ("", []),
    ],
)
def test_finds_the_results_of_a_model(built, model, jobs):
    assert sorted(recall(built.ledger, model)) == jobs
    assert sorted(one.job_id for one in built.ledger.incidents.latest()) == jobs
    assert recall(built.ledger, model) == []
    assert {row.withdrawn for job in jobs for row in built.ledger.results.of_job(job)} <= {"recalled"}


def test_rejects_only_where_something_may_have_arrived(built):
    sent, tried = (delivery_id(f"{key}-r1", DeliveryKind.RESULTS, "pacs") for key in "ab")
    for one in (sent, tried):
        built.ledger.deliveries.start(one, 1)
    assert built.ledger.deliveries.begin_sending(sent, 1)
    recall(built.ledger, "net")
    assert [one.kind for one in built.ledger.deliveries.of_job("a-r1")] == ["results", "rejection"]
    assert [one.kind for one in built.ledger.deliveries.of_job("b-r1")] == ["results"]
    assert built.ledger.deliveries.get(tried).state == DeliveryState.WITHDRAWN
    assert not built.ledger.deliveries.begin_sending(tried, 1)
