"""Refusal of a table or of its description."""

from __future__ import annotations

from operators.errors import Refusal


class TableRefusal(Refusal):
    """A table of patients, or what describes it, cannot be used to fit a model; the sentence says where."""

    step = "train-outcome"
