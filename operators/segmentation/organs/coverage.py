"""How far an organ map accounts for the organs whose uptake is physiological."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from operators.domain import Box, Geometry, OrganMap, PhysiologicalOrgan
from operators.segmentation.organs.boxes import label_boxes, label_volumes_ml
from operators.segmentation.organs.fieldofview import is_beyond_view

SPECK_ML = 0.1
"""A label smaller than this is no organ: the smallest ones in question, the lacrimal glands, have 0.5 ml."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far an organ map accounts for the organs of a protocol."""

    values: Mapping[str, tuple[int, ...]]
    """Values of the label map by organ, of the organs with any label."""
    unknown: tuple[str, ...]
    """Organs of which the package lacks a part."""
    not_found: tuple[str, ...]
    """Names of parts that the package knows, and did not find where they should have been seen."""

    @property
    def is_complete(self) -> bool:
        return not self.unknown and not self.not_found

    @property
    def unaccounted(self) -> dict[str, str]:
        """Organs and parts whose uptake may still be in a mask, each with the reason as a clause."""
        return {
            **dict.fromkeys(self.unknown, "the organ model does not know it, or not wholly"),
            **dict.fromkeys(
                self.not_found,
                "the organ model did not find it, and nothing shows that the field of view leaves it out "
                "(surgery may have)",
            ),
        }


def coverage(wanted: tuple[PhysiologicalOrgan, ...], organs: OrganMap, geometry: Geometry) -> Coverage:
    """Look up a protocol's organs in an organ map.

    Parameters
    ----------
    wanted : tuple of PhysiologicalOrgan
    organs : OrganMap
    geometry : Geometry
        Of the PET.
    """
    found = found_organs(organs, geometry)
    known = {anatomy.name: value for value, anatomy in organs.anatomy.items()}
    values: dict[str, tuple[int, ...]] = {}
    unknown, not_found = [], []
    for organ in wanted:
        parts = [[known[name] for name in part.split("|") if name in known] for part in organ.labels]
        values[organ.name] = tuple(dict.fromkeys(value for part in parts for value in part))
        if not all(parts):
            unknown.append(organ.name)
        for part in filter(None, parts):
            names = {organs.anatomy[value].name for value in part}
            if not names & found.keys() and not is_beyond_view(min(names), found, geometry):
                not_found.append(min(names))
    kept = {name: numbers for name, numbers in values.items() if numbers}
    return Coverage(kept, tuple(unknown), tuple(dict.fromkeys(not_found)))


def found_organs(organs: OrganMap, geometry: Geometry) -> dict[str, Box]:
    """The organs that are there, by name, with the boxes of their labels."""
    boxes = label_boxes(organs.labels)
    volumes_ml = label_volumes_ml(organs.labels, boxes, geometry)
    return {
        organs.anatomy[value].name: box
        for value, box in boxes.items()
        if value in organs.anatomy and volumes_ml[value] >= SPECK_ML
    }
