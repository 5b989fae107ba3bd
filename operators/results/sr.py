"""The structured report: Comprehensive 3D SR, root TID 1500, a TID 1411 group for each lesion.

A report has as many forms as its receivers want: with image regions, which viewers draw, or with
references to the SEG's segments, which measurement tools follow. Two forms are two instances in two
series.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.domain import Quantified, ResultFile, ResultKind, ResultProfile, SrRegion, SupersededResult
from operators.results import codes
from operators.results.equipment import device_module, device_uid, processing_equipment, stamp
from operators.results.files import write_dicom
from operators.results.groups import measurement_group
from operators.results.headers import CHARACTER_SET, clean_text, drop_names, patient_and_study, put_names
from operators.results.identity import Identity, identify
from operators.results.seg import SEG_CLASS_UID
from operators.results.source import reference, unique_instances
from operators.results.summary import Statement, statements

_RELATION = sr.RelationshipTypeValues
_SERIES_OFFSET: Final = {SrRegion.IMAGE: 0, SrRegion.SEGMENT: 1}
_TEXT_LIMIT: Final = 4096


def write_srs(quantified: Quantified, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write one report for each form that the job's destinations want.

    Parameters
    ----------
    quantified : Quantified
        The measurements.
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
    identity = identify(quantified, profile)
    destinations = quantified.selection.case.job.destinations
    named = {destination.sr_region for destination in destinations} or {SrRegion.IMAGE}
    wanted = [region for region in SrRegion if region in named]
    files = []
    for region in wanted:
        name = "sr.dcm" if len(wanted) == 1 else f"sr-{region}.dcm"
        receivers = ", ".join(d.name for d in destinations if d.sr_region is region)
        report = build_sr(quantified, profile, identity, region)
        files.append(write_dicom(folder / name, report, ResultKind.SR, receivers or None))
    return tuple(files)


def build_sr(quantified: Quantified, profile: ResultProfile, identity: Identity, region: SrRegion) -> Dataset:
    """The report in one form, as a data set."""
    pet = quantified.segmented.volumes.pet
    supersedes = quantified.selection.case.job.supersedes
    root = _root(quantified, profile, identity, region)
    report: Dataset = sr.Comprehensive3DSR(
        evidence=_evidence(quantified, identity, region),
        content=_stem(root),
        series_instance_uid=identity.uid(f"sr/{region}/series"),
        series_number=profile.sr_series_number + _SERIES_OFFSET[region],
        sop_instance_uid=identity.uid(f"sr/{region}/instance"),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=[_predecessor(result) for result in supersedes] or None,
        series_description=clean_text(f"Measurements: {quantified.segmented.claim}", 64),
        content_date=identity.time.date(),
        content_time=identity.time.time(),
        specific_character_set=CHARACTER_SET,
        coding_schemes=codes.CODING_SCHEMES,
        contributing_equipment=[processing_equipment(profile, identity)],
        **device_module(profile),
    )
    report.ContentSequence = root.ContentSequence
    put_names(report, pet.instances[0].header)
    stamp(report, identity)
    return report


def _root(
    quantified: Quantified, profile: ResultProfile, identity: Identity, region: SrRegion
) -> sr.ContainerContentItem:
    """The content tree: TID 1500, in the order of its rows.

    Written out here, for highdicom's MeasurementReport needs a measurement group and a report without
    lesions has none.
    """
    root = _container(codes.IMAGING_MEASUREMENT_REPORT, None, (), template_id="1500")
    groups = [measurement_group(quantified, lesion, identity, region) for lesion in quantified.lesions]
    items = [
        *sr.LanguageOfContentItemAndDescendants(codes.ENGLISH),
        *_observer(profile),
        sr.CodeContentItem(codes.PROCEDURE_REPORTED, codes.PET, _RELATION.HAS_CONCEPT_MOD),
        _image_library(quantified),
    ]
    if groups:  # row 6; without lesions row 12 stands alone
        measurements = (item for group in groups for item in group)
        items.append(_container(codes.IMAGING_MEASUREMENTS, _RELATION.CONTAINS, measurements))
    evaluations = (_evaluation(statement) for statement in statements(quantified))
    items.append(_container(codes.QUALITATIVE_EVALUATIONS, _RELATION.CONTAINS, evaluations))
    root.ContentSequence = sr.ContentSequence(items)
    return root


def _stem(root: sr.ContainerContentItem) -> sr.ContainerContentItem:
    """The root with its first item alone, for the constructor.

    It copies and searches the whole tree it is given, which takes longer than making it.
    """
    stem = sr.ContainerContentItem(codes.IMAGING_MEASUREMENT_REPORT, False, template_id="1500")
    stem.ContentSequence = sr.ContentSequence([root.ContentSequence[0]])
    return stem


def _container(
    name: Code,
    relation: sr.RelationshipTypeValues | None,
    items: Iterable[Dataset],
    template_id: str | None = None,
) -> sr.ContainerContentItem:
    container = sr.ContainerContentItem(
        name, is_content_continuous=False, template_id=template_id, relationship_type=relation
    )
    content = list(items)
    if content:
        container.ContentSequence = sr.ContentSequence(content)
    return container


def _observer(profile: ResultProfile) -> sr.ObserverContext:
    """TID 1002, TID 1004: a device observed, no person."""
    device = device_module(profile)
    return sr.ObserverContext(
        observer_type=codes.DEVICE,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=device_uid(profile),
            name=device["manufacturer_model_name"],
            manufacturer_name=device["manufacturer"],
            model_name=device["manufacturer_model_name"],
            serial_number=device["device_serial_number"],
        ),
    )


def _image_library(quantified: Quantified) -> sr.ContainerContentItem:
    """TID 1600 with one group: the PET's instances, and what they have in common (TID 1602, TID 1607)."""
    pet = quantified.segmented.volumes.pet
    _, rows, columns = pet.geometry.shape
    context = _RELATION.HAS_ACQ_CONTEXT
    descriptors: list[sr.ContentItem] = [
        sr.CodeContentItem(codes.MODALITY, codes.POSITRON_EMISSION, context),
        sr.NumContentItem(codes.ROWS, rows, codes.PIXELS, relationship_type=context),
        sr.NumContentItem(codes.COLUMNS, columns, codes.PIXELS, relationship_type=context),
    ]
    if pet.geometry.frame_of_reference_uid:
        frame_uid = pet.geometry.frame_of_reference_uid
        descriptors.insert(1, sr.UIDRefContentItem(codes.FRAME_OF_REFERENCE, frame_uid, context))
    tracer = quantified.selection.tracer.code
    if tracer is not None:
        agent = Code(tracer.value, tracer.scheme, clean_text(tracer.meaning, 64) or tracer.value)
        descriptors.append(sr.CodeContentItem(codes.RADIOPHARMACEUTICAL, agent, context))
    images = [
        sr.ImageContentItem(
            codes.SOURCE,
            referenced_sop_class_uid=str(instance.header.SOPClassUID),
            referenced_sop_instance_uid=instance.sop_instance_uid,
            relationship_type=_RELATION.CONTAINS,
        )
        for instance in unique_instances(pet)
    ]
    group = _container(codes.IMAGE_LIBRARY_GROUP, _RELATION.CONTAINS, [*descriptors, *images])
    return _container(codes.IMAGE_LIBRARY, _RELATION.CONTAINS, [group])


def _evaluation(statement: Statement) -> sr.ContentItem:
    """A row of the Qualitative Evaluations container: a code where there is one, else text."""
    if isinstance(statement.value, str):
        text = clean_text(statement.value, _TEXT_LIMIT)
        return sr.TextContentItem(statement.concept, text, _RELATION.CONTAINS)
    return sr.CodeContentItem(statement.concept, statement.value, _RELATION.CONTAINS)


def _evidence(quantified: Quantified, identity: Identity, region: SrRegion) -> list[Dataset]:
    """Every instance that the report refers to; the first stands for patient and study too."""
    pet = quantified.segmented.volumes.pet
    study_uid = quantified.selection.case.study.study_instance_uid
    evidence = [reference(instance, study_uid) for instance in unique_instances(pet)]
    evidence[0].update(patient_and_study(pet.instances[0].header, study_uid))
    drop_names(evidence[0])
    if region is SrRegion.SEGMENT and quantified.lesions:
        segmentation = Dataset()
        segmentation.StudyInstanceUID = study_uid
        segmentation.SeriesInstanceUID = identity.uid("seg/series")
        segmentation.SOPClassUID = SEG_CLASS_UID
        segmentation.SOPInstanceUID = identity.uid("seg/instance")
        evidence.append(segmentation)
    return evidence


def _predecessor(result: SupersededResult) -> Dataset:
    """An earlier report, as highdicom wants it."""
    document = Dataset()
    document.StudyInstanceUID = result.study_instance_uid
    document.SeriesInstanceUID = result.series_instance_uid
    document.SOPClassUID = result.sop_class_uid
    document.SOPInstanceUID = result.sop_instance_uid
    return document
