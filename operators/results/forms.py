"""Who gets which result in which form: the destinations that want one form alike share one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from operators.domain import Destination, ResultKind, ResultProfile

FormT = TypeVar("FormT")


def wants(destination: Destination, kind: ResultKind, profile: ResultProfile) -> bool:
    """Whether a destination gets a kind of result: as it says, else by the site's default."""
    return kind in (profile.results if destination.results is None else destination.results)


def forms(
    destinations: Sequence[Destination],
    kind: ResultKind,
    profile: ResultProfile,
    form_of: Callable[[Destination], FormT],
) -> dict[FormT, str]:
    """The forms of a kind of result that are wanted, with the names of those who want them.

    Parameters
    ----------
    destinations : sequence of Destination
        The job's.
    kind : ResultKind
        Which result.
    profile : ResultProfile
        The site's default.
    form_of : callable
        What of a destination changes the bytes of this kind; hashable.

    Returns
    -------
    dict
        Receivers by form, as ``first, second``, in the order of the destinations; empty when nobody wants it.
    """
    receivers: dict[FormT, list[str]] = {}
    for destination in destinations:
        if wants(destination, kind, profile):
            receivers.setdefault(form_of(destination), []).append(destination.name)
    return {form: ", ".join(names) for form, names in receivers.items()}


def file_name(stem: str, suffix: str, form: str, count: int) -> str:
    """The name of a result's file: plain where there is one form, else with the form in it."""
    return f"{stem}{suffix}" if count == 1 or not form else f"{stem}-{form}{suffix}"
