"""The Key Object Selection: which pictures and which slices a reader should look at (PS3.3 A.35.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.domain import Quantified, ResultFile, ResultKind, ResultProfile
from operators.results import codes
from operators.results.content import Relation, code, container_elements, plain_text
from operators.results.encoding import elements_of, in_order, item, sequence, text
from operators.results.files import write_instance
from operators.results.lesion_frames import shown_lesions
from operators.results.observer import observer
from operators.results.source import instance_reference, plane_reference, reference

KEY_OBJECT_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.88.59"
OF_INTEREST: Final = Code("113000", "DCM", "Of Interest")


@dataclass(frozen=True, slots=True)
class KeyImage:
    """A picture that the selection names, with all its frames."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def write_key_objects(
    path: Path,
    dataset: Dataset,
    quantified: Quantified,
    profile: ResultProfile,
    images: Sequence[KeyImage],
    description: str,
    language: Code,
    receivers: str,
) -> ResultFile:
    """Write the selection: the pictures, then the PET's slice of each shown lesion's hottest voxel.

    Parameters
    ----------
    path : Path
        The file.
    dataset : Dataset
        The instance's head, see :func:`~operators.results.head.head`.
    quantified : Quantified
        The lesions, and the PET's instances.
    profile : ResultProfile
        Says which device it is (TID 1002).
    images : sequence of KeyImage
        The pictures that were written, at least one.
    description : str
        What the selection is, in words.
    language : Code
        Of the description (TID 1204).
    receivers : str
        Who gets it.
    """
    dataset.ReferencedPerformedProcedureStepSequence = []
    content = in_order(
        *elements_of(dataset),
        *container_elements(
            OF_INTEREST, _items(quantified, profile, images, description, language), template="2010"
        ),
        sequence("CurrentRequestedProcedureEvidenceSequence", [_evidence(quantified, images)]),
    )
    return write_instance(path, dataset, [content], ResultKind.KEY_IMAGES, receivers)


def _items(
    quantified: Quantified,
    profile: ResultProfile,
    images: Sequence[KeyImage],
    description: str,
    language: Code,
) -> Iterator[bytes]:
    """The content: TID 2010, in the order of its rows."""
    yield code(Relation.HAS_CONCEPT_MOD, codes.LANGUAGE, language)
    yield from observer(profile)
    yield plain_text(Relation.CONTAINS, codes.KEY_OBJECT_DESCRIPTION, description)
    for image in images:
        yield _image(reference(image.sop_class_uid, image.sop_instance_uid))
    pet = quantified.segmented.volumes.pet
    for z in _planes(quantified):
        yield _image(plane_reference(pet, z))


def _image(elements: Iterator[bytes] | tuple[bytes, ...]) -> bytes:
    """An image without a concept name: TID 2010 row 6 asks for no purpose."""
    return item(
        text("RelationshipType", Relation.CONTAINS),
        text("ValueType", "IMAGE"),
        sequence("ReferencedSOPSequence", [item(*elements)]),
    )


def _planes(quantified: Quantified) -> list[int]:
    """The planes of the hottest voxels, the hottest first, none twice."""
    return list(dict.fromkeys(lesion.suv_max_index[0] for lesion in shown_lesions(quantified)))


def _evidence(quantified: Quantified, images: Sequence[KeyImage]) -> bytes:
    """Every instance that is named (PS3.3 C.17.2)."""
    by_series: dict[str, dict[str, tuple[bytes, bytes]]] = {}
    for image in images:
        named = reference(image.sop_class_uid, image.sop_instance_uid)
        by_series.setdefault(image.series_instance_uid, {})[image.sop_instance_uid] = named
    pet = quantified.segmented.volumes.pet
    for z in _planes(quantified):
        instance = pet.instances[z]
        named = instance_reference(instance)
        series = by_series.setdefault(quantified.selection.pet.series_instance_uid, {})
        series[instance.sop_instance_uid] = named
    items = (
        item(
            sequence("ReferencedSOPSequence", (item(*named) for named in instances.values())),
            text("SeriesInstanceUID", series),
        )
        for series, instances in by_series.items()
    )
    study = quantified.selection.case.study.study_instance_uid
    return item(sequence("ReferencedSeriesSequence", items), text("StudyInstanceUID", study))
