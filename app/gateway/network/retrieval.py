"""Instances fetched from a PACS: C-GET, C-MOVE to ourselves (PS3.4 Annex C), or WADO-RS.

Each function writes the wanted instances of a study into a folder as they came, named by the hash of their
UID, or raises; whether all came is judged by who asked.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import Association, build_context, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from app.gateway.expected import expect
from app.gateway.network import dicomweb
from app.gateway.network.peers import PeerError, associate, status_error, status_of
from app.gateway.network.query import PENDING, FoundInstance
from app.gateway.settings import Remote
from app.gateway.spool import SUFFIX, Spool, StudyFolder, hashed
from operators.study.headers import TRANSFER_SYNTAXES
from operators.study.part10 import IMAGE_CLASSES

WANTED_CLASSES = IMAGE_CLASSES | {Comprehensive3DSRStorage}
"""What a prior consists of: PET, CT, and reports such as ours."""
CONTEXTS = 128
"""PS3.8 Table 9-18: context identifiers are odd and below 256."""
SETTLE_S = 5.0
"""How long what a C-MOVE brought may take to appear in the spool."""
SOME_FAILED = 0xB000
"""Sub-operations failed (PS3.4 C.4.2.1.5): of what was not wanted, or it shows as lacking."""
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}
_FAILURE, _OUT_OF_RESOURCES = 0xC000, 0xA700


class FetchError(Exception):
    """A prior was not fetched, for a reason of ours.

    Parameters
    ----------
    code : str
        ``TOO_LARGE``, ``OUT_OF_TIME``, ``STOPPED`` or ``NOT_WRITTEN``.
    sentence : str
        What happened.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


@dataclass(slots=True)
class Limits:
    """How much may be fetched, and for how long; what is fetched counts down.

    Parameters
    ----------
    until_s : float
        Monotonic time at which it ends.
    stop : callable
        Whether this process is to stop.
    """

    until_s: float
    stop: Callable[[], bool] = lambda: False
    instances: int = 4000
    bytes: int = 8 * 2**30

    @property
    def left_s(self) -> float:
        return self.until_s - time.monotonic()

    def check(self) -> None:
        """Raise FetchError when the time is over or this process is to stop."""
        if self.stop():
            raise FetchError("STOPPED", "the worker is being stopped")
        if self.left_s <= 0:
            raise FetchError("OUT_OF_TIME", "fetching the priors takes too long")

    def count(self, size: int) -> None:
        """Count one instance that was fetched."""
        self.check()
        self.instances -= 1
        self.bytes -= size
        if self.instances < 0 or self.bytes < 0:
            raise FetchError("TOO_LARGE", "the priors have more instances or bytes than may be fetched")


Wanted = Mapping[str, Sequence[FoundInstance]]
"""The instances of each series, by its UID."""


@dataclass(slots=True)
class _Received:
    """What C-GET brings, written as it comes."""

    folder: Path
    limits: Limits
    wanted: frozenset[str]
    error: FetchError | None = field(default=None)

    def store(self, event: evt.Event) -> int:
        """Handle one C-STORE sub-operation."""
        uid = str(event.request.AffectedSOPInstanceUID)
        if self.error is not None:
            return _FAILURE
        try:
            content = event.encoded_dataset()
            self.limits.count(len(content))
            if uid in self.wanted:
                (self.folder / f"{hashed(uid)}{SUFFIX}").write_bytes(content)
        except FetchError as error:
            self.error = error
        except OSError as error:
            self.error = FetchError("NOT_WRITTEN", error.strerror or type(error).__name__)
        if self.error is not None:
            event.assoc.dimse_timeout = 0.1  # nothing more comes that would be waited for
            event.assoc.abort()
            return _OUT_OF_RESOURCES
        return 0


def get(remote: Remote, study: str, wanted: Wanted, folder: Path, limits: Limits) -> None:
    """Fetch by C-GET, a series at a time on one association (PS3.4 C.4.3).

    Raises
    ------
    PeerError, FetchError
        It was cut short.
    """
    found = [instance for series in wanted.values() for instance in series]
    received = _Received(folder, limits, frozenset(instance.sop_instance_uid for instance in found))
    classes = sorted({one for instance in found for one in _classes(instance)})
    model = StudyRootQueryRetrieveInformationModelGet
    contexts = [build_context(model, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    # A context for each syntax, so that nothing has to be converted to another one to be sent.
    pairs = [(sop_class, syntax) for sop_class in classes for syntax in sorted(TRANSFER_SYNTAXES)]
    contexts += [build_context(sop_class, syntax) for sop_class, syntax in pairs][: CONTEXTS - 1]
    with associate(
        remote,
        contexts,
        handlers=[(evt.EVT_C_STORE, received.store)],
        roles=[build_role(sop_class, scp_role=True) for sop_class in classes],
        max_message_bytes=min(limits.bytes, 2**31),
    ) as association:
        for series in wanted:
            limits.check()
            try:
                _follow(
                    association, association.send_c_get(_identifier(study, series), model), limits, "C-GET"
                )
            except PeerError:
                if received.error is not None:
                    raise received.error from None
                raise


def move(
    remote: Remote, study: str, wanted: Wanted, folder: Path, limits: Limits, spool: Spool, ours: StudyFolder
) -> None:
    """Have the PACS send to our own AE title, and take the instances from the spool (PS3.4 C.4.2).

    The spool must be the receiver's own. That these instances came because we asked is written down
    before, so that they are not taken for a study to process.

    Raises
    ------
    PeerError, FetchError
        It was cut short.
    """
    since_s = time.time()
    expect(spool.root.parent, ours, since_s, since_s + limits.left_s)
    model = StudyRootQueryRetrieveInformationModelMove
    context = build_context(model, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    with associate(remote, [context]) as association:
        association.dimse_timeout = max(limits.left_s, 1.0)  # some send no pending responses
        for series in wanted:
            limits.check()
            answers = association.send_c_move(_identifier(study, series), ours.ae_title, model)
            _follow(association, answers, limits, "C-MOVE")
    names = [f"{hashed(one.sop_instance_uid)}{SUFFIX}" for series in wanted.values() for one in series]
    settled_s = time.monotonic() + SETTLE_S
    while time.monotonic() < settled_s and not all((ours.path / name).exists() for name in names):
        time.sleep(0.1)
    for name in names:
        _take(ours.path / name, folder / name, limits)
    expect(spool.root.parent, ours, since_s, time.time())


def wado(remote: Remote, study: str, wanted: Wanted, folder: Path, limits: Limits) -> None:
    """Fetch by WADO-RS, one instance at a time.

    Raises
    ------
    PeerError, FetchError
        It was cut short.
    """
    with dicomweb.connect(remote, max_bytes=min(limits.bytes, 2**31)) as client:
        for series, instances in wanted.items():
            for instance in instances:
                content = dicomweb.retrieve(client, study, series, instance.sop_instance_uid)
                limits.count(len(content))
                try:
                    (folder / f"{hashed(instance.sop_instance_uid)}{SUFFIX}").write_bytes(content)
                except OSError as error:
                    raise FetchError("NOT_WRITTEN", error.strerror or type(error).__name__) from error


def _classes(instance: FoundInstance) -> frozenset[str]:
    """Return the class of an instance, or all that it may have when the PACS does not tell."""
    return frozenset({instance.sop_class_uid}) if instance.sop_class_uid else WANTED_CLASSES


def _identifier(study: str, series: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID = study
    identifier.SeriesInstanceUID = series
    return identifier


def _follow(
    association: Association,
    answers: Iterable[tuple[Dataset, Dataset | None]],
    limits: Limits,
    asked: str,
) -> None:
    """Follow the responses to their end."""
    for answer, _ in answers:
        status = status_of(association, answer)
        if status in {0, SOME_FAILED}:
            return
        if status not in PENDING:
            raise status_error(status, asked)
        limits.check()


def _take(source: Path, target: Path, limits: Limits) -> None:
    try:
        limits.count(source.stat().st_size)
        os.link(source, target)
    except FileNotFoundError:
        return  # it did not come: who asked will see
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise FetchError("NOT_WRITTEN", error.strerror or type(error).__name__) from error
        shutil.copyfile(source, target)
