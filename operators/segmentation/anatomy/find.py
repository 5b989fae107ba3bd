"""The organs that reference regions lie in, by rules alone: no model, no atlas, no patient's data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version

import numpy as np
from numpy.typing import NDArray

from operators.domain import Algorithm, Geometry, OrganMap, Volume, Volumes
from operators.segmentation.anatomy.aorta import find_aorta
from operators.segmentation.anatomy.evidence import Organ, absent
from operators.segmentation.anatomy.grid import back, shown
from operators.segmentation.anatomy.hot import find_kidneys, find_parotids
from operators.segmentation.anatomy.liver import liver_by_ct, liver_by_pet
from operators.segmentation.anatomy.scene import Scene, scene_of
from operators.segmentation.anatomy.spleen import find_spleen
from operators.segmentation.package.terms import anatomy_of

NAME = "anatomy_rules"
TITLE = "Anatomy by rules"
ORGANS = (
    "liver",
    "spleen",
    "aorta",
    "kidney_right",
    "kidney_left",
    "parotid_gland_right",
    "parotid_gland_left",
)
"""Names as of TotalSegmentator v2; a label's value is its place in this list, from 1."""

_HOT_KIDNEYS = ("psma", "sstr")
_HOT_PAROTIDS = ("psma",)
_NO_LIVER = "the liver, from which it is looked for, was not found"


@dataclass(frozen=True, slots=True)
class FoundAnatomy:
    """What was found, how sure that is, and why the rest was not."""

    organs: OrganMap | None
    """On the PET's grid, of what is sure enough (``evidence.LEAST``); None where nothing is."""
    confidence: Mapping[str, float]
    """0 to 1, of every organ that was looked for."""
    reasons: Mapping[str, str]
    """Why an organ is absent or what makes it doubtful, as a clause; without an entry there is no doubt."""


def find_anatomy(volumes: Volumes) -> FoundAnatomy:
    """Find liver, spleen, descending thoracic aorta, kidneys and parotid glands.

    Parameters
    ----------
    volumes : Volumes
        The CT goes before the PET where there is one.
    """
    return find_in(volumes.pet, volumes.ct, volumes.selection.tracer.protocol)


def find_in(pet: Volume, ct: Volume | None, tracer: str = "") -> FoundAnatomy:
    """Find organs in a PET, with its CT or alone.

    Parameters
    ----------
    pet : Volume
        SUVbw.
    ct : Volume, optional
        HU, in the same frame of reference.
    tracer : str
        Name of its protocol: glands and kidneys are looked for where the tracer shows them.
    """
    found, scene = _searched(pet, ct, tracer)
    return _collected(found, scene, pet.geometry)


def find_in_ct(ct: Volume) -> FoundAnatomy:
    """Find organs in a CT alone, on its own grid.

    Parameters
    ----------
    ct : Volume
        HU.
    """
    found, scene = _searched(None, ct, "")
    return _collected(found, scene, ct.geometry)


def _searched(pet: Volume | None, ct: Volume | None, tracer: str) -> tuple[dict[str, Organ], Scene | None]:
    scene = scene_of(pet, ct)
    if scene is None:
        return dict.fromkeys(ORGANS, absent("no body was found in the images")), None
    found = dict.fromkeys(ORGANS, absent(_NO_LIVER))
    found["liver"] = liver = _liver(scene, pet, ct)
    if liver.mask is None or not liver.is_sure:
        return found, scene
    found["spleen"] = find_spleen(scene, liver.mask)
    found["aorta"] = find_aorta(scene, liver.mask)
    none = absent("it is looked for where the tracer makes it the hottest organ near by")
    found["kidney_right"] = found["kidney_left"] = none
    found["parotid_gland_right"] = found["parotid_gland_left"] = none
    if scene.suv is not None and tracer in _HOT_KIDNEYS:
        found["kidney_right"], found["kidney_left"] = _kidneys(scene, liver.mask, found["spleen"])
    if scene.suv is not None and tracer in _HOT_PAROTIDS:
        found["parotid_gland_right"], found["parotid_gland_left"] = find_parotids(scene, liver.mask)
    return found, scene


def _kidneys(scene: Scene, liver: NDArray[np.bool_], spleen: Organ) -> tuple[Organ, Organ]:
    """Only beside a spleen that was found: it may be as hot as a kidney, and lies against it."""
    if spleen.mask is None or not spleen.is_sure:
        none = absent("the spleen, which may be taken for a kidney, was not found")
        return none, none
    return find_kidneys(scene, liver, spleen.mask)


def _liver(scene: Scene, pet: Volume | None, ct: Volume | None) -> Organ:
    """By the CT; by the PET where there is none, or where it did not tell though it shows a lung."""
    by_ct = liver_by_ct(scene, shown(ct.geometry, scene.frame)) if ct is not None else None
    if pet is None or (by_ct is not None and (by_ct.is_sure or not scene.lungs.any())):
        return by_ct or absent("no body was found in the images")
    return liver_by_pet(scene, shown(pet.geometry, scene.frame))


def _collected(found: Mapping[str, Organ], scene: Scene | None, geometry: Geometry) -> FoundAnatomy:
    labels = np.zeros(geometry.shape, np.uint8)
    if scene is not None:
        for value, name in enumerate(ORGANS, start=1):
            mask = found[name].mask
            if mask is not None and found[name].is_sure:
                _draw(labels, value, back(mask, scene.frame, geometry))
    confidence = {name: organ.confidence for name, organ in found.items()}
    reasons = {name: organ.reason for name, organ in found.items() if organ.reason}
    if not labels.any():
        return FoundAnatomy(None, confidence, reasons)
    anatomy = {value: anatomy_of(name) for value, name in enumerate(ORGANS, start=1)}
    return FoundAnatomy(OrganMap(labels, anatomy, _algorithm()), confidence, reasons)


def _draw(labels: NDArray[np.uint8], value: int, mask: NDArray[np.bool_]) -> None:
    labels[mask & (labels == 0)] = value


def _algorithm() -> Algorithm:
    return Algorithm(NAME, TITLE, installed_version("theramap"), (), "rules of this software", "cpu")
