from __future__ import annotations

from operators.domain import Destination, ResultKind, ResultProfile, SrRegion
from operators.results.forms import file_name, forms

PROFILE = ResultProfile("1", results=frozenset({ResultKind.SR}))


def test_destinations_of_one_form_share_it_and_those_that_do_not_want_it_are_left_out() -> None:
    destinations = (
        Destination("pacs"),
        Destination("viewer", sr_region=SrRegion.SEGMENT),
        Destination("archive", results=frozenset({ResultKind.SR, ResultKind.PDF})),
        Destination("planning", results=frozenset({ResultKind.RTSTRUCT})),
    )
    reports = forms(destinations, ResultKind.SR, PROFILE, lambda destination: destination.sr_region)
    assert reports == {SrRegion.IMAGE: "pacs, archive", SrRegion.SEGMENT: "viewer"}
    assert forms(destinations, ResultKind.PDF, PROFILE, lambda _: None) == {None: "archive"}
    assert forms(destinations, ResultKind.FHIR, PROFILE, lambda _: None) == {}


def test_a_file_has_its_form_in_its_name_only_where_there_are_several() -> None:
    assert file_name("sr", ".dcm", "image", 1) == "sr.dcm"
    assert file_name("sr", ".dcm", "image", 2) == "sr-image.dcm"
    assert file_name("seg", ".dcm", "", 2) == "seg.dcm"
