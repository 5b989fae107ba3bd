"""The descriptions of segments (PS3.3 C.8.20.4), encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from highdicom import AlgorithmIdentificationSequence
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.domain import Algorithm
from operators.results import codes
from operators.results.encoding import coded, elements_of, item, numbers, text
from operators.results.headers import LONG_STRING
from operators.results.tracking import parameters_of
from operators.words import clean_text

Common = tuple[bytes, ...]
"""Encoded elements that several segments share."""


def property_elements(category: Code, kind: Code, *modifiers: bytes) -> Common:
    """What a segment is (PS3.16 CID 7150, CID 7151).

    Parameters
    ----------
    category, kind : Code
        Of the property.
    modifiers : bytes
        Encoded elements of the type's item, such as its laterality.
    """
    return (
        coded("SegmentedPropertyCategoryCodeSequence", category),
        coded("SegmentedPropertyTypeCodeSequence", kind, *modifiers),
    )


def algorithm_elements(algorithm: Algorithm, source: str, by_reader: bool = False) -> Common:
    """Who drew a segment (PS3.3 10.16).

    Parameters
    ----------
    algorithm : Algorithm
    source : str
        Its manufacturer.
    by_reader : bool
        Whether a person has edited what it drew.
    """
    identification = AlgorithmIdentificationSequence(
        name=clean_text(algorithm.title, LONG_STRING),
        family=codes.family_of(algorithm),
        version=clean_text(algorithm.version, LONG_STRING),
        source=source,
        parameters=parameters_of(algorithm),
    )
    common = Dataset()
    common.SegmentAlgorithmType = "SEMIAUTOMATIC" if by_reader else "AUTOMATIC"
    common.SegmentAlgorithmName = identification[0].AlgorithmName
    common.SegmentationAlgorithmIdentificationSequence = identification
    return tuple(elements_of(common))


def anatomic_region(organ: Code, side: Code | None) -> bytes:
    """Where a segment lies (PS3.3 10.5)."""
    sides = () if side is None else (coded("AnatomicRegionModifierSequence", side),)
    return coded("AnatomicRegionSequence", organ, *sides)


def segment_item(number: int, label: str, colour: Sequence[int], *elements: bytes) -> bytes:
    """An item of the Segment Sequence.

    Parameters
    ----------
    number : int
        Of the segment.
    label : str
        At most 64 characters.
    colour : sequence of int
        Recommended Display CIELab Value (PS3.3 C.10.7.1.1).
    elements : bytes
        Property, algorithm and what else is known, encoded.
    """
    return item(
        numbers("SegmentNumber", [number]),
        text("SegmentLabel", label),
        numbers("RecommendedDisplayCIELabValue", colour),
        *elements,
    )


def tracking_elements(identifier: str, uid: str) -> Iterator[bytes]:
    """By what a segment is followed over studies (PS3.3 C.8.20.4)."""
    yield text("TrackingID", identifier)
    yield text("TrackingUID", uid)
