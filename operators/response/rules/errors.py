"""Refusal of a rule file: it always names the file and the place in it."""

from __future__ import annotations

from operators.errors import InputRefusal


class RuleRefusal(InputRefusal):
    """A rule file is not valid.

    Parameters
    ----------
    file : str
        Name of the file.
    place : str
        JSON pointer (RFC 6901) of what is wrong, or ``the whole file``.
    fault : str
        What is wrong, as a clause.
    """

    step = "respond"

    def __init__(self, file: str, place: str, fault: str) -> None:
        words = f"The rule file {file} is not valid at {place}: {fault}."
        super().__init__("RULE_INVALID", "".join(letter if letter.isprintable() else "?" for letter in words))
