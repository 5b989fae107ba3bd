"""Refusal of an outcome model: it always names the model."""

from __future__ import annotations

from operators.errors import Refusal


class OutcomeModelError(Refusal):
    """An outcome model cannot be used.

    Parameters
    ----------
    model : str
        Name of the model, or of its folder where the name itself cannot be read.
    code : str
        ``OUTCOME_MODEL_MISSING``, ``OUTCOME_MODEL_INVALID`` (its ``outcome.json`` is no JSON or not of the
        schema), ``OUTCOME_MODEL_INCONSISTENT`` (parts of it contradict one another),
        ``OUTCOME_MODEL_FILE`` (a file is absent, changed or unsafe), ``OUTCOME_MODEL_FAILED`` (its network
        cannot be computed here).
    sentence : str
        What is wrong and what to do; the model's name is put before it.
    """

    step = "respond"

    def __init__(self, model: str, code: str, sentence: str) -> None:
        # names of folders and of files come from others: nothing in them may move a terminal's cursor
        words = "".join(letter if letter.isprintable() else "?" for letter in f"{model}: {sentence}")
        super().__init__(code, f"Outcome model {words}")
        self.model = model
