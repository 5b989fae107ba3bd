"""The report on paper as an Encapsulated PDF (PS3.3 A.45.1): one or two pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from operators.domain import (
    Assessed,
    BurnedIn,
    Destination,
    Language,
    Quantified,
    ResultFile,
    ResultKind,
    ResultProfile,
)
from operators.results import codes
from operators.results.encoding import coded, elements_of, header, in_order, numbers
from operators.results.files import write_instance
from operators.results.forms import file_name, forms
from operators.results.head import ResultInstance, head
from operators.results.identity import Identity, identify
from operators.results.language import phrases
from operators.results.paper import paper_of, printed, title_of
from operators.results.source import references, unique_instances
from operators.words import clean_text

PDF_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.104.1"

_DEFAULT: Final = (Language.ENGLISH, BurnedIn.NONE)
_SERIES_PLACE: Final = 6
_OTHER_FORMS_PLACE: Final = 64
"""Of the first of the forms that are not the default: twelve places from here on are theirs."""

_LONGEST_TITLE: Final = 1024
"""Of VR ST, characters."""


def write_pdf(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the report on paper once for each language and identity that the job's destinations want.

    Parameters
    ----------
    assessed : Assessed
        The measurements and what they mean.
    profile : ResultProfile
        How this site's results present themselves.
    folder : Path
        Where to write: ``report.dcm`` when there is one form, else ``report-en-none.dcm`` and so on.

    Returns
    -------
    tuple of ResultFile
        In the order of language and identity; ``destination`` names the receivers. Empty when nobody wants
        it.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`.
    """
    quantified = assessed.quantified
    destinations = quantified.selection.case.job.destinations
    wanted = forms(destinations, ResultKind.PDF, profile, _form)
    if not wanted:
        return ()
    identity = identify(assessed, profile)
    files = []
    for (language, burned_in), receivers in sorted(wanted.items()):
        name = file_name("report", ".dcm", f"{language}-{burned_in}", len(wanted))
        dataset = _head(quantified, profile, identity, (language, burned_in))
        paper = paper_of(assessed, profile, identity, language, burned_in)
        document = printed(paper, f"{dataset.ManufacturerModelName} {dataset.SoftwareVersions}")
        content = _data_set(quantified, dataset, document)
        files.append(write_instance(folder / name, dataset, content, ResultKind.PDF, receivers))
    return tuple(files)


def _form(destination: Destination) -> tuple[Language, BurnedIn]:
    return destination.language, destination.burned_in


def _head(
    quantified: Quantified, profile: ResultProfile, identity: Identity, form: tuple[Language, BurnedIn]
) -> Dataset:
    """What the document says of itself (PS3.3 C.24.1, C.24.2, C.8.6.1)."""
    language, burned_in = form
    role = "pdf" if form == _DEFAULT else f"pdf/{language}-{burned_in}"
    series = ResultInstance(PDF_CLASS_UID, "DOC", role, profile.series_number(_place(form)), "Report")
    dataset = head(quantified, profile, identity, series)
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = ""  # of the original, were this a scanned document
    dataset.BurnedInAnnotation = "NO" if burned_in is BurnedIn.NONE else "YES"
    dataset.DocumentTitle = clean_text(title_of(quantified, phrases(language)), _LONGEST_TITLE)
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    return dataset


def _place(form: tuple[Language, BurnedIn]) -> int:
    """Which series of the results a form is."""
    if form == _DEFAULT:
        return _SERIES_PLACE
    language, burned_in = form
    return (
        _OTHER_FORMS_PLACE + list(Language).index(language) * len(BurnedIn) + list(BurnedIn).index(burned_in)
    )


def _data_set(quantified: Quantified, dataset: Dataset, document: bytes) -> Iterator[bytes]:
    """The encoded data set: head, what it was made from, the PDF."""
    volumes = quantified.segmented.volumes
    sources = [volume for volume in (volumes.pet, volumes.ct) if volume is not None]
    instances = [instance for volume in sources for instance in unique_instances(volume)]
    padding = bytes(len(document) % 2)
    yield in_order(
        *elements_of(dataset),
        coded("ConceptNameCodeSequence", codes.IMAGING_MEASUREMENT_REPORT),
        references("SourceInstanceSequence", instances),
        header("EncapsulatedDocument", len(document) + len(padding), "OB") + document + padding,
        numbers("EncapsulatedDocumentLength", [len(document)]),
    )
