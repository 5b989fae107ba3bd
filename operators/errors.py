"""Refusals: the typed errors by which a step says that it will not go on, and why.

A refusal is not a crash. It carries a code for programs, a sentence that a radiographer understands
and the DICOM attribute at fault, and it ends in ``results.json``, never in a silent default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from operators.domain import Case, Note, SeriesDecision, SetAside


class Refusal(Exception):  # noqa: N818  a refusal is an answer, not an error
    """A study, series or file that a step refuses.

    Parameters
    ----------
    code : str
        Stable identifier in upper snake case, such as ``WEIGHT_MISSING``.
    sentence : str
        What is wrong and what to do, in plain words and without patient identity.
    tag : str, optional
        The attribute at fault as ``"(0010,1030) PatientWeight"``.
    """

    step: ClassVar[str] = "unknown"

    def __init__(self, code: str, sentence: str, tag: str | None = None) -> None:
        super().__init__(f"{code}: {sentence}" + (f" [{tag}]" if tag else ""))
        self.code = code
        self.sentence = sentence
        self.tag = tag


class InputRefusal(Refusal):
    """The input folder or its ``job.json`` cannot be used."""

    step = "load"

    def __init__(
        self, code: str, sentence: str, tag: str | None = None, set_aside: tuple[SetAside, ...] = ()
    ) -> None:
        super().__init__(code, sentence, tag)
        self.set_aside = set_aside


class ProtocolRefusal(InputRefusal):
    """A tracer protocol file is not valid; the sentence names the file and the key."""


class SelectionRefusal(Refusal):
    """No series, or more than one equally good series, fits the protocol."""

    step = "select"

    def __init__(
        self, code: str, sentence: str, tag: str | None = None, decisions: tuple[SeriesDecision, ...] = ()
    ) -> None:
        super().__init__(code, sentence, tag)
        self.decisions = decisions


class GeometryRefusal(Refusal):
    """The slices do not form one regular volume."""

    step = "volume"


class SuvRefusal(Refusal):
    """The standardised uptake value cannot be computed from the header."""

    step = "volume"


class PixelRefusal(Refusal):
    """The pixel data are damaged, absent or in a form that cannot be decoded."""

    step = "volume"


class SegmentationRefusal(Refusal):
    """The segmentation method declines: an input that it needs is not there."""

    step = "segment"


class ResultRefusal(Refusal):
    """A result object cannot be written truthfully."""

    step = "results"


@dataclass(frozen=True, slots=True)
class Refused:
    """A case that a step refused: it passes through the rest of the graph untouched."""

    case: Case
    refusal: Refusal
    decisions: tuple[SeriesDecision, ...] = ()
    notes: tuple[Note, ...] = ()
