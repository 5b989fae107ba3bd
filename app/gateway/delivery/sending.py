"""Sends instances as they lie on disk, by C-STORE (PS3.4 Annex B) or STOW-RS (PS3.18 section 10.5)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import requests
from pydicom.filereader import read_file_meta_info
from pynetdicom import Association, _config, build_context

from app.gateway.network import dicomweb
from app.gateway.network.peers import PeerError, associate, status_error, status_of
from app.gateway.settings import Remote
from app.log import get_logger, private

# Files go out as they are: read in pieces, never decoded and encoded again.
_config.STORE_SEND_CHUNKED_DATASET = True

SLOWEST_BYTES_PER_S = 32 * 2**10
"""A peer that takes an instance in more slowly is given up for this time."""

STORED: Final[Mapping[int, str]] = {
    0x0000: "success",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
    0x0111: "duplicate SOP instance",
}
"""Statuses (PS3.4 Table B.2-1, PS3.7 C.5) after which the destination has the instance.

Our UIDs derive from the content, so a duplicate is the same instance.
"""

HOPELESS: Final = range(0xA700, 0xA800)
"""Out of resources: what follows would fare no better."""

HTTP_ANSWERED: Final = frozenset({200, 202, 409})
"""All, some or none of the instances were stored (PS3.18 Table 10.5.3-1): the body says which."""

FAILED_SOP, REFERENCED_SOP = "00081198", "00081199"
SOP_INSTANCE, FAILURE_REASON, WARNING_REASON = "00081155", "00081197", "00081196"


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance in a Part 10 file."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def read_instance(path: Path) -> Instance:
    """Return what the File Meta Information of a file says it is (PS3.10 section 7.1)."""
    meta = read_file_meta_info(path)
    return Instance(
        path,
        str(meta.MediaStorageSOPClassUID),
        str(meta.MediaStorageSOPInstanceUID),
        str(meta.TransferSyntaxUID),
    )


def send(remote: Remote, instances: Sequence[Instance], begin: Callable[[], None]) -> None:
    """Send instances; when this returns the destination has stored all of them.

    Parameters
    ----------
    remote : Remote
        The destination; ``deliver`` says how.
    instances : sequence of Instance
        What is sent. One that is refused does not keep the others back.
    begin : callable
        Called once, when the destination has been reached and before anything goes out; what it raises
        ends the sending.

    Raises
    ------
    PeerError
        Why not everything was stored: the first reason.
    """
    how = _stow if remote.deliver == "stow" else _c_store
    refused = how(remote, instances, begin)
    if refused:
        raise refused[0]


def _c_store(remote: Remote, instances: Sequence[Instance], begin: Callable[[], None]) -> list[PeerError]:
    kinds = sorted({(one.sop_class_uid, one.transfer_syntax_uid) for one in instances})
    refused: list[PeerError] = []
    with associate(remote, [build_context(*kind) for kind in kinds]) as association:
        begin()
        for number, instance in enumerate(instances, 1):
            status = _c_store_one(remote, association, instance, number)
            if status is None:
                refused.append(PeerError("NO_CONTEXT", f"{remote.name} does not accept this SOP class"))
            elif status not in STORED:
                refused.append(status_error(status, "C-STORE"))
                if status in HOPELESS:
                    break
            elif status:
                _log_warning(remote, instance, status)
    return refused


def _c_store_one(remote: Remote, association: Association, instance: Instance, number: int) -> int | None:
    """Return the status of one C-STORE; None when its context was not accepted."""
    # The response is awaited from when the last byte was handed over, not from when it was sent.
    association.dimse_timeout = remote.timeout_s + instance.path.stat().st_size / SLOWEST_BYTES_PER_S
    if not association.is_established:
        raise PeerError("ABORTED", f"{remote.name} ended the association")
    try:
        answer = association.send_c_store(instance.path, msg_id=number % 0xFFFF + 1)
    except ValueError:
        return None
    except RuntimeError as error:  # it ended between our look and pynetdicom's
        raise PeerError("ABORTED", f"{remote.name} ended the association") from error
    return status_of(association, answer)


def _log_warning(remote: Remote, instance: Instance, status: int) -> None:
    get_logger().warning(
        "instance_stored_with_warning",
        destination=remote.name,
        instance=private(instance.sop_instance_uid),
        status=f"{status:04X}",
        meaning=STORED.get(status, "unknown"),
    )


def _stow(remote: Remote, instances: Sequence[Instance], begin: Callable[[], None]) -> list[PeerError]:
    with dicomweb.connect(remote) as client:
        begin()
        with _Multipart(instances, remote.timeout_s) as body:
            answer = client._session.post(
                f"{client.base_url}/studies",
                data=body,
                headers={"Content-Type": body.content_type, "Accept": "application/dicom+json"},
                allow_redirects=False,
            )
        if answer.status_code not in HTTP_ANSWERED:
            raise PeerError(
                f"HTTP_{answer.status_code:03d}",
                f"{remote.name} answered STOW-RS with HTTP status {answer.status_code}",
            )
        stored, failed = _read_answer(remote, answer)
    refused = []
    for instance in instances:
        status = failed.get(instance.sop_instance_uid, stored.get(instance.sop_instance_uid))
        if status is None:
            refused.append(
                PeerError("UNANSWERED", f"{remote.name} does not say what it did with an instance")
            )
        elif status not in STORED and instance.sop_instance_uid in failed:
            refused.append(status_error(status, "STOW-RS"))
        elif status:
            _log_warning(remote, instance, status)
    return refused


def _read_answer(remote: Remote, answer: requests.Response) -> tuple[dict[str, int], dict[str, int]]:
    """Return the stored instances with warnings and the failed ones with reasons (Table 10.5.3-2)."""
    try:
        content = json.loads(answer.content)
        found = content[0] if isinstance(content, list) else content
        return (
            {uid: reason or 0 for uid, reason in _references(found, REFERENCED_SOP, WARNING_REASON)},
            {
                uid: 0x0110 if reason is None else reason
                for uid, reason in _references(found, FAILED_SOP, FAILURE_REASON)
            },
        )
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise PeerError("MALFORMED", f"{remote.name} did not answer as STOW-RS does") from error


def _references(
    found: dict[str, dict[str, list[dict[str, dict[str, list[str]]]]]], sequence: str, reason: str
) -> Iterator[tuple[str, int | None]]:
    for item in found.get(sequence, {}).get("Value", []):
        given = item.get(reason, {}).get("Value")
        yield str(item[SOP_INSTANCE]["Value"][0]), int(given[0]) if given else None


class _Multipart:
    """A multipart/related body (RFC 2387) of files, read piece by piece; its length is known beforehand.

    A length rather than chunked encoding, for not every server takes chunks.
    """

    def __init__(self, instances: Sequence[Instance], timeout_s: float) -> None:
        digest = hashlib.sha256("/".join(one.sop_instance_uid for one in instances).encode())
        self._boundary = digest.hexdigest()[:32]
        self._instances = instances
        self._length = sum(len(self._head) + one.path.stat().st_size for one in instances)
        self._length += len(self._tail)
        self._deadline = time.monotonic() + timeout_s + self._length / SLOWEST_BYTES_PER_S
        self._stack = ExitStack()
        self._pieces = self._read()
        self._rest = b""

    def __enter__(self) -> _Multipart:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return self._length

    @property
    def content_type(self) -> str:
        return f'multipart/related; type="application/dicom"; boundary={self._boundary}'

    @property
    def _tail(self) -> bytes:
        return f"\r\n--{self._boundary}--\r\n".encode()

    @property
    def _head(self) -> bytes:
        # With the transfer syntax as a parameter, Orthanc takes none of it and answers 200.
        return f"\r\n--{self._boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()

    def _read(self) -> Iterator[bytes]:
        for instance in self._instances:
            yield self._head
            file: BinaryIO = self._stack.enter_context(instance.path.open("rb"))
            while piece := file.read(dicomweb.CHUNK_BYTES):
                yield piece
        yield self._tail

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes; empty at the end."""
        if time.monotonic() > self._deadline:
            raise requests.Timeout("the destination takes the instances in too slowly")
        if not self._rest:
            self._rest = next(self._pieces, b"")
        end = len(self._rest) if size < 0 else size
        piece, self._rest = self._rest[:end], self._rest[end:]
        return piece
