"""Which of a job's results a destination gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.gateway.delivery.outgoing import ForAPersonError, wanted
from app.gateway.settings import Remote
from app.jobs.jobfile import form_of

PLAIN, SEGMENT = "binary-image-en-none", "labelmap-segment-de-none"


def row(kind: str, form: str) -> Any:
    return SimpleNamespace(kind=kind, form=form)


def remote(**settings: object) -> Remote:
    return Remote.model_validate({"name": "pacs", "ae_title": "PACS", "host": "h", "port": 104, **settings})


BOTH = [row("seg", PLAIN), row("seg", SEGMENT), row("sr", PLAIN), row("sr", SEGMENT), row("pdf", PLAIN)]


@pytest.mark.parametrize(
    ("settings", "kinds", "form"),
    [
        ({}, ["seg", "sr"], PLAIN),
        ({"results": ["sr", "pdf"]}, ["sr", "pdf"], PLAIN),
        ({"results": ["pdf"]}, ["pdf"], PLAIN),
        ({"seg_form": "labelmap", "sr_region": "segment", "language": "de"}, ["seg", "sr"], SEGMENT),
    ],
)
def test_a_destination_gets_its_kinds_in_its_form(settings, kinds, form) -> None:
    peer = remote(**settings)
    assert form_of(peer) == form
    assert [(one.kind, one.form) for one in wanted(BOTH, peer)] == [(kind, form) for kind in kinds]


def test_a_report_that_points_at_segments_brings_its_segmentation() -> None:
    peer = remote(results=["sr"], seg_form="labelmap", sr_region="segment", language="de")
    assert [(one.kind, one.form) for one in wanted(BOTH, peer)] == [("seg", SEGMENT), ("sr", SEGMENT)]


def test_a_form_that_several_share_goes_to_each_of_them() -> None:
    shared = [
        row("seg", f"{PLAIN}, binary-segment-en-none"),
        row("sr", PLAIN),
        row("sr", "binary-segment-en-none"),
    ]
    assert [one.kind for one in wanted(shared, remote(sr_region="segment"))] == ["seg", "sr"]


def test_results_of_the_former_version_are_sent_by_the_region_of_the_report() -> None:
    former = [row("seg", ""), row("sr", "image"), row("sr", "segment")]
    found = wanted(former, remote(sr_region="segment"))
    assert [(one.kind, one.form) for one in found] == [("seg", ""), ("sr", "segment")]


def test_without_any_destination_in_the_job_the_default_form_is_for_all() -> None:
    assert len(wanted([row("seg", "default"), row("sr", "default")], remote(language="fr"))) == 2


@pytest.mark.parametrize("change", [{"language": "fr"}, {"burned_in": "name"}, {"seg_form": "labelmap"}])
def test_a_form_that_was_not_written_is_for_a_person_and_no_other_takes_its_place(change) -> None:
    with pytest.raises(ForAPersonError, match="FORM_NOT_WRITTEN"):
        wanted([row("seg", PLAIN), row("sr", PLAIN)], remote(**change))
    assert wanted([row("rtstruct", PLAIN)], remote(**change)) == []
