"""What a result is called and when it was made: derived, never drawn and never now.

A digest over everything that determines a result gives every UID, so the same input gives the same
bytes, and another method, setting or model gives other objects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta, timezone
from itertools import count

from pydicom.dataset import Dataset

from operators.domain import Algorithm, Assessed, Claim, FollowUp, Quantified, ResultProfile, TrackedName
from operators.errors import ResultRefusal
from operators.results.headers import date_of, date_time_of, text_of, time_of
from operators.volume.columns import column

_STATED_TIMES = (
    ("StudyDate", "StudyTime"),
    ("SeriesDate", "SeriesTime"),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
)

_NOUN = {Claim.UPTAKE: "Uptake", Claim.LESION: "Lesion"}

_OF_ONE_RUN = {"times_s", "batch"}
"""What differs between two runs of a network that give the same."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of one study's results."""

    digest: str
    """SHA-256, hexadecimal, over everything that determines the results."""
    time: datetime
    """When they were made, in the study's own wall clock, without a zone."""
    names: Mapping[int, TrackedName]
    """Of the lesions, by number: what they were called before, else names of their own."""

    def uid(self, role: str) -> str:
        """The UID of one thing among the results.

        Parameters
        ----------
        role : str
            What it is, such as ``seg/instance`` or ``lesion/3``.

        Returns
        -------
        str
            ``2.25.`` and a 128-bit integer (PS3.5 B.2), at most 44 characters.
        """
        return _uid(self.digest, role)


def _uid(digest: str, role: str) -> str:
    hashed = hashlib.sha256(f"{digest}/{role}".encode()).digest()
    return f"2.25.{int.from_bytes(hashed[:16], 'big')}"


def identify(assessed: Assessed, profile: ResultProfile) -> Identity:
    """The identity of a study's results.

    Parameters
    ----------
    assessed : Assessed
        What is to be written.
    profile : ResultProfile
        How results present themselves, the software's version among it.

    Returns
    -------
    Identity
        Digest and time.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``: neither ``job.json`` nor the study states a time.
    """
    time = _time(assessed.quantified)
    content = json.dumps(_determinants(assessed, profile, time), sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Identity(digest, time, _names(assessed, digest))


def _names(assessed: Assessed, digest: str) -> dict[int, TrackedName]:
    """What every lesion is called: as before, else by a number that no lesion of this patient had before."""
    noun = _NOUN[assessed.quantified.segmented.claim]
    before = [assessed.names, *(follow_up.prior_names for follow_up in assessed.follow_ups)]
    taken = {name.identifier for names in before for name in names.values()}
    named: dict[int, TrackedName] = {}
    given: set[str] = set()
    for number, name in sorted(assessed.names.items()):
        identifier = name.identifier
        # two priors that were each processed alone, or two readers, may have used one name twice
        if identifier in given:
            again = (f"{identifier[:56]} ({time})" for time in count(2))
            identifier = next(each for each in again if each not in taken)
        given.add(identifier)
        taken.add(identifier)
        named[number] = replace(name, identifier=identifier)
    for lesion in assessed.quantified.lesions:
        if lesion.number not in named:
            numbers = (f"{noun} {number}" for number in count(lesion.number))
            identifier = next(each for each in numbers if each not in taken)
            taken.add(identifier)
            named[lesion.number] = TrackedName(identifier, _uid(digest, f"lesion/{lesion.number}"))
    return named


def _determinants(assessed: Assessed, profile: ResultProfile, time: datetime) -> dict[str, object]:
    """Everything that decides what a result says, as plain values."""
    quantified = assessed.quantified
    selection = quantified.selection
    volumes = quantified.segmented.volumes
    organs, removed_by = quantified.segmented.organs, quantified.segmented.removed_by
    reading = quantified.segmented.reading
    job = selection.case.job
    return {
        "study": selection.case.study.study_instance_uid,
        "pet": volumes.pet.digest,
        "ct": None if volumes.ct is None else volumes.ct.digest,
        "algorithm": _algorithm(quantified.segmented.algorithm),
        "organs": None if organs is None else _algorithm(organs.algorithm),
        "removed_by": None if removed_by is None else _algorithm(removed_by),
        "claim": quantified.segmented.claim,
        "reading": None if reading is None else reading.digest,
        "protocol": (selection.protocol.name, selection.protocol.digest),
        "tracer": asdict(selection.tracer),
        "job": job.digest,
        "time": time,
        "supersedes": [asdict(result) for result in job.supersedes],
        "corrected": volumes.suv.corrected,
        "notes": [asdict(note) for note in assessed.all_notes],
        "profile": _presentation(profile),
        "clinical": [asdict(fact) for fact in assessed.clinical],
        "facts": [asdict(fact) for fact in assessed.facts],
        "findings": [asdict(finding) for finding in assessed.findings],
        "predictions": [asdict(prediction) for prediction in assessed.predictions],
        "follow_ups": [_follow_up(follow_up) for follow_up in assessed.follow_ups],
        "names": {number: asdict(name) for number, name in assessed.names.items()},
    }


def _presentation(profile: ResultProfile) -> dict[str, object]:
    """How results present themselves; which of them are written changes none of the others."""
    return {name: value for name, value in asdict(profile).items() if name != "results"}


def _follow_up(follow_up: FollowUp) -> dict[str, object]:
    """What a prior brings to the results."""
    volumes = follow_up.prior.segmented.volumes
    return {
        "study": follow_up.prior.selection.case.study.study_instance_uid,
        "pet": volumes.pet.digest,
        "ct": None if volumes.ct is None else volumes.ct.digest,
        "correspondences": [asdict(each) for each in follow_up.correspondences],
        "names": {number: asdict(name) for number, name in follow_up.prior_names.items()},
    }


def _algorithm(algorithm: Algorithm) -> dict[str, object]:
    """An algorithm with all that decides its result: neither the time that it took nor what was batched."""
    run = algorithm.network
    content = asdict(replace(algorithm, network=None))
    if run is not None:
        content["network"] = {
            field.name: getattr(run, field.name) for field in fields(run) if field.name not in _OF_ONE_RUN
        }
    return content


def _time(quantified: Quantified) -> datetime:
    selection = quantified.selection
    headers = [
        instance.header
        for series in (selection.pet, selection.ct)
        if series is not None
        for instance in series.instances
    ]
    if selection.case.job.time is not None:
        return _wall_clock(selection.case.job.time, headers[0])
    stated = list(_stated(headers))
    if not stated:
        raise ResultRefusal(
            "TIME_UNKNOWN",
            "The study states no date and time at all, so its results cannot be dated. "
            "State the time in job.json.",
            "(0008,0021) SeriesDate",
        )
    return max(stated)


def _stated(headers: Sequence[Dataset]) -> Iterator[datetime]:
    """The moments that headers state."""
    for date_keyword, time_keyword in _STATED_TIMES:
        days, moments = column(headers, date_keyword, date_of), column(headers, time_keyword, time_of)
        for day, moment in set(zip(days, moments, strict=True)):
            if day is not None and moment is not None:
                yield datetime.combine(day, moment)
    yield from filter(None, column(headers, "AcquisitionDateTime", date_time_of))


def _wall_clock(moment: datetime, header: Dataset) -> datetime:
    """A job's time as the study's clock shows it; as stated when the study does not say its zone."""
    if moment.tzinfo is None:
        return moment
    offset = text_of(header, "TimezoneOffsetFromUTC")
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdecimal():
        minutes = min(int(offset[1:3]) * 60 + int(offset[3:]), 14 * 60)  # no zone is farther away
        zone = timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes))
        moment = moment.astimezone(zone)
    return moment.replace(tzinfo=None)
