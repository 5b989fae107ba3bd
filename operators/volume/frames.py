"""The slices of a series: single-frame instances as they are, frames of an Enhanced one in their form.

An Enhanced PET or CT says in functional groups (PS3.3 C.7.6.16) what single-frame images say at their
top level. Each frame's groups are brought to that form, so that the rules for order, place and SUV are
written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from pydicom import config, uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from operators.domain import Instance
from operators.errors import GeometryRefusal, SuvRefusal
from operators.study.attributes import items, number, text
from operators.volume.columns import column
from operators.volume.tags import tag_label

ENHANCED_PET = frozenset({uid.EnhancedPETImageStorage, uid.LegacyConvertedEnhancedPETImageStorage})
ENHANCED_CT = frozenset({uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage})

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
MACROS = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelValueTransformationSequence",
    "FrameContentSequence",
    "CardiacSynchronizationSequence",
    "RespiratorySynchronizationSequence",
)
"""Functional groups whose attributes a frame takes over; a later one's come before an earlier one's."""

SEVERAL_VOLUMES = (
    ("SEVERAL_STACKS", "StackID", "several stacks"),
    ("DYNAMIC_SERIES", "TemporalPositionIndex", "several time points (4D)"),
    ("GATED_SERIES", "NominalCardiacTriggerDelayTime", "several cardiac gates (4D)"),
    ("GATED_SERIES", "NominalPercentageOfCardiacPhase", "several cardiac phases (4D)"),
    ("GATED_SERIES", "NominalRespiratoryTriggerDelayTime", "several respiratory gates (4D)"),
    ("GATED_SERIES", "NominalPercentageOfRespiratoryPhase", "several respiratory phases (4D)"),
)
"""Refusal, attribute and words: more than one value of it over the frames is more than one volume."""

MAPPED_UNITS = {
    "Bq/ml": ("BQML", ""),
    "g/ml{SUVbw}": ("GML", "BW"),
    "{SUVbw}g/ml": ("GML", "BW"),
}
"""Units and SUV Type of a real-world value mapping's UCUM code; the first that an image has is taken."""

FIRST_MAPPED, LAST_MAPPED = "RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped"
MAPPED_NUMBERS = {
    "RescaleSlope": ("RealWorldValueSlope",),
    "RescaleIntercept": ("RealWorldValueIntercept",),
    FIRST_MAPPED: (FIRST_MAPPED, f"DoubleFloat{FIRST_MAPPED}"),
    LAST_MAPPED: (LAST_MAPPED, f"DoubleFloat{LAST_MAPPED}"),
}
"""What a frame takes over from its mapping, and from which attributes."""


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One slice of a series."""

    instance: Instance
    frame: int | None
    """1-based; None of a single-frame instance."""
    header: Dataset
    """What a single-frame header says of this slice."""


def slices_of(instances: Sequence[Instance]) -> tuple[Slice, ...]:
    """Return the slices of a series in the order of its instances and frames.

    Parameters
    ----------
    instances : sequence of Instance
        Single-frame images, or one Enhanced one.

    Raises
    ------
    GeometryRefusal
        ``MULTI_FRAME`` (frames in a class that has none), ``SEVERAL_MULTI_FRAME``,
        ``FRAMES_INCOMPLETE``, ``SEVERAL_STACKS``, ``DYNAMIC_SERIES``, ``GATED_SERIES``.
    SuvRefusal
        ``REAL_WORLD_MAPPING_AMBIGUOUS``, ``DECAY_CORRECTION_TIME_MISSING``.
    """
    headers = [instance.header for instance in instances]
    classes = set(column(headers, "SOPClassUID", text))
    if classes & (ENHANCED_PET | ENHANCED_CT):
        if len(instances) > 1:
            raise GeometryRefusal(
                "SEVERAL_MULTI_FRAME",
                f"The series holds {len(instances)} objects of which some are multi-frame; "
                "whether they are parts of one volume is not certain.",
                tag_label("NumberOfFrames"),
            )
        return _frames(instances[0])
    if any(frames is not None and frames > 1 for frames in column(headers, "NumberOfFrames", number)):
        raise GeometryRefusal(
            "MULTI_FRAME",
            "The series is multi-frame, but of a class that has no place for its frames: "
            "export it as single-frame or Enhanced images.",
            tag_label("NumberOfFrames"),
        )
    return tuple(Slice(instance, None, instance.header) for instance in instances)


def _frames(instance: Instance) -> tuple[Slice, ...]:
    header = instance.header
    groups = items(header, PER_FRAME)
    if not groups or number(header, "NumberOfFrames") != len(groups):
        raise GeometryRefusal(
            "FRAMES_INCOMPLETE",
            f"The image describes {len(groups)} frames, which is not the number that it states.",
            tag_label(PER_FRAME),
        )
    shared = items(header, SHARED)[:1]
    general = Dataset(
        {tag: value for tag, value in header.items() if tag not in (Tag(SHARED), Tag(PER_FRAME))}
    )
    _same_encoding(general, header)
    frames = [_frame_header(general, (*shared, group)) for group in groups]
    _refuse_several_volumes(frames)
    is_pet = text(header, "SOPClassUID") in ENHANCED_PET
    if is_pet:
        for frame, group in zip(frames, groups, strict=True):
            _state_units(frame, (group, *shared))
            _state_corrections(frame)
    return tuple(Slice(instance, index + 1, frame) for index, frame in enumerate(frames))


def _frame_header(general: Dataset, parts: Sequence[Dataset]) -> Dataset:
    """Join what is general with the functional groups of a frame, its own before the shared."""
    elements = dict(general.items())
    for part in parts:
        for macro in MACROS:
            for item in items(part, macro)[:1]:
                elements.update(item.items())
    frame = Dataset(elements)
    _same_encoding(frame, general)
    if text(frame, "FrameAcquisitionDateTime"):
        for keyword in ("AcquisitionDate", "AcquisitionTime"):
            frame.pop(Tag(keyword), None)
        _put(frame, "AcquisitionDateTime", "DT", text(frame, "FrameAcquisitionDateTime"))
    duration_ms = number(frame, "FrameAcquisitionDuration")
    if duration_ms is not None:
        _put(frame, "ActualFrameDuration", "FD", duration_ms)
    return frame


def _same_encoding(target: Dataset, source: Dataset) -> None:
    implicit, little = source.original_encoding
    target.set_original_encoding(implicit, little, source.original_character_set)


def _put(frame: Dataset, keyword: str, vr: str, value: str | float | list[str]) -> None:
    frame[keyword] = DataElement(Tag(keyword), vr, value, validation_mode=config.IGNORE)


def _refuse_several_volumes(frames: Sequence[Dataset]) -> None:
    for code, keyword, words in SEVERAL_VOLUMES:
        if len(set(column(frames, keyword, text))) > 1:
            raise GeometryRefusal(code, f"The image holds {words}, not one volume.", tag_label(keyword))


def _state_units(frame: Dataset, parts: Sequence[Dataset]) -> None:
    """Take Units (0054,1001) from the real-world value mapping (C.7.6.16.2.11) where there are none.

    The mapping then takes the place of the rescaling: both start from stored values.
    """
    if text(frame, "Units"):
        return
    mappings = next((found for part in parts if (found := items(part, "RealWorldValueMappingSequence"))), ())
    by_unit: dict[str, list[Dataset]] = {}
    for mapping in mappings:
        for code in items(mapping, "MeasurementUnitsCodeSequence")[:1]:
            by_unit.setdefault(text(code, "CodeValue"), []).append(mapping)
    unit = next((unit for unit in MAPPED_UNITS if unit in by_unit), None)
    if unit is None:
        if by_unit:
            _put(frame, "Units", "LO", " ".join(by_unit))  # refused by this name
        return
    if len(by_unit[unit]) > 1:
        raise SuvRefusal(
            "REAL_WORLD_MAPPING_AMBIGUOUS",
            f"The image maps its values to {unit} in {len(by_unit[unit])} ways.",
            tag_label("RealWorldValueMappingSequence"),
        )
    units, suv_type = MAPPED_UNITS[unit]
    _put(frame, "Units", "CS", units)
    _put(frame, "SUVType", "CS", suv_type)
    (mapping,) = by_unit[unit]
    for target, sources in MAPPED_NUMBERS.items():
        frame.pop(Tag(target), None)
        value = next((value for name in sources if (value := number(mapping, name)) is not None), None)
        if value is not None:
            _put(frame, target, "FD", value)


def require_mapped(slices: Sequence[Slice], stored: NDArray[Any]) -> None:
    """Refuse stored values outside of the range that the real-world value mapping is for.

    Raises
    ------
    SuvRefusal
        ``REAL_WORLD_MAPPING_RANGE``.
    """
    for one, plane in zip(slices, stored, strict=True):
        low, high = (number(one.header, keyword) for keyword in (FIRST_MAPPED, LAST_MAPPED))
        if (low is not None and plane.min() < low) or (high is not None and plane.max() > high):
            raise SuvRefusal(
                "REAL_WORLD_MAPPING_RANGE",
                "The image holds values outside of the range that its mapping to real-world values is for.",
                tag_label("RealWorldValueMappingSequence"),
            )


def _state_corrections(frame: Dataset) -> None:
    """Say by Corrected Image and Decay Correction what Enhanced PET says by yes and no (C.8.22.5)."""
    decay = text(frame, "DecayCorrected").upper()
    if not text(frame, "CorrectedImage"):
        attenuation = text(frame, "AttenuationCorrected").upper()
        done = [word for word, answer in (("ATTN", attenuation), ("DECY", decay)) if answer == "YES"]
        _put(frame, "CorrectedImage", "CS", done)
    if text(frame, "DecayCorrection"):
        return
    if decay == "YES" and not text(frame, "DecayCorrectionDateTime"):
        raise SuvRefusal(
            "DECAY_CORRECTION_TIME_MISSING",
            "The PET is decay-corrected, but does not say to which time.",
            tag_label("DecayCorrectionDateTime"),
        )
    if decay in ("YES", "NO"):
        _put(frame, "DecayCorrection", "CS", "START" if decay == "YES" else "NONE")
