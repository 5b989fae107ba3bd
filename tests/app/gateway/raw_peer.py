"""A scripted peer: raw PDUs on a socket, and our acceptors as processes, for what no toolkit would send."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from app.gateway.receiver.commands import Tag, encode
from app.settings import SETTINGS_VARIABLE

CALLED, CALLING = "THERAMAP", "PEER"
CONTEXT_ID = 1


class Acceptors:
    """Acceptor processes on a free port of loopback; ended on exit.

    Parameters
    ----------
    folder : Path
        Of the data, the settings and the log.
    receiver : mapping, optional
        Settings of the receiver beside host and port.
    gateway : mapping, optional
        Settings of the gateway beside these.
    """

    def __init__(
        self,
        folder: Path,
        receiver: Mapping[str, Any] | None = None,
        gateway: Mapping[str, Any] | None = None,
        processes: int = 1,
    ) -> None:
        self.data = folder / "data"
        self.log_file = folder / "acceptors.log"
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        settings = {
            "gateway": {
                "data": str(self.data),
                "receiver": {"host": "127.0.0.1", "port": self.port, "keep_free_mib": 0, **(receiver or {})},
                "stop_grace_s": 5,
                **(gateway or {}),
            }
        }
        self._settings = folder / "settings.yaml"
        self._settings.write_text(yaml.safe_dump(settings))
        self._count = processes
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        descriptor = self._listener.fileno()
        with self.log_file.open("ab") as log:
            for number in range(self._count):
                words = ["-m", "app.gateway.receiver.acceptor", str(descriptor), f"acceptor-{number}"]
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, *words],
                        pass_fds=(descriptor,),
                        env=os.environ | {SETTINGS_VARIABLE: str(self._settings)},
                        stderr=log,
                    )
                )
        deadline = time.monotonic() + 30
        while len(list((self.data / "spool" / ".live").glob("*/lock"))) < self._count:
            assert time.monotonic() < deadline, self.log_file.read_text()
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.kill()
            process.wait(10)
        self._listener.close()

    def stop(self) -> list[int]:
        """End them by SIGTERM; their exit codes."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(15) for process in self.processes]

    def alive(self) -> bool:
        return all(process.poll() is None for process in self.processes)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Lines of the log, those of one event when it is named."""
        lines = [json.loads(line) for line in self.log_file.read_text().splitlines()]
        return [line for line in lines if name in (None, line["event"])]

    def stored(self) -> list[Path]:
        """Files of instances in the spool."""
        root = self.data / "spool"
        return sorted(path for path in root.glob("*/*/*.dcm") if not path.is_relative_to(root / ".live"))

    def debris(self) -> list[Path]:
        """What is left of what was under way: parts and marks."""
        return [path for path in (self.data / "spool" / ".live").glob("*/*") if path.name != "lock"]

    def settle(self, seconds: float = 10) -> None:
        """Wait until nothing is under way."""
        deadline = time.monotonic() + seconds
        while self.debris():
            assert time.monotonic() < deadline, self.debris()
            time.sleep(0.02)


class RawPeer:
    """One connection; what is sent is up to the test."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_pdu(self) -> tuple[int, bytes]:
        """Type and content of the next PDU; (0, b"") when the other side has closed."""
        head = self._read(6)
        if len(head) < 6:
            return 0, b""
        return head[0], self._read(struct.unpack(">I", head[2:])[0])

    def associate(self, **options: Any) -> int:
        """Ask for an association; the type of the answer."""
        self.send(associate_rq(**options))
        return self.read_pdu()[0]

    def store(self, data_set: bytes, sop_instance_uid: str, sop_class_uid: str = CTImageStorage) -> int:
        """Store an instance; the status of the answer."""
        self.send(p_data(store_rq(sop_instance_uid, sop_class_uid), command=True))
        for start in range(0, max(len(data_set), 1), 16000):
            piece = data_set[start : start + 16000]
            self.send(p_data(piece, last=start + 16000 >= len(data_set)))
        kind, content = self.read_pdu()
        return status(content) if kind == 4 else -1

    def release(self) -> int:
        self.send(pdu(5, bytes(4)))
        return self.read_pdu()[0]

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return data
            if not piece:
                return data
            data += piece
        return data


def pdu(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBI", kind, 0, len(content) if length is None else length) + content


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def associate_rq(
    called: str = CALLED,
    calling: str = CALLING,
    contexts: Sequence[tuple[str, Sequence[str]]] = ((CTImageStorage, (ExplicitVRLittleEndian,)),),
    max_pdu_bytes: int = 16384,
    version: int = 1,
    roles: Sequence[tuple[str, int, int]] = (),
) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 section 9.3.2); contexts have the IDs 1, 3, 5, …"""
    items = item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, (abstract, syntaxes) in enumerate(contexts):
        inner = item(0x30, abstract.encode()) + b"".join(item(0x40, one.encode()) for one in syntaxes)
        items += item(0x20, bytes((2 * number + 1, 0, 0, 0)) + inner)
    user = item(0x51, struct.pack(">I", max_pdu_bytes)) + item(0x52, b"1.2.3.4")
    for uid, scu, scp in roles:
        user += item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp)))
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    return pdu(1, struct.pack(">HH", version, 0) + titles + bytes(32) + items + item(0x50, user))


def p_data(content: bytes, command: bool = False, last: bool = True, context_id: int = CONTEXT_ID) -> bytes:
    control = (1 if command else 0) | (2 if last else 0)
    return pdu(4, struct.pack(">IBB", len(content) + 2, context_id, control) + content)


def store_rq(sop_instance_uid: str, sop_class_uid: str = CTImageStorage) -> bytes:
    return encode(
        {
            Tag.AFFECTED_SOP_CLASS_UID: sop_class_uid,
            Tag.COMMAND_FIELD: 1,
            Tag.MESSAGE_ID: 7,
            Tag.COMMAND_DATA_SET_TYPE: 1,
            Tag.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
        }
    )


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """Return an element in explicit VR little endian."""
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    long = vr in (b"OB", b"OW", b"UN", b"SQ", b"UT")
    return head + (struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))) + value


def data_set(
    sop_instance_uid: str = "1.2.3",
    study: str | None = "1.2",
    sop_class_uid: str = CTImageStorage,
    pixels: bytes = bytes(32),
) -> bytes:
    """Return a minimal data set in explicit VR little endian."""
    found = element(0x00080016, b"UI", sop_class_uid.encode())
    found += element(0x00080018, b"UI", sop_instance_uid.encode())
    if study is not None:
        found += element(0x0020000D, b"UI", study.encode())
    return found + element(0x0020000E, b"UI", b"1.2.9") + element(0x7FE00010, b"OW", pixels)


def status(content: bytes) -> int:
    """Return the status of a response in a P-DATA-TF."""
    position = content.index(struct.pack("<HHI", 0, Tag.STATUS, 2))
    return int(struct.unpack_from("<H", content, position + 8)[0])
