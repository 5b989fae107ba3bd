"""What a report says of a reader's edit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from operators.domain import Judgement, Reading

_WORDS = {
    Judgement.ACCEPTED: "left as {it} {was}",
    Judgement.CHANGED: "drawn anew",
    Judgement.REJECTED: "rejected",
    Judgement.SPLIT: "parted into several",
    Judgement.MERGED: "merged",
    Judgement.REDRAWN: "redrawn as others",
}


def difference(reading: Reading) -> str:
    """How a reader's lesions differ from the automatic ones, in two sentences.

    Parameters
    ----------
    reading : Reading
    """
    before = sum(len(one.before) for one in reading.judged)
    parts = ", ".join(_parts(reading)) or "nothing was found automatically"
    agreement = "" if reading.dice is None else f" Dice of both masks {reading.dice:.2f}."
    return (
        f"Edited by a reader. Of {before} automatic {_noun(reading, before)}: {parts}. Volume "
        f"{reading.volume_before_ml:.2f} ml before, {reading.volume_after_ml:.2f} ml after.{agreement}"
    )


def _noun(reading: Reading, count: int) -> str:
    lesion = reading.called_before == "lesion"
    noun = "lesion" if lesion else "region"
    return f"{noun}{'' if count == 1 else 's'}{'' if lesion else ' of uptake'}"


def _parts(reading: Reading) -> Iterator[str]:
    counts: Counter[Judgement] = Counter()
    for one in reading.judged:
        counts[one.judgement] += len(one.before)
    for judgement, words in _WORDS.items():
        count = counts[judgement]
        if count:
            it, was = ("it", "was") if count == 1 else ("they", "were")
            yield f"{count} {words.format(it=it, was=was)}"
    added = sum(len(one.after) for one in reading.judged if one.judgement is Judgement.ADDED)
    if added:
        yield f"{added} added"
