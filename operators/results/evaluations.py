"""Qualitative evaluations: rows of the report's container, or of a lesion's group (TID 1500, TID 1411)."""

from __future__ import annotations

from typing import Final

from operators.domain import Language
from operators.results import codes
from operators.results.content import Relation, code, number, plain_text
from operators.results.summary import Statement
from operators.words import clean_text

_TEXT_LIMIT: Final = 4096


def evaluation(relation: Relation, statement: Statement, language: Language = Language.ENGLISH) -> bytes:
    """A row: a code with what modifies it, text, or a number (TID 1500 is extensible).

    A text in English says so where the report's language is another (TID 1204).
    """
    modifiers = [evaluation(Relation.HAS_CONCEPT_MOD, detail, language) for detail in statement.details]
    if isinstance(statement.value, int | float):
        return number(relation, statement.concept, statement.value, statement.unit, modifiers)
    if isinstance(statement.value, str):
        foreign = statement.in_english and language is not Language.ENGLISH
        in_english = (code(Relation.HAS_CONCEPT_MOD, codes.LANGUAGE, codes.ENGLISH),) if foreign else ()
        return plain_text(relation, statement.concept, clean_text(statement.value, _TEXT_LIMIT), in_english)
    return code(relation, statement.concept, statement.value, modifiers)
