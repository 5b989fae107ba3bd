"""The input folder as cases: one for each study of each patient, never merged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from pydicom.dataset import Dataset

from operators.domain import Case, Instance, Job, Series, SetAside, Study
from operators.errors import InputRefusal, Refused
from operators.study.attributes import items, stated, study_day, text
from operators.study.duplicates import absorb_duplicates
from operators.study.fhir import read_fhir_file
from operators.study.headers import JOB_FILE, is_pet, read_headers, relative_path
from operators.study.job import read_job


def load_cases(root: Path, output: Path, method: str | None = None) -> tuple[Case | Refused, ...]:
    """Read an input folder.

    Parameters
    ----------
    root : Path
        Folder of DICOM files, nested as it may be, with or without a ``job.json``.
    output : Path
        Folder of the results: of a single case itself; of several, each has a folder below it, named by
        a hash of its study.
    method : str, optional
        Segmentation method in place of the job's.

    Returns
    -------
    tuple of Case or Refused
        One for each current study, by Study Instance UID. Refused, with ``CURRENT_STUDY_MISSING``, for
        a current study of the job that the folder does not hold.

    Raises
    ------
    InputRefusal
        ``INPUT_MISSING``, ``JOB_INVALID`` or ``NO_DICOM``: there is nothing to process.
    """
    if not root.is_dir():
        raise InputRefusal("INPUT_MISSING", "The input folder does not exist.")
    root, output = root.resolve(), output.resolve()
    job = read_job(root)
    job = replace(job, method=method) if method else job
    instances, unreadable = read_headers(root, exclude=output if output != root else None)
    instances, duplicates = absorb_duplicates(instances, root)
    set_aside = _by_path((*unreadable, *duplicates))
    if not instances:
        sentence = "The input folder holds no DICOM file that can be read."
        raise InputRefusal("NO_DICOM", sentence, set_aside=set_aside)
    studies = group_studies(instances)
    current, others = _current(studies, job)
    set_aside = _by_path((*set_aside, *_not_pet(others, root)))
    folders = _folders(current, output)
    cases = tuple(
        _case(study, job, _not_of_others(set_aside, study, current), folder)
        for study, folder in zip(current, folders, strict=True)
    )
    fhir = read_fhir_file(root)
    cases = tuple(
        replace(_with_priors(case, studies), fhir=fhir) if isinstance(case, Case) else case for case in cases
    )
    priors = [prior for case in cases if isinstance(case, Case) for prior in case.priors]
    _require_unambiguous(job, current, priors)
    return cases


def prior_case(case: Case, prior: Study) -> Case:
    """Return a prior of a case as a case of its own, to be measured as the current study is.

    Of the job hold the method and the corrections that name the prior. Its tracer is what its own images
    say, and clinical inputs are of the current study. Files that were set aside come along: one of them may
    be missing from the prior.
    """
    uid = prior.study_instance_uid
    job = Job(
        time=case.job.time,
        current=(uid,),
        corrections=tuple(item for item in case.job.corrections if item.study_instance_uid == uid),
        method=case.job.method,
        method_parameters=case.job.method_parameters,
        digest=case.job.digest,
    )
    return Case(prior, job, case.set_aside, case.output)


def group_studies(instances: Iterable[Instance]) -> tuple[Study, ...]:
    """Group instances by patient and study, then by series.

    Patients are told apart before studies are: two patients under one Study Instance UID, the trace of
    a wrong worklist entry, are two studies and never one.

    Parameters
    ----------
    instances : iterable of Instance
        With every SOP Instance UID once.

    Returns
    -------
    tuple of Study
        In the order of their Study Instance UIDs; series and instances by their UIDs, so that names
        and order of files do not matter.
    """
    by_study: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        by_study[text(instance.header, "StudyInstanceUID")].append(instance)
    studies = []
    for study_uid, members in sorted(by_study.items()):
        by_patient: dict[str, list[Instance]] = defaultdict(list)
        for instance, key in zip(members, _patient_keys(members), strict=True):
            by_patient[key].append(instance)
        studies += [Study(study_uid, key, _series(group)) for key, group in sorted(by_patient.items())]
    return tuple(studies)


def _series(instances: Sequence[Instance]) -> tuple[Series, ...]:
    def series_uid(instance: Instance) -> str:
        return text(instance.header, "SeriesInstanceUID")

    ordered = sorted(instances, key=lambda instance: (series_uid(instance), instance.sop_instance_uid))
    return tuple(Series(uid, tuple(group)) for uid, group in groupby(ordered, series_uid))


def _patient_keys(instances: Sequence[Instance]) -> list[str]:
    """Return a hash for each instance of one study, equal for equal patients.

    Patient ID, its issuer and the birth date (PS3.3 C.2.2); where one of the latter is absent it is that of
    the study's other files with the same ID if they name only one. Without an ID, name and birth date
    tell patients apart.
    """
    issuers: dict[str, set[str]] = defaultdict(set)
    births: dict[str, set[str]] = defaultdict(set)
    for instance in instances:
        patient_id = text(instance.header, "PatientID")
        issuers[patient_id].add(_issuer(instance.header))
        births[patient_id].add(text(instance.header, "PatientBirthDate"))
    return [_patient_key(instance.header, issuers, births) for instance in instances]


def _patient_key(header: Dataset, issuers: dict[str, set[str]], births: dict[str, set[str]]) -> str:
    patient_id = text(header, "PatientID")
    if patient_id:
        issuer = _only(issuers[patient_id], _issuer(header))
        birth = _only(births[patient_id], text(header, "PatientBirthDate"))
        identity: tuple[str, ...] = ("id", patient_id, issuer, birth)
    else:
        identity = ("name", text(header, "PatientName"), text(header, "PatientBirthDate"))
    return sha256("\0".join(identity).encode()).hexdigest()


def _only(named: set[str], own: str) -> str:
    """Return the one value that the files name, also for a file that names none; else the file's own."""
    stated = named - {""}
    return next(iter(stated)) if len(stated) == 1 else own


def _issuer(header: Dataset) -> str:
    return text(header, "IssuerOfPatientID") or "".join(
        text(item, "UniversalEntityID") for item in items(header, "IssuerOfPatientIDQualifiersSequence")
    )


def _current(studies: Sequence[Study], job: Job) -> tuple[tuple[Study | str, ...], tuple[Study, ...]]:
    """Return the studies to process (or the UIDs of those that are missing), and those left aside.

    Without ``current`` in the job: all that are not priors and hold a PET; all that are not priors when
    none of them holds a PET, so that each is refused by name.
    """
    if job.current:
        present = {study.study_instance_uid for study in studies}
        chosen = tuple(study for study in studies if study.study_instance_uid in job.current)
        return (*chosen, *sorted(set(job.current) - present)), ()
    candidates = tuple(study for study in studies if study.study_instance_uid not in job.priors)
    if not candidates:
        raise InputRefusal("NO_CURRENT_STUDY", "The job names every study of the input folder as a prior.")
    with_pet = tuple(study for study in candidates if _holds_pet(study))
    if not with_pet:
        return candidates, ()
    return with_pet, tuple(study for study in candidates if not _holds_pet(study))


_OTHER_PATIENT = (
    "PRIOR_OTHER_PATIENT",
    "which is not of the same patient by its Patient ID, issuer and birth date: it was not used",
)
_MISSING = ("PRIOR_MISSING", "which the input folder does not hold")
_WITHOUT_PET = ("PRIOR_WITHOUT_PET", "which holds no PET: it was not used")
_UNDATED = ("PRIOR_UNDATED", "but one of the two has no study date: it was not used")
_LATER = ("PRIOR_LATER", "which is later than the current study: it was not used")


def _with_priors(case: Case, studies: Sequence[Study]) -> Case:
    """Add the priors that the job names, or why one of them is none."""
    priors, set_aside, foreign = [], [], set()
    for uid in case.job.priors:
        named = [study for study in studies if study.study_instance_uid == uid]
        own = [study for study in named if _same_patient(study, case.study)]
        foreign |= {
            series.series_instance_uid for study in named if study not in own for series in study.series
        }
        if len(own) == 1:
            fault = _fault_as_prior(own[0], case.study)
        else:
            fault = _OTHER_PATIENT if named else _MISSING
        if fault is None:
            priors.append(replace(own[0], patient_key=case.study.patient_key))
        else:
            code, reason = fault
            # one line for the study: files of another patient may be named for that patient
            set_aside.append(SetAside(JOB_FILE, code, f"names study {uid} as a prior, {reason}"))
    priors.sort(key=lambda study: (study_day(study) or date.max, _clock(study), study.study_instance_uid))
    kept = [entry for entry in case.set_aside if entry.series_instance_uid not in foreign]
    return replace(case, priors=tuple(priors), set_aside=_by_path((*kept, *set_aside)))


def _fault_as_prior(study: Study, current: Study) -> tuple[str, str] | None:
    """Return code and reason why a study of the same patient cannot be a prior."""
    day, current_day = study_day(study), study_day(current)
    if not _holds_pet(study):
        return _WITHOUT_PET
    if day is None or current_day is None:
        return _UNDATED
    return _LATER if day > current_day else None


def _same_patient(one: Study, other: Study) -> bool:
    """Whether two studies are of one patient: what one of them leaves out, the other may state.

    Without a Patient ID, name and birth date have to say so: two studies of nobody are of two patients.
    """
    both = [instance for study in (one, other) for series in study.series for instance in series.instances]
    header = both[0].header
    named = text(header, "PatientID") or (text(header, "PatientName") and text(header, "PatientBirthDate"))
    return bool(named) and len(set(_patient_keys(both))) == 1


def _clock(study: Study) -> str:
    """Return Study Time (0008,0030) in a form that sorts."""
    return stated(study, "StudyTime").replace(":", "")


def _require_unambiguous(job: Job, current: Sequence[Study | str], priors: Sequence[Study]) -> None:
    """Refuse a job whose corrections or clinical inputs could reach the wrong patient, or none."""
    studies = {study if isinstance(study, str) else study.study_instance_uid for study in (*current, *priors)}
    for correction in job.corrections:
        if correction.study_instance_uid not in (None, *studies):
            sentence = "A correction in job.json is for a study that is not processed; nothing was computed."
            raise InputRefusal("CORRECTION_STUDY_MISSING", sentence, "/corrections")
    patients = {study.patient_key for study in current if isinstance(study, Study)}
    unnamed = any(correction.study_instance_uid is None for correction in job.corrections)
    if len(patients) > 1 and (unnamed or job.clinical):
        sentence = (
            "The input folder holds several patients, and job.json does not say whose its corrections or "
            "clinical inputs are. Send one patient, or name the study of each correction."
        )
        raise InputRefusal("JOB_AMBIGUOUS", sentence, "/corrections")


def _holds_pet(study: Study) -> bool:
    return any(is_pet(instance) for series in study.series for instance in series.instances)


def _not_pet(studies: Sequence[Study], root: Path) -> list[SetAside]:
    """List the files of studies that are no case since others hold a PET and they do not."""
    reason = "belongs to a study without PET"
    return [
        SetAside(relative_path(instance.path, root), "NOT_A_PET_STUDY", reason, series.series_instance_uid)
        for study in studies
        for series in study.series
        for instance in series.instances
    ]


def _folders(studies: Sequence[Study | str], output: Path) -> list[Path]:
    """Return the folder of each study's results; the patient enters its name where the UID is not enough."""
    if len(studies) == 1:
        return [output]
    times = Counter(study if isinstance(study, str) else study.study_instance_uid for study in studies)
    names = []
    for study in studies:
        if isinstance(study, str):
            names.append(study)
        elif times[study.study_instance_uid] > 1:
            names.append(f"{study.study_instance_uid} {study.patient_key}")
        else:
            names.append(study.study_instance_uid)
    return [output / sha256(name.encode()).hexdigest()[:16] for name in names]


def _case(study: Study | str, job: Job, set_aside: tuple[SetAside, ...], output: Path) -> Case | Refused:
    if isinstance(study, Study):
        return Case(study, _job_of(study, job), set_aside, output)
    refusal = InputRefusal(
        "CURRENT_STUDY_MISSING",
        f"The job names study {study} as current, but the input folder does not hold it.",
        "(0020,000D) StudyInstanceUID",
    )
    return Refused(Case(Study(study, "", ()), job, set_aside, output), refusal)


def _not_of_others(
    set_aside: tuple[SetAside, ...], study: Study | str, current: Sequence[Study | str]
) -> tuple[SetAside, ...]:
    """Leave out what is of another patient's study: names of files may be names of patients."""
    others = {
        series.series_instance_uid
        for other in current
        if isinstance(other, Study) and other is not study
        for series in other.series
    }
    return tuple(entry for entry in set_aside if entry.series_instance_uid not in others)


def _job_of(study: Study, job: Job) -> Job:
    """Return the job as it concerns one study: another's reports are not superseded by this one's."""
    own = tuple(item for item in job.supersedes if item.study_instance_uid == study.study_instance_uid)
    return replace(job, supersedes=own)


def _by_path(set_aside: Iterable[SetAside]) -> tuple[SetAside, ...]:
    return tuple(sorted(set_aside, key=lambda entry: entry.path))
