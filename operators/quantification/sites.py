"""Totals by part of the body and by organ."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable

from operators.domain import Anatomy, Lesion, Site, SiteTotals, Totals

IN_ORGAN_FROM = 0.2
"""A lesion with a smaller part in an organ touches it: a node beside a kidney is not of the kidney. A rib's
lesion seldom has half of its voxels in the rib. This program's choice."""
NOWHERE = "no organ"

_SIDES = ("left", "right", "l", "r")

_REGIONS = (
    (
        "bone",
        r"vertebra|spine|sacrum|rib(_|\d|s|cage|$)|costal_cartilage|sternum|clavic|scapula$|scapula_|humerus|"
        r"radius|ulna|carpal|phalanges|fingers|hip(_|$)|pelvis|femur|patella|tibia|fibula|tarsal|toes|skull|"
        r"mandible|hyoid|zygomatic|styloid|hard_palate|intervertebral|skeleton",
    ),
    ("lung", r"lung(_|$)"),
    ("liver", r"liver(_|$)|segment_[iv]+$"),
    ("kidney", r"kidney(_|$)"),
    ("brain", r"brain|cerebellum|frontal_lobe|parietal_lobe|occipital_lobe|temporal_lobe"),
    ("bowel", r"colon|small_bowel|small_intestine|duodenum|rectum$"),
    ("heart", r"heart|atrial_appendage"),
    (
        "muscle",
        r"gluteus|autochthon|iliopsoas|sternocleidomastoid|trapezius|scalene|deltoid|supraspinatus|"
        r"infraspinatus|subscapularis|pectoralis|serratus|teres|masseter|quadriceps|thigh|sartorius|triceps",
    ),
)
"""Parts of the body by the names that organ packages give what belongs to them, matched from the start; other
organs are parts by themselves, both sides together."""


def organ_of(lesion: Lesion) -> Anatomy | None:
    """The organ that a lesion lies in; None for one that it only touches or lies near."""
    site = lesion.site
    return None if site is None or site.overlap < IN_ORGAN_FROM else site.anatomy


def region_of(site: Site) -> str:
    """The part of the body that a lesion is in; ``no organ`` for one that only touches or adjoins one."""
    if site.overlap < IN_ORGAN_FROM:
        return NOWHERE
    words = re.findall(r"[a-z0-9]+", site.anatomy.name.lower())
    if site.anatomy.side is not None:
        words = [word for word in words if word not in _SIDES]
    name = "_".join(words)
    return next((region for region, names in _REGIONS if re.match(names, name)), name.replace("_", " "))


def by_region(
    lesions: tuple[Lesion, ...], total: Callable[[tuple[Lesion, ...]], Totals]
) -> tuple[SiteTotals, ...]:
    """Totals by part of the body, the largest volume first; empty where no lesion has a site.

    Parameters
    ----------
    lesions : tuple of Lesion
    total : callable
        Adds lesions up.
    """
    return _grouped(lesions, total, lambda site: (region_of(site), None))


def by_organ(
    lesions: tuple[Lesion, ...], total: Callable[[tuple[Lesion, ...]], Totals]
) -> tuple[SiteTotals, ...]:
    """Totals by organ and side, as :func:`by_region`."""
    return _grouped(lesions, total, _organ)


def _organ(site: Site) -> tuple[str, Anatomy | None]:
    if site.overlap < IN_ORGAN_FROM:
        return NOWHERE, None
    anatomy = site.anatomy
    if anatomy.code is None:
        return anatomy.name.replace("_", " "), anatomy
    meaning = re.sub(r"^[A-Z](?=[a-z])", lambda first: first[0].lower(), anatomy.code.meaning)
    return f"{anatomy.side.meaning.lower()} {meaning}" if anatomy.side else meaning, anatomy


def _grouped(
    lesions: tuple[Lesion, ...],
    total: Callable[[tuple[Lesion, ...]], Totals],
    place: Callable[[Site], tuple[str, Anatomy | None]],
) -> tuple[SiteTotals, ...]:
    if all(lesion.site is None for lesion in lesions):
        return ()
    groups: defaultdict[tuple[str, Anatomy | None], list[Lesion]] = defaultdict(list)
    for lesion in lesions:
        groups[(NOWHERE, None) if lesion.site is None else place(lesion.site)].append(lesion)
    found = (
        SiteTotals(name, anatomy, tuple(lesion.number for lesion in group), total(tuple(group)))
        for (name, anatomy), group in groups.items()
    )
    return tuple(sorted(found, key=lambda each: (-each.totals.volume_ml, each.lesions)))
