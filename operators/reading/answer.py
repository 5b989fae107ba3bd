"""A segmentation with a reader's edit in its place, where one has come back and fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

import numpy as np

from operators.domain import (
    Claim,
    DrawnLesion,
    Instance,
    Note,
    Quality,
    Reading,
    RemovedUptake,
    Segmented,
    TrackedName,
    Volumes,
)
from operators.reading.difference import dice, judge
from operators.reading.edited import AnswerFaultError, Edited, read_edited
from operators.volume.pixels import DECODER_ERRORS

EDITED = "Edited by a reader: "
"""Goes before the title of the algorithm whose result was edited."""

SETTLED = frozenset(
    {
        "PHYSIOLOGICAL_NOT_REMOVED",
        "PHYSIOLOGICAL_UNKNOWN",
        "ORGANS_NOT_COVERED",
        "PHYSIOLOGICAL_DOUBTFUL",
        "PHYSIOLOGICAL_UNDECIDED",
        "UPTAKE_UNCERTAIN",
    }
)
"""Notes that say why regions are not called lesions: a person has said so since."""

READING_ERRORS = DECODER_ERRORS
"""What numbers of a hostile answer can raise that no check has foreseen: a ValueError, a TypeError, a
LookupError, an ArithmeticError, a MemoryError. Caught around the reading alone: a file that anybody may send
does not cost the study its automatic result. What is measured afterwards raises as ever."""


def with_answer(segmented: Segmented) -> Segmented:
    """Put what a reader has drawn in the place of the automatic mask, where the job names an answer.

    Parameters
    ----------
    segmented : Segmented
        The automatic one, physiological uptake already removed.

    Returns
    -------
    Segmented
        With the lesions of the last answer of the job that can be used, and how they differ. An answer that
        cannot be used is a note, and never costs the automatic result.
    """
    job = segmented.volumes.selection.case.job
    notes: list[Note] = []
    for sop_instance_uid in reversed(job.answers):
        try:
            edited = _read(segmented.volumes, sop_instance_uid)
        except AnswerFaultError as fault:
            sentence = f"The edited segmentation {sop_instance_uid} was not used: {fault.sentence}"
            notes.append(Note(fault.code, sentence))
            continue
        found = _edited(segmented, edited, sop_instance_uid)
        return replace(found, notes=(*found.notes, *notes, *edited.notes))
    return replace(segmented, notes=(*segmented.notes, *notes)) if notes else segmented


def read_names(reading: Reading | None, carried: Mapping[int, TrackedName]) -> dict[int, TrackedName]:
    """The names that a reader's lesions have, before those that priors would give them.

    Parameters
    ----------
    reading : Reading or None
        None: the names stay as they were carried.
    carried : mapping of int to TrackedName
        By lesion number.
    """
    if reading is None:
        return dict(carried)
    named = {number: one for number, one in enumerate(reading.lesions, start=1) if one.identifier}
    own = {one.uid for one in named.values()}
    since = {name.uid: name.since for name in carried.values()}
    names = {number: name for number, name in carried.items() if name.uid not in own}
    names |= {
        number: TrackedName(one.identifier, one.uid, since.get(one.uid)) for number, one in named.items()
    }
    return dict(sorted(names.items()))


def _read(volumes: Volumes, sop_instance_uid: str) -> Edited:
    try:
        return read_edited(_instance(volumes, sop_instance_uid), volumes)
    except READING_ERRORS as error:
        sentence = "it holds values that cannot be read as a segmentation. Save it again."
        raise AnswerFaultError("ANSWER_UNREADABLE", sentence) from error


def _instance(volumes: Volumes, sop_instance_uid: str) -> Instance:
    for series in volumes.selection.case.study.series:
        for instance in series.instances:
            if instance.sop_instance_uid == sop_instance_uid:
                return instance
    sentence = "the study holds no such instance that can be read."
    raise AnswerFaultError("ANSWER_MISSING", sentence)


def _edited(segmented: Segmented, edited: Edited, sop_instance_uid: str) -> Segmented:
    mask = np.zeros(segmented.mask.shape, np.bool_)
    for lesion in edited.lesions:
        mask[lesion.box] |= lesion.mask
    reading = _reading(segmented, edited, sop_instance_uid)
    return replace(
        segmented,
        mask=mask,
        claim=Claim.LESION,
        algorithm=replace(segmented.algorithm, title=f"{EDITED}{segmented.algorithm.title}"),
        notes=(*(note for note in segmented.notes if note.code not in SETTLED), _note(reading)),
        removed=tuple(region for region in segmented.removed if not _is_put_back(region, mask)),
        quality=_without_dice(segmented.quality),
        uncertain=(),
        reading=reading,
    )


def _reading(segmented: Segmented, edited: Edited, sop_instance_uid: str) -> Reading:
    pet = segmented.volumes.pet
    judged = judge(pet, segmented.mask, edited.lesions)
    return Reading(
        sop_instance_uid=sop_instance_uid,
        digest=_digest(edited.lesions),
        form=edited.form,
        grid=edited.grid,
        called_before=str(segmented.claim),
        lesions=edited.lesions,
        judged=judged,
        volume_before_ml=sum(one.volume_before_ml for one in judged),
        volume_after_ml=sum(one.volume_after_ml for one in judged),
        dice=dice(segmented.mask, edited.lesions),
    )


def _digest(lesions: tuple[DrawnLesion, ...]) -> str:
    content = sha256()
    for one in lesions:
        box = [(axis.start, axis.stop) for axis in one.box]
        content.update(repr((one.segment, one.identifier, one.uid, box)).encode())
        content.update(np.packbits(one.mask).tobytes())
    return content.hexdigest()


def _note(reading: Reading) -> Note:
    where = (
        "" if reading.grid == "pet" else " It was drawn on the CT, and taken over to the voxels of the PET."
    )
    return Note(
        "EDITED_BY_READER",
        "The lesions are those of a segmentation that a reader has edited; everything was measured from it."
        f"{where}",
    )


def _is_put_back(region: RemovedUptake, mask: np.ndarray) -> bool:
    """Whether a reader has drawn a lesion in what was removed as physiological."""
    return bool((mask[region.box] & region.mask).any())


def _without_dice(quality: Quality | None) -> Quality | None:
    """The Dice was predicted for the network's own mask."""
    return None if quality is None else replace(quality, predicted_dice=None)
