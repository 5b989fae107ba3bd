"""Runs a conversion in a child process that can do nothing but convert.

Foreign formats are code or may hide it: a pickle calls functions, TorchScript and ``$`` expressions are
programs. The child gets the source to read, one folder to write, no network, no secrets of the environment,
no descriptors, and a time to live. Its answer is a folder that the parent reads as it would any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.models.confine import NOT_CONFINED

GIB = 1 << 30
KEPT_OUTPUT = 64 << 10
"""Bytes of what the child says that are kept, from its end."""
ENTER = "from app.models.confine import enter\npayload = enter()\n"
"""The child's first act, before anything foreign is opened."""
_ROOT = Path(__file__).resolve().parents[2]
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/dev/urandom",
    "/dev/zero",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a conversion may use."""

    seconds: int = 1800
    memory_bytes: int = 24 * GIB
    """Of address space, of which a loaded torch alone takes several GiB."""
    file_bytes: int = 8 * GIB
    descriptors: int = 1024


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Which protections held."""

    landlock: int = 0
    """Version of the kernel's Landlock in force; 0: files are not confined."""
    network_namespace: bool = False
    system_calls: bool = False
    """Whether a filter refuses sockets, processes, signals and changes of other files' attributes."""
    no_new_privileges: bool = False

    @property
    def files(self) -> bool:
        return self.landlock > 0

    @property
    def network(self) -> bool:
        return self.network_namespace or self.system_calls

    @property
    def confined(self) -> bool:
        """Whether code may run in it."""
        return self.files and self.network

    def __str__(self) -> str:
        held = [
            f"files (Landlock {self.landlock})" if self.files else "",
            "network namespace" if self.network_namespace else "",
            "system calls" if self.system_calls else "",
            "no new privileges" if self.no_new_privileges else "",
        ]
        return ", ".join(part for part in held if part) or "none"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended."""

    sandbox: Sandbox
    status: int
    """Exit status; negative: the signal that ended it."""
    output: str
    """The end of what it said on standard error."""
    late: bool = False
    """Whether it was killed at its deadline."""

    @property
    def refused(self) -> bool:
        """Whether it did not start, since a protection that was asked for is missing."""
        return self.status == NOT_CONFINED


@dataclass(slots=True)
class _Stream:
    """The first line and the end of what a stream gave."""

    head: bytes = b""
    tail: bytes = b""

    def take(self, piece: bytes) -> None:
        self.head = (self.head + piece)[:4096] if len(self.head) < 4096 else self.head
        self.tail = (self.tail + piece)[-KEPT_OUTPUT:]

    @property
    def first_line(self) -> bytes:
        return self.head.partition(b"\n")[0]


def run_confined(
    program: str,
    payload: str,
    *,
    read: Sequence[Path],
    write: Path,
    scratch: Path,
    limits: Limits | None = None,
    unconfined: bool = False,
    threads: int = 2,
) -> Finished:
    """Run a Python program in the sandbox and wait for its end.

    Parameters
    ----------
    program : str
        Python, run once the child has shut itself in; finds the variable ``payload``.
    payload : str
        For the program.
    read : sequence of Path
        Folders and files that it may read beside Python and the libraries.
    write : Path
        Folder that it may write.
    scratch : Path
        Folder for its temporary files, its home too.
    limits : Limits, optional
    unconfined : bool
        Run also where files or the network cannot be shut off.
    threads : int

    Returns
    -------
    Finished
    """
    limits = limits or Limits()
    orders = {
        "read": [*_interpreter(), *map(str, read)],
        "write": [str(write), str(scratch), "/dev/null"],
        "limits": {
            "AS": limits.memory_bytes,
            "CPU": limits.seconds * threads,
            "FSIZE": limits.file_bytes,
            "NOFILE": limits.descriptors,
            "CORE": 0,
        },
        "required": not unconfined,
        "payload": payload,
    }
    paths = [str(_ROOT), *_libraries()]
    start = (
        f"import sys\nsys.path = {paths!r}\n"
        # found now, since the folder that holds them cannot be listed later
        "import app.models, operators.segmentation\n"
        f"{ENTER}"
    )
    child = subprocess.Popen(  # noqa: S603  our own interpreter and text
        [sys.executable, "-I", "-B", "-c", start + program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=scratch,
        env=_environment(scratch, threads),
        close_fds=True,
        start_new_session=True,
    )
    try:
        out, err, late = _listen(child, json.dumps(orders).encode(), limits.seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        status = child.wait()
    return Finished(_report(out.first_line), status, err.tail.decode(errors="replace"), late)


def _interpreter() -> Iterator[str]:
    """Yield what Python needs to read: itself, the libraries, this application's source."""
    yield from _SYSTEM
    yield from _prefixes()
    yield from (str(_ROOT / name) for name in ("app", "operators"))
    yield from _libraries()


def _prefixes() -> set[str]:
    return {sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parents[1])} - {"/"}


def _libraries() -> list[str]:
    """Folders of modules: the standard library's and the installed ones, never a script's own."""
    return [
        path
        for path in sys.path
        if Path(path).name in {"site-packages", "dist-packages"}
        or any(Path(path).is_relative_to(prefix) for prefix in _prefixes() if path)
    ]


def _environment(scratch: Path, threads: int) -> dict[str, str]:
    """Give nothing of ours: variables hold the database's password and the object store's keys."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(scratch),
        # some libraries ask for it at import, and the table of users is out of reach
        "USER": "theramap",
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",
    }


def _listen(child: subprocess.Popen[bytes], orders: bytes, seconds: float) -> tuple[_Stream, _Stream, bool]:
    """Give the child its orders and read what it says until it ends or its time is up."""
    end = time.monotonic() + seconds
    if child.stdin is None or child.stdout is None or child.stderr is None:
        raise ValueError("the child has no pipes")
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(orders)
        child.stdin.close()
    streams: dict[IO[bytes], _Stream] = {child.stdout: _Stream(), child.stderr: _Stream()}
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = end - time.monotonic()
            if left <= 0:
                return streams[child.stdout], streams[child.stderr], True
            for key, _ in selector.select(left):
                piece = os.read(key.fd, 1 << 16)
                if piece:
                    streams[key.fileobj].take(piece)  # type: ignore[index]  # the streams registered above
                else:
                    selector.unregister(key.fileobj)
    return streams[child.stdout], streams[child.stderr], False


def _report(line: bytes) -> Sandbox:
    """Read the child's first line; a child that died before it was not confined."""
    try:
        return Sandbox(**json.loads(line))
    except (ValueError, TypeError):
        return Sandbox()
