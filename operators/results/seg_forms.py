"""The forms that a segmentation can have, and which of them are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from operators.domain import Destination, ResultKind, ResultProfile, SegForm, SrRegion
from operators.results.forms import wants

SEG_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.66.7"


@dataclass(frozen=True, slots=True)
class _Instance:
    """What tells the SEG of one form from those of the others."""

    sop_class_uid: str
    role: str
    title: str
    place: int | None
    """Of its series among the results', see ``ResultProfile.series_number``; None: the SEG's own number."""


_INSTANCES: Final[Mapping[SegForm, _Instance]] = MappingProxyType(
    {
        SegForm.BINARY: _Instance(SEG_CLASS_UID, "seg", "Segmentation", None),
        SegForm.LABELMAP: _Instance(LABEL_MAP_CLASS_UID, "seg/labelmap", "Segmentation (label map)", 8),
        SegForm.FRACTIONAL: _Instance(SEG_CLASS_UID, "seg/fractional", "Segmentation (fractional)", 9),
    }
)


def seg_role(form: SegForm) -> str:
    """What the UIDs of a form derive from: ``{role}/instance``, ``{role}/series``."""
    return _INSTANCES[form].role


def seg_class(form: SegForm) -> str:
    """SOP Class UID of a form."""
    return _INSTANCES[form].sop_class_uid


def seg_title(form: SegForm) -> str:
    """How the series of a form is called."""
    return _INSTANCES[form].title


def seg_series_number(form: SegForm, profile: ResultProfile) -> int:
    """Number of the series of a form."""
    place = _INSTANCES[form].place
    return profile.seg_series_number if place is None else profile.series_number(place)


def seg_receivers(destinations: Sequence[Destination], profile: ResultProfile) -> dict[SegForm, str]:
    """The forms that are wanted, or that a wanted report refers to, with the names of those who get them.

    Parameters
    ----------
    destinations : sequence of Destination
        The job's.
    profile : ResultProfile
        The site's default.

    Returns
    -------
    dict
        Receivers by form, as ``first, second``. A destination that gets reports which refer to segments gets
        the segmentation as well: a report may not refer to what does not exist.
    """
    receivers: dict[SegForm, list[str]] = {}
    for destination in destinations:
        refers = destination.sr_region is SrRegion.SEGMENT and wants(destination, ResultKind.SR, profile)
        if refers or wants(destination, ResultKind.SEG, profile):
            receivers.setdefault(destination.seg_form, []).append(destination.name)
    return {form: ", ".join(names) for form, names in receivers.items()}
