"""What must be true when everything has come to rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from app.gateway.spool import SUFFIX, Spool, hashed, is_intact, stored_digest
from app.jobs.tables import DeliveryState, JobState
from operators.study.part10 import IMAGE_CLASSES
from tests.servers import Orthanc
from tests.torture.destination import Destination
from tests.torture.senders import Instance

REJECTION_TITLES = {"113001", "113037", "113038", "113039"}
"""Document titles of IOCM's rejection notes (IHE RAD TF-3 4.68)."""
KINDS = {"SEG": "seg", "SR": "sr"}


@dataclass(slots=True)
class Verdict:
    """Violations found, and how much was looked at."""

    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def expect(self, condition: bool, sentence: str) -> None:
        if not condition:
            self.violations.append(sentence)


def is_at_rest(ledger: Any, spool: Spool, images: Mapping[str, int], ae_title: str) -> bool:
    """Whether nothing is under way, and the latest revision of every study has all that was sent.

    Parameters
    ----------
    images : mapping of str to int
        How many were acknowledged of each study.
    """
    if ledger.jobs.in_state(JobState.QUEUED, JobState.RUNNING):
        return False
    if ledger.deliveries.in_state(DeliveryState.WAITING, DeliveryState.SENT):
        return False
    latest = (ledger.jobs.latest(spool.folder(ae_title, study).study_key) for study in images)
    return all(
        job is not None and job.instances == count for job, count in zip(latest, images.values(), strict=True)
    )


def judge_spool(verdict: Verdict, spool: Spool, ae_title: str, sent: Iterable[Instance]) -> None:
    """Every acknowledged instance lies on disk bit for bit."""
    for instance in sent:
        folder = spool.folder(ae_title, instance.study_instance_uid)
        name = hashed(instance.sop_instance_uid)
        path = folder.path / f"{name}{SUFFIX}"
        if instance.conflicting:
            aside = spool.aside / folder.path.relative_to(spool.root)
            path = aside / f"{name}.{instance.digest[:16]}{SUFFIX}"
        verdict.counts["instances"] += 1
        if not path.exists():
            verdict.expect(False, f"acknowledged and not on disk: {instance}")
        else:
            same = stored_digest(path) == instance.digest and is_intact(path)
            verdict.expect(same, f"acknowledged and not the same on disk: {instance}")


def judge_jobs(verdict: Verdict, ledger: Any, spool: Spool, ae_title: str, studies: Iterable[str]) -> None:
    """Every study was processed in its whole, and nothing waits for a person."""
    for job in ledger.jobs.in_state():
        verdict.counts[f"jobs {job.state}"] += 1
        verdict.expect(job.state != JobState.PARKED, f"{job.id} is parked: {job.reason_code} {job.reason}")
    for delivery in ledger.deliveries.in_state(*DeliveryState):
        verdict.counts[f"deliveries {delivery.state}"] += 1
        settled = delivery.state in {DeliveryState.CONFIRMED, DeliveryState.WITHDRAWN}
        verdict.expect(
            settled, f"{delivery.id} is {delivery.state}: {delivery.reason_code} {delivery.reason}"
        )
    for study in studies:
        folder = spool.folder(ae_title, study)
        images = [path for path in folder.path.glob(f"*{SUFFIX}") if _is_image(path)]
        job = ledger.jobs.latest(folder.study_key)
        complete = job is not None and job.instances == len(images)
        verdict.expect(complete, f"the latest revision of {study} has not its {len(images)} instances: {job}")
        finished = job is not None and job.state in {JobState.DONE, JobState.UNCHANGED}
        verdict.expect(finished, f"the latest revision of {study} has no results: {job}")


def _is_image(path: Any) -> bool:
    return pydicom.dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID in IMAGE_CLASSES


def held_by_orthanc(orthanc: Orthanc) -> dict[str, list[Dataset]]:
    """What Orthanc holds of every study."""
    found = defaultdict(list)
    for one in orthanc.get("/instances?expand"):
        uid = one["MainDicomTags"]["SOPInstanceUID"]
        data = pydicom.dcmread(BytesIO(orthanc.file(uid)))
        found[str(data.StudyInstanceUID)].append(data)
    return found


def held_by(destination: Destination) -> dict[str, list[Dataset]]:
    found = defaultdict(list)
    for data in destination.data_sets():
        found[str(data.StudyInstanceUID)].append(data)
    return found


def judge_destination(
    verdict: Verdict,
    name: str,
    held: dict[str, list[Dataset]],
    ledger: Any,
    keys: dict[str, str],
) -> None:
    """Every study has exactly one current set of results: one SEG and one SR, of one revision.

    Parameters
    ----------
    held : dict
        What the destination holds of each Study Instance UID.
    keys : dict
        Study key in the tables of each Study Instance UID.
    """
    for study, key in keys.items():
        objects = held.get(study, [])
        rejected = {uid for one in objects if _is_rejection(one) for uid in _referenced(one)}
        results = [one for one in objects if one.Modality in KINDS]
        current = [one for one in results if one.SOPInstanceUID not in rejected]
        verdict.counts[f"{name} results"] += len(results)
        verdict.counts[f"{name} rejected"] += len(rejected & {one.SOPInstanceUID for one in results})
        _judge_current(verdict, f"{name}, study {study}", current, ledger.results.current(key))
        revisions = _revisions(ledger, results)
        for (job, kind), uids in revisions.items():
            verdict.expect(len(uids) == 1 and job is not None, f"{name}: {job} has {kind} {sorted(uids)}")
    for study in held.keys() - keys.keys():
        verdict.expect(False, f"{name} holds results of a study that was not sent: {study}")


def _judge_current(verdict: Verdict, where: str, current: Sequence[Dataset], registered: Any) -> None:
    kinds = sorted(KINDS[one.Modality] for one in current)
    verdict.expect(kinds == ["seg", "sr"], f"{where}: current results are {kinds}, not one SEG and one SR")
    wanted = {row.sop_instance_uid for row in registered if row.kind in KINDS.values()}
    have = {str(one.SOPInstanceUID) for one in current}
    verdict.expect(have == wanted, f"{where}: current are {sorted(have)}, registered {sorted(wanted)}")
    verdict.counts["current sets"] += kinds == ["seg", "sr"] and have == wanted


def _revisions(ledger: Any, results: Sequence[Dataset]) -> dict[tuple[str | None, str], set[str]]:
    """Which results a destination has of each revision; None for those that nobody registered."""
    from sqlalchemy import select

    from app.jobs.tables import results as table

    uids = [str(one.SOPInstanceUID) for one in results]
    with ledger.engine.connect() as connection:
        rows = connection.execute(select(table.c.sop_instance_uid, table.c.job_id)).all()
    jobs = {row.sop_instance_uid: row.job_id for row in rows}
    found = defaultdict(set)
    for one, uid in zip(results, uids, strict=True):
        found[jobs.get(uid), KINDS[one.Modality]].add(uid)
    return found


def _is_rejection(one: Dataset) -> bool:
    return one.Modality == "KO" and one.ConceptNameCodeSequence[0].CodeValue in REJECTION_TITLES


def _referenced(note: Dataset) -> list[str]:
    """SOP Instance UIDs in the evidence of a Key Object document (PS3.3 C.17.2.3)."""
    return [
        str(item.ReferencedSOPInstanceUID)
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
