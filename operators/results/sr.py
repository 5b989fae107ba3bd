"""The structured report: Comprehensive 3D SR, root TID 1500, a TID 1411 group for each lesion.

A report has as many forms as its receivers want: with image regions, which viewers draw, or with
references to a SEG's segments, which measurement tools follow; and in several languages. Two forms are two
instances in two series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.domain import (
    Assessed,
    Destination,
    Instance,
    Language,
    Quantified,
    ResultFile,
    ResultKind,
    ResultProfile,
    SegForm,
    SrRegion,
    SupersededResult,
)
from operators.response.known import other_patient
from operators.results import codes
from operators.results.content import (
    Relation,
    code,
    container,
    container_elements,
    image,
    number,
    uid,
)
from operators.results.encoding import elements_of, in_order, item, sequence, text
from operators.results.evaluations import evaluation
from operators.results.files import write_instance
from operators.results.forms import file_name, forms
from operators.results.groups import measurement_group
from operators.results.head import ResultInstance, head
from operators.results.headers import LONG_STRING
from operators.results.identity import Identity, identify
from operators.results.language import phrases
from operators.results.observer import observer
from operators.results.seg_forms import seg_class, seg_role
from operators.results.source import (
    instance_reference,
    reference,
    references,
    unique_instances,
)
from operators.results.summary import claim, statements
from operators.words import clean_text

SR_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.88.34"
"""Comprehensive 3D SR."""

_FIRST_PLACE: Final = 16
"""Of the series of forms other than the two in English, see ``ResultProfile.series_number``."""


@dataclass(frozen=True, slots=True)
class ReportForm:
    """What of a destination changes a report."""

    seg_form: SegForm | None
    """The segmentation whose segments it refers to; None: it has image regions."""
    language: Language
    tool: bool = False
    """Whether its regions are measurements of a viewer's tools too; with image regions only."""

    @property
    def name(self) -> str:
        """As in file names: ``image``, ``segment``, ``segment-labelmap-de``."""
        return "-".join(self._parts)

    @property
    def role(self) -> str:
        """What its UIDs derive from: ``sr/image``, ``sr/segment/labelmap/de``."""
        return "/".join(("sr", *self._parts))

    @property
    def _parts(self) -> tuple[str, ...]:
        """The kind of region, and what is not the default."""
        image = SrRegion.TOOL if self.tool else SrRegion.IMAGE
        region = image if self.seg_form is None else SrRegion.SEGMENT
        seg_form = "" if self.seg_form in {None, SegForm.BINARY} else str(self.seg_form)
        language = "" if self.language is Language.ENGLISH else str(self.language)
        return tuple(filter(None, (str(region), seg_form, language)))

    def series_number(self, profile: ResultProfile) -> int:
        """The SR's own number for image regions in English, the next for segments, then others apart."""
        place = _ALL_FORMS.index(self)
        if place < len(_OF_OLD):
            return profile.sr_series_number + place
        return profile.series_number(_FIRST_PLACE + place - len(_OF_OLD))


_OF_OLD: Final = (ReportForm(None, Language.ENGLISH), ReportForm(SegForm.BINARY, Language.ENGLISH))
_ALL_FORMS: Final = (
    *_OF_OLD,
    *(
        form
        for form in (ReportForm(seg, language) for seg, language in product((None, *SegForm), Language))
        if form not in _OF_OLD
    ),
    *(ReportForm(None, language, tool=True) for language in Language),
)
"""In the order of their series and files."""


def write_srs(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write one report for each form that the job's destinations want.

    Parameters
    ----------
    assessed : Assessed
        The measurements and what they mean.
    profile : ResultProfile
        How this site's results present themselves.
    folder : Path
        Where to write: ``sr.dcm`` when there is one form, else ``sr-image.dcm``, ``sr-segment-de.dcm``.

    Returns
    -------
    tuple of ResultFile
        Image regions before segments; ``destination`` names the receivers.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`.
    """
    quantified = assessed.quantified
    identity = identify(assessed, profile)
    destinations = quantified.selection.case.job.destinations
    wanted = forms(destinations, ResultKind.SR, profile, _form_of)
    files = []
    for form in sorted(wanted, key=_ALL_FORMS.index):
        name = file_name("sr", ".dcm", form.name, len(wanted))
        dataset = _head(quantified, profile, identity, form)
        content = _data_set(assessed, profile, identity, form, dataset)
        files.append(write_instance(folder / name, dataset, [content], ResultKind.SR, wanted[form]))
    return tuple(files)


def _form_of(destination: Destination) -> ReportForm:
    seg_form = destination.seg_form if destination.sr_region is SrRegion.SEGMENT else None
    return ReportForm(seg_form, destination.language, destination.sr_region is SrRegion.TOOL)


def _head(quantified: Quantified, profile: ResultProfile, identity: Identity, form: ReportForm) -> Dataset:
    """What the report holds once beside its content (PS3.3 table A.35.13-1)."""
    series_number = form.series_number(profile)
    series = ResultInstance(SR_CLASS_UID, "SR", form.role, series_number, "Measurements")
    dataset = head(quantified, profile, identity, series)
    description = phrases(form.language).text("series_measurements", claim=claim(quantified, form.language))
    for_whom = " [viewer tools]" if form.tool else ""
    dataset.SeriesDescription = clean_text(f"{description}{for_whom}", LONG_STRING)
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.PerformedProcedureCodeSequence = []
    dataset.ReferencedPerformedProcedureStepSequence = []
    return dataset


def _data_set(
    assessed: Assessed, profile: ResultProfile, identity: Identity, form: ReportForm, dataset: Dataset
) -> bytes:
    """The encoded report: head, evidence and content tree, whose root the data set itself is."""
    quantified = assessed.quantified
    items = _items(assessed, profile, identity, form)
    return in_order(
        *elements_of(dataset),
        *container_elements(codes.IMAGING_MEASUREMENT_REPORT, items, template="1500"),
        sequence("CurrentRequestedProcedureEvidenceSequence", [_evidence(quantified, identity, form)]),
        *_other_evidence(assessed),
        *_predecessors(quantified.selection.case.job.supersedes),
    )


def _items(
    assessed: Assessed, profile: ResultProfile, identity: Identity, form: ReportForm
) -> Iterator[bytes]:
    """The content: TID 1500, in the order of its rows."""
    quantified = assessed.quantified
    yield code(Relation.HAS_CONCEPT_MOD, codes.LANGUAGE, phrases(form.language).code)
    yield from observer(profile)
    yield code(Relation.HAS_CONCEPT_MOD, codes.PROCEDURE_REPORTED, codes.PET)
    yield _image_library(quantified)
    if quantified.lesions:  # row 6; without lesions row 12 stands alone
        groups = (
            measurement_group(assessed, lesion, identity, form.seg_form, form.language, form.tool)
            for lesion in quantified.lesions
        )
        yield container(Relation.CONTAINS, codes.IMAGING_MEASUREMENTS, groups)
    said = statements(assessed, form.language)
    evaluations = (evaluation(Relation.CONTAINS, statement, form.language) for statement in said)
    yield container(Relation.CONTAINS, codes.QUALITATIVE_EVALUATIONS, evaluations)


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


def _evidence(quantified: Quantified, identity: Identity, form: ReportForm) -> bytes:
    """Every instance of the study that the report refers to or comes from (PS3.3 C.17.2.3)."""
    selection, volumes = quantified.selection, quantified.segmented.volumes
    series = [_series_of(selection.pet.series_instance_uid, unique_instances(volumes.pet))]
    if volumes.ct is not None and selection.ct is not None:
        series.append(_series_of(selection.ct.series_instance_uid, unique_instances(volumes.ct)))
    if form.seg_form is not None and quantified.lesions:
        role = seg_role(form.seg_form)
        segmentation = item(*reference(seg_class(form.seg_form), identity.uid(f"{role}/instance")))
        instances = sequence("ReferencedSOPSequence", [segmentation])
        series.append(_series(identity.uid(f"{role}/series"), instances))
    return _study(selection.case.study.study_instance_uid, series)


def _other_evidence(assessed: Assessed) -> Iterator[bytes]:
    """The PETs of the patient's priors that the study was compared with (PS3.3 C.17.2.3)."""
    current = assessed.quantified.selection.case.study.study_instance_uid
    studies = {
        follow_up.prior.selection.case.study.study_instance_uid: follow_up.prior
        for follow_up in assessed.follow_ups
        if other_patient(assessed.quantified, follow_up.prior) is None
    }
    priors = [
        _study(study, [_series_of(prior.selection.pet.series_instance_uid, _pet_instances(prior))])
        for study, prior in studies.items()
        if study != current
    ]
    if priors:
        yield sequence("PertinentOtherEvidenceSequence", priors)


def _pet_instances(quantified: Quantified) -> tuple[Instance, ...]:
    return unique_instances(quantified.segmented.volumes.pet)


def _predecessors(supersedes: Sequence[SupersededResult]) -> Iterator[bytes]:
    """The earlier reports that this one replaces; the sequence is absent when there are none."""
    if supersedes:
        yield sequence("PredecessorDocumentsSequence", map(_predecessor, supersedes))


def _predecessor(result: SupersededResult) -> bytes:
    """An earlier report that this one replaces."""
    document = item(*reference(result.sop_class_uid, result.sop_instance_uid))
    series = _series(result.series_instance_uid, sequence("ReferencedSOPSequence", [document]))
    return _study(result.study_instance_uid, [series])


def _series_of(series_instance_uid: str, instances: Sequence[Instance]) -> bytes:
    return _series(series_instance_uid, references("ReferencedSOPSequence", instances))


def _series(series_instance_uid: str, instances: bytes) -> bytes:
    return item(instances, text("SeriesInstanceUID", series_instance_uid))


def _study(study_instance_uid: str, series: Sequence[bytes]) -> bytes:
    return item(sequence("ReferencedSeriesSequence", series), text("StudyInstanceUID", study_instance_uid))
