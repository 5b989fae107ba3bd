"""Every language says everything that English says, with the same values in it."""

import string
from dataclasses import replace

import pytest

from app.protocols import load_protocols
from operators.domain import Language
from operators.quantification.quantify import _withheld
from operators.quantification.sites import NOWHERE
from operators.results.language import phrases
from operators.results.language.phrases import places_of

OTHERS = [language for language in Language if language is not Language.ENGLISH]


def forms(entry):
    return {"": entry} if isinstance(entry, str) else dict(entry)


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_has_every_phrase_with_the_same_places(language):
    english, other = phrases(Language.ENGLISH).entries, phrases(language).entries
    assert list(other) == list(english), "the same keys in the same order"
    for key, entry in english.items():
        assert set(forms(other[key])) == set(forms(entry)), key
        for form, phrase in forms(entry).items():
            assert places_of(forms(other[key])[form]) | {"count"} == places_of(phrase) | {"count"}, (
                key,
                form,
            )


@pytest.mark.parametrize("language", list(Language))
def test_phrases_are_plain_printable_text(language):
    for key, entry in phrases(language).entries.items():
        for phrase in forms(entry).values():
            assert phrase.isprintable(), key
            assert "\\" not in phrase
            assert "  " not in phrase
            assert (
                phrase.count("{")
                == phrase.count("}")
                == len([place for _, place, _, _ in string.Formatter().parse(phrase) if place is not None])
            )


@pytest.mark.parametrize("language", OTHERS)
def test_a_sentence_begins_and_ends_as_in_english(language):
    """What is put together keeps its blanks, and a sentence its full stop."""
    for key, entry in phrases(Language.ENGLISH).entries.items():
        for form, phrase in forms(entry).items():
            other = forms(phrases(language).entries[key])[form]
            if phrase.endswith(".") and not key.startswith("label_"):
                assert other.endswith("."), key
            if phrase.endswith(" "):
                assert other.endswith(" "), key
            if phrase.startswith((" ", ";", ",")):
                assert other.startswith((" ", ";", ",")), key


def test_languages_are_rfc_5646_codes():
    codes = [(phrases(each).code.value, phrases(each).code.scheme_designator) for each in Language]
    assert codes == [("en", "RFC5646"), ("de", "RFC5646"), ("fr", "RFC5646"), ("es", "RFC5646")]
    assert phrases(Language.GERMAN).code.meaning == "German"


@pytest.mark.parametrize(
    ("language", "none", "one", "two"),
    [
        ("en", "0 lesions", "1 lesion;", "2 lesions"),
        ("de", "0 Läsionen", "1 Läsion;", "2 Läsionen"),
        ("fr", "0 lésion ;", "1 lésion ;", "2 lésions"),
        ("es", "0 lesiones", "1 lesión;", "2 lesiones"),
    ],
)
def test_a_count_takes_its_form(language, none, one, two):
    said = phrases(Language(language))
    for count, expected in enumerate((none, one, two)):
        assert said.text("impression_lesions", count=count, suv_max="9").startswith(expected)


@pytest.mark.parametrize("language", list(Language))
def test_one_lesion_is_not_said_as_many(language):
    said = phrases(language)
    for key in ("totals_count", "trend_point", "change_totals", "change_tracer_totals"):
        one, many = (
            said.text(key, **{**dict.fromkeys(places_of(said.entries[key]["one"]), "x"), "count": count})
            for count in (1, 2)
        )
        assert one.replace("1", "2") != many, key
        assert "2" in many


def test_hazard_ratios_are_named_as_statisticians_name_them():
    french, spanish = (
        phrases(each).text("prediction_hazard_ratio") for each in (Language.FRENCH, Language.SPANISH)
    )
    assert french == "rapport des risques instantanés (hazard ratio)"
    assert spanish == "cociente de riesgos instantáneos (hazard ratio)"


def test_numbers_have_the_languages_decimal_sign():
    assert [phrases(each).number(1234.5, 2) for each in Language] == [
        "1234.50", "1234,50", "1234,50", "1234,50",
    ]  # fmt: skip
    assert phrases(Language.GERMAN).short(0.10000) == "0,1"


def test_a_value_that_is_missing_or_a_phrase_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="pages"):
        phrases(Language.ENGLISH).text("page_of", page=1)
    with pytest.raises(KeyError, match="no_such"):
        phrases(Language.ENGLISH).text("no_such")


def test_what_other_steps_say_in_our_words_is_translated(make):
    segmented = make(with_models=True).segmented
    german = phrases(Language.GERMAN)
    for removed, expected in (((), "nicht entfernt"), (segmented.removed, "nur zum Teil entfernt")):
        reason = _withheld(replace(segmented, removed=removed))
        assert expected in german.translated(reason), "the words of the step that measures have changed"
        assert phrases(Language.ENGLISH).translated(reason) == reason
    for protocol in load_protocols().values():
        for organ in protocol.physiological:
            assert f"own_{organ.name.replace(' ', '_')}" in german.entries, organ.name
    assert german.translated(NOWHERE) == "kein Organ"
    assert german.translated("left kidney") == "left kidney"


@pytest.mark.parametrize("phrase", ["{value:.2f}", "{value!r}", "{}", "{value.real}", "{value[0]}"])
def test_a_place_is_a_plain_name(phrase):
    with pytest.raises(ValueError, match="plain name"):
        places_of(phrase)
