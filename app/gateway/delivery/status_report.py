"""Tells the radiologist that there will be no results, and why: a Basic Text SR (PS3.3 A.35.1)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from app.gateway.delivery.document import document_head, language_item, set_content, text_item, write_document
from app.gateway.delivery.sending import Instance
from app.jobs.tables import JobState
from operators.results import codes
from operators.words import clean_text

OUTCOMES: Final = {
    JobState.REFUSED: "theramap did not produce results for this study: the study was refused.",
    JobState.PARKED: "theramap did not produce results for this study: its processing was put aside.",
}
"""What the report begins with."""

RESEARCH_ONLY: Final = "Research software, not a medical device. No physician has verified this report."

LONGEST_SENTENCE = 1024
"""Characters of a reason that are taken over."""


def write_status_report(
    header: Dataset,
    study_instance_uid: str,
    state: JobState,
    code: str,
    reason: str,
    moment: datetime,
    path: Path,
) -> Instance:
    """Write the report on a study without results.

    Parameters
    ----------
    header : Dataset
        Of an instance of the study: patient and study are taken over from it.
    study_instance_uid : str
        The study.
    state : JobState
        REFUSED or PARKED.
    code, reason : str
        Why, as a code of ours and as a sentence.
    moment : datetime
        When the report was due, in the study's clock.
    path : Path
        The file.

    Returns
    -------
    Instance
        The report. The same arguments give the same bytes.
    """
    report = document_head(
        header, study_instance_uid, moment, BasicTextSRStorage, "SR", "theramap: no results"
    )
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    report.PerformedProcedureCodeSequence = []
    report.CodingSchemeIdentificationSequence = list(codes.CODING_SCHEMES)
    sentence = clean_text(reason, LONGEST_SENTENCE) or "No reason is known."
    set_content(
        report,
        codes.STATUS_REPORT,
        None,
        [
            language_item(),
            text_item(codes.STATUS, f"{OUTCOMES[state]} {RESEARCH_ONLY}"),
            text_item(codes.LACK_OF_RESULTS, f"{sentence} ({clean_text(code, 64) or 'UNKNOWN'})"),
            text_item(codes.ALGORITHM_VERSION, f"theramap {report.SoftwareVersions}"),
        ],
    )
    return write_document(report, path)
