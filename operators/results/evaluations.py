"""Qualitative evaluations: rows of the report's container, or of a lesion's group (TID 1500, TID 1411)."""

from __future__ import annotations

from typing import Final

from operators.results import codes
from operators.results.content import Relation, code, number, plain_text
from operators.results.summary import Statement
from operators.words import clean_text

_TEXT_LIMIT: Final = 4096


def evaluation(relation: Relation, statement: Statement) -> bytes:
    """A row: a code with what modifies it, text, or a number (TID 1500 is extensible)."""
    if isinstance(statement.value, float):
        return number(relation, statement.concept, statement.value, codes.NO_UNITS)
    if isinstance(statement.value, str):
        return plain_text(relation, statement.concept, clean_text(statement.value, _TEXT_LIMIT))
    modifiers = (evaluation(Relation.HAS_CONCEPT_MOD, detail) for detail in statement.details)
    return code(relation, statement.concept, statement.value, modifiers)
