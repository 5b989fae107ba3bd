"""The structured report: Comprehensive 3D SR, root TID 1500, a TID 1411 group for each lesion.

A report has as many forms as its receivers want: with image regions, which viewers draw, or with
references to the SEG's segments, which measurement tools follow. Two forms are two instances in two
series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.domain import (
    Assessed,
    Quantified,
    ResultFile,
    ResultKind,
    ResultProfile,
    SrRegion,
    SupersededResult,
)
from operators.results import codes
from operators.results.content import (
    Relation,
    code,
    container,
    container_elements,
    image,
    number,
    plain_text,
    uid,
)
from operators.results.encoding import elements_of, in_order, item, sequence, text
from operators.results.equipment import device_module, device_uid
from operators.results.evaluations import evaluation
from operators.results.files import write_instance
from operators.results.forms import file_name, forms
from operators.results.groups import measurement_group
from operators.results.head import ResultInstance, head
from operators.results.identity import Identity, identify
from operators.results.seg import SEG_CLASS_UID
from operators.results.source import (
    instance_reference,
    reference,
    references,
    unique_instances,
)
from operators.results.summary import statements
from operators.words import clean_text

SR_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.88.34"
"""Comprehensive 3D SR."""

_SERIES_OFFSET: Final = {SrRegion.IMAGE: 0, SrRegion.SEGMENT: 1}


def write_srs(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write one report for each form that the job's destinations want.

    Parameters
    ----------
    assessed : Assessed
        The measurements and what they mean.
    profile : ResultProfile
        How this site's results present themselves.
    folder : Path
        Where to write: ``sr.dcm`` when there is one form, else ``sr-image.dcm`` and ``sr-segment.dcm``.

    Returns
    -------
    tuple of ResultFile
        In the order of :class:`~operators.domain.SrRegion`; ``destination`` names the receivers.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`.
    """
    quantified = assessed.quantified
    identity = identify(assessed, profile)
    destinations = quantified.selection.case.job.destinations
    wanted = forms(destinations, ResultKind.SR, profile, lambda destination: destination.sr_region)
    files = []
    for region, receivers in sorted(wanted.items()):
        name = file_name("sr", ".dcm", region, len(wanted))
        dataset = _head(quantified, profile, identity, region)
        content = _data_set(assessed, profile, identity, region, dataset)
        files.append(write_instance(folder / name, dataset, [content], ResultKind.SR, receivers))
    return tuple(files)


def _head(quantified: Quantified, profile: ResultProfile, identity: Identity, region: SrRegion) -> Dataset:
    """What the report holds once beside its content (PS3.3 table A.35.13-1)."""
    number_in_study = profile.sr_series_number + _SERIES_OFFSET[region]
    series = ResultInstance(SR_CLASS_UID, "SR", f"sr/{region}", number_in_study, "Measurements")
    dataset = head(quantified, profile, identity, series)
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.PerformedProcedureCodeSequence = []
    dataset.ReferencedPerformedProcedureStepSequence = []
    return dataset


def _data_set(
    assessed: Assessed, profile: ResultProfile, identity: Identity, region: SrRegion, dataset: Dataset
) -> bytes:
    """The encoded report: head, evidence and content tree, whose root the data set itself is."""
    quantified = assessed.quantified
    items = _items(assessed, profile, identity, region)
    return in_order(
        *elements_of(dataset),
        *container_elements(codes.IMAGING_MEASUREMENT_REPORT, items, template="1500"),
        sequence("CurrentRequestedProcedureEvidenceSequence", [_evidence(quantified, identity, region)]),
        *_predecessors(quantified.selection.case.job.supersedes),
    )


def _items(
    assessed: Assessed, profile: ResultProfile, identity: Identity, region: SrRegion
) -> Iterator[bytes]:
    """The content: TID 1500, in the order of its rows."""
    quantified = assessed.quantified
    yield code(Relation.HAS_CONCEPT_MOD, codes.LANGUAGE, codes.ENGLISH)
    yield from _observer(profile)
    yield code(Relation.HAS_CONCEPT_MOD, codes.PROCEDURE_REPORTED, codes.PET)
    yield _image_library(quantified)
    if quantified.lesions:  # row 6; without lesions row 12 stands alone
        groups = (measurement_group(assessed, lesion, identity, region) for lesion in quantified.lesions)
        yield container(Relation.CONTAINS, codes.IMAGING_MEASUREMENTS, groups)
    evaluations = (evaluation(Relation.CONTAINS, statement) for statement in statements(assessed))
    yield container(Relation.CONTAINS, codes.QUALITATIVE_EVALUATIONS, evaluations)


def _observer(profile: ResultProfile) -> Iterator[bytes]:
    """TID 1002, TID 1004: a device observed, no person."""
    device = device_module(profile)
    context = Relation.HAS_OBS_CONTEXT
    yield code(context, codes.OBSERVER_TYPE, codes.DEVICE)
    yield uid(context, codes.DEVICE_UID, device_uid(profile))
    yield plain_text(context, codes.DEVICE_NAME, device["manufacturer_model_name"])
    yield plain_text(context, codes.DEVICE_MANUFACTURER, device["manufacturer"])
    yield plain_text(context, codes.DEVICE_MODEL_NAME, device["manufacturer_model_name"])
    yield plain_text(context, codes.DEVICE_SERIAL_NUMBER, device["device_serial_number"])


def _image_library(quantified: Quantified) -> bytes:
    """TID 1600 with one group: the PET's instances, and what they have in common (TID 1602, TID 1607)."""
    images = (
        image(Relation.CONTAINS, codes.SOURCE, instance_reference(instance))
        for instance in unique_instances(quantified.segmented.volumes.pet)
    )
    items = (*_image_descriptors(quantified), *images)
    group = container(Relation.CONTAINS, codes.IMAGE_LIBRARY_GROUP, items)
    return container(Relation.CONTAINS, codes.IMAGE_LIBRARY, [group])


def _image_descriptors(quantified: Quantified) -> Iterator[bytes]:
    geometry = quantified.segmented.volumes.pet.geometry
    _, rows, columns = geometry.shape
    context = Relation.HAS_ACQ_CONTEXT
    yield code(context, codes.MODALITY, codes.POSITRON_EMISSION)
    if geometry.frame_of_reference_uid:
        yield uid(context, codes.FRAME_OF_REFERENCE, geometry.frame_of_reference_uid)
    yield number(context, codes.ROWS, rows, codes.PIXELS)
    yield number(context, codes.COLUMNS, columns, codes.PIXELS)
    tracer = quantified.selection.tracer.code
    if tracer is not None:
        agent = Code(tracer.value, tracer.scheme, clean_text(tracer.meaning, 64) or tracer.value)
        yield code(context, codes.RADIOPHARMACEUTICAL, agent)


def _evidence(quantified: Quantified, identity: Identity, region: SrRegion) -> bytes:
    """Every instance that the report refers to (PS3.3 C.17.2, SOP Instance Reference macro)."""
    pet_series = quantified.selection.pet.series_instance_uid
    instances = unique_instances(quantified.segmented.volumes.pet)
    series = [_series(pet_series, references("ReferencedSOPSequence", instances))]
    if region is SrRegion.SEGMENT and quantified.lesions:
        segmentation = item(*reference(SEG_CLASS_UID, identity.uid("seg/instance")))
        series.append(_series(identity.uid("seg/series"), sequence("ReferencedSOPSequence", [segmentation])))
    return _study(quantified.selection.case.study.study_instance_uid, series)


def _predecessors(supersedes: Sequence[SupersededResult]) -> Iterator[bytes]:
    """The earlier reports that this one replaces; the sequence is absent when there are none."""
    if supersedes:
        yield sequence("PredecessorDocumentsSequence", map(_predecessor, supersedes))


def _predecessor(result: SupersededResult) -> bytes:
    """An earlier report that this one replaces."""
    document = item(*reference(result.sop_class_uid, result.sop_instance_uid))
    series = _series(result.series_instance_uid, sequence("ReferencedSOPSequence", [document]))
    return _study(result.study_instance_uid, [series])


def _series(series_instance_uid: str, instances: bytes) -> bytes:
    return item(instances, text("SeriesInstanceUID", series_instance_uid))


def _study(study_instance_uid: str, series: Sequence[bytes]) -> bytes:
    return item(sequence("ReferencedSeriesSequence", series), text("StudyInstanceUID", study_instance_uid))
