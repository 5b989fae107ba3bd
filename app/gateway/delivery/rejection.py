"""Withdraws results in a PACS: a Key Object rejection note (IHE RAD TF-2, IOCM, RAD-66; PS3.16 TID 2010)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage
from sqlalchemy import Row

from app.gateway.delivery.document import document_head, language_item, set_content, text_item, write_document
from app.gateway.delivery.sending import Instance
from operators.results import codes

REASONS: Final = {
    "superseded": (
        codes.REJECTED_FOR_QUALITY,
        "Results of theramap that newer results of the same study replace. Research software.",
    ),
    "recalled": (
        codes.REJECTED_FOR_PATIENT_SAFETY,
        "Recalled results of theramap: the method that made them is faulty. Research software.",
    ),
}
"""Why results are withdrawn: the note's title (PS3.16 CID 7010) and what it says."""

REPORTS: Final = "1.2.840.10008.5.1.4.1.1.88."
"""Structured reports are referred to as composite objects, all else here as images."""

TEMPLATE: Final = "2010"


def write_rejection(
    header: Dataset, withdrawn: Sequence[Row[Any]], reason: str, moment: datetime, path: Path
) -> Instance:
    """Write the note that rejects results.

    Parameters
    ----------
    header : Dataset
        Of one of the results: patient and study are taken over from it.
    withdrawn : sequence of Row
        The results (of one study), as the ledger has them.
    reason : str
        Key of :data:`REASONS`.
    moment : datetime
        When they were withdrawn, in the study's clock.
    path : Path
        The file.

    Returns
    -------
    Instance
        The note. The same arguments give the same bytes.
    """
    title, sentence = REASONS[reason]
    ordered = sorted(withdrawn, key=lambda row: (row.series_instance_uid, row.sop_instance_uid))
    study = ordered[0].study_instance_uid
    note = document_head(
        header, study, moment, KeyObjectSelectionDocumentStorage, "KO", f"theramap: {title.meaning}"
    )
    note.CurrentRequestedProcedureEvidenceSequence = [_evidence(study, ordered)]
    set_content(
        note,
        title,
        TEMPLATE,
        [
            language_item(),
            text_item(codes.KEY_OBJECT_DESCRIPTION, sentence),
            *(_object_item(row) for row in ordered),
        ],
    )
    return write_document(note, path)


def _evidence(study: str, rows: Iterable[Row[Any]]) -> Dataset:
    """Return the hierarchical reference to the results (PS3.3 C.17.2.1)."""
    evidence = Dataset()
    evidence.StudyInstanceUID = study
    evidence.ReferencedSeriesSequence = []
    for series_uid, members in groupby(rows, key=lambda row: row.series_instance_uid):
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = [_reference(row) for row in members]
        evidence.ReferencedSeriesSequence.append(series)
    return evidence


def _object_item(row: Row[Any]) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "COMPOSITE" if row.sop_class_uid.startswith(REPORTS) else "IMAGE"
    item.ReferencedSOPSequence = [_reference(row)]
    return item


def _reference(row: Row[Any]) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = row.sop_class_uid
    item.ReferencedSOPInstanceUID = row.sop_instance_uid
    return item
