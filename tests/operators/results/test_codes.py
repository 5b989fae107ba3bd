"""Every private code is defined once, and the documentation says the same."""

from pathlib import Path

from operators.results.codes import PRIVATE_DEFINITIONS

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "codes.md"


def test_private_codes_are_distinct():
    assert len({code.value for code in PRIVATE_DEFINITIONS}) == len(PRIVATE_DEFINITIONS)


def test_documentation_defines_every_private_code():
    text = DOCUMENT.read_text("utf-8")
    for code, definition in PRIVATE_DEFINITIONS.items():
        assert f"| {code.value} | {code.meaning} | {definition} |" in text


def test_meanings_fit_a_long_string():
    assert all(len(code.meaning) <= 64 and len(code.value) <= 16 for code in PRIVATE_DEFINITIONS)
