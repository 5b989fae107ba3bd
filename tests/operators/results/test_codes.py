"""Every private code is defined once, and the documentation says the same."""

from dataclasses import replace
from pathlib import Path

from operators.results.codes import PRIVATE_DEFINITIONS, place_of

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "codes.md"


def test_private_codes_are_distinct():
    assert len({code.value for code in PRIVATE_DEFINITIONS}) == len(PRIVATE_DEFINITIONS)


def test_documentation_defines_every_private_code():
    text = DOCUMENT.read_text("utf-8")
    for code, definition in PRIVATE_DEFINITIONS.items():
        assert f"| {code.value} | {code.meaning} | {definition} |" in text


def test_meanings_fit_a_long_string():
    assert all(len(code.meaning) <= 64 and len(code.value) <= 16 for code in PRIVATE_DEFINITIONS)


def test_a_lesion_near_an_organ_does_not_lie_in_it(make):
    inside, without_code = make(with_models=True).lesions
    organ, side = place_of(inside)
    assert (organ.meaning, side.meaning) == ("Kidney", "Left")
    assert place_of(without_code) is None
    assert place_of(replace(inside, site=replace(inside.site, overlap=0.0, distance_mm=4.0))) is None
    assert place_of(replace(inside, site=replace(inside.site, overlap=0.19))) is None  # it touches it
    assert place_of(replace(inside, site=replace(inside.site, overlap=0.2))) is not None
    assert place_of(replace(inside, site=None)) is None
