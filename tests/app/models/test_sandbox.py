"""The sandbox against code that runs in it: nothing written, read or reached outside."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.models import sandbox
from app.models.confine import landlock_abi
from app.models.sandbox import Finished, Limits, Sandbox, run_confined
from tests.conftest import missing


@dataclass(frozen=True)
class Room:
    """Where a child lives, and a secret beside it."""

    source: Path
    package: Path
    scratch: Path
    secret: Path

    def run(self, program: str, *, limits: Limits | None = None, unconfined: bool = False) -> Finished:
        return run_confined(
            "import json, os, sys\n" + program,
            json.dumps({"secret": str(self.secret), "package": str(self.package)}),
            read=[self.source],
            write=self.package,
            scratch=self.scratch,
            limits=limits or Limits(seconds=30),
            unconfined=unconfined,
        )

    def answer(self, expression: str) -> str:
        """What a program says of an expression: its value, or the error's class."""
        finished = self.run(
            f"def tried():\n try:\n  return {expression}\n except BaseException as e:\n"
            "  return type(e).__name__\n"
            "at = json.loads(payload)\nprint(tried(), file=sys.stderr)\n"
        )
        assert finished.status == 0, finished.output
        return finished.output.strip().splitlines()[-1]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    if not landlock_abi():
        missing("Landlock")
    folders = [tmp_path / name for name in ("source", "package", "scratch", "home")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "weights").write_text("weights")
    secret = folders[3] / "secret"
    secret.write_text("hunter2")
    return Room(folders[0], folders[1], folders[2], secret)


def test_says_which_protections_hold(room: Room) -> None:
    finished = room.run("")
    assert finished.status == 0
    assert finished.sandbox.confined
    assert finished.sandbox.landlock == landlock_abi()
    assert finished.sandbox.no_new_privileges
    assert f"files (Landlock {landlock_abi()})" in str(finished.sandbox)


def test_reads_the_source_and_writes_the_package(room: Room) -> None:
    finished = room.run(
        f"text = open({str(room.source / 'weights')!r}).read()\n"
        "open(json.loads(payload)['package'] + '/out', 'w').write(text)\n"
    )
    assert finished.status == 0, finished.output
    assert (room.package / "out").read_text() == "weights"


@pytest.mark.parametrize(
    "attempt",
    [
        "open(at['secret']).read()",
        "open('/etc/passwd').read()",
        "os.listdir('/')",
        "open(at['secret'], 'a')",
        "os.unlink(at['secret'])",
        "os.rename(at['secret'], at['secret'] + '2')",
        "os.truncate(at['secret'], 0)",
        "os.chmod(at['secret'], 0o777)",
        "os.utime(at['secret'])",
        "os.symlink('/', at['package'] + '/link')",
        "os.mkfifo(at['package'] + '/pipe')",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 9)",
        "__import__('resource').prlimit(os.getppid(), 7, (1, 1))",
        "open('/proc/%d/environ' % os.getppid()).read()",
    ],
)
def test_denies(room: Room, attempt: str) -> None:
    assert room.answer(attempt) == "PermissionError"
    assert room.secret.read_text() == "hunter2"
    assert list(room.package.iterdir()) == []


def test_reaches_no_network_even_of_this_machine(room: Room) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reached = room.answer(f"__import__('socket').create_connection(('127.0.0.1', {port}), 2)")
    assert reached in {"PermissionError", "OSError"}


def test_reaches_no_socket_that_is_a_file(room: Room, tmp_path: Path) -> None:
    path = tmp_path / "home" / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert room.answer("__import__('socket').socket(1)") == "PermissionError"


@pytest.mark.parametrize(("gone", "left"), [("_filter_calls", "namespace"), ("_leave_network", "calls")])
def test_each_layer_alone_shuts_the_network(
    room: Room, monkeypatch: pytest.MonkeyPatch, gone: str, left: str
) -> None:
    without = f"import app.models.confine as c\nc.{gone} = lambda: False\n"
    monkeypatch.setattr(sandbox, "ENTER", without + sandbox.ENTER)
    with socket.create_server(("127.0.0.1", 0)) as server:
        finished = room.run(
            f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)\n"
        )
    if finished.refused and left == "namespace":
        missing("user namespaces")
    assert finished.status == 1
    assert "Error" in finished.output.strip().splitlines()[-1]


def test_sees_no_environment(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERAMAP_DATABASE_PASSWORD", "hunter2")
    assert "hunter2" not in room.answer("dict(os.environ)")
    assert "hunter2" not in room.answer("open('/proc/self/environ').read()")


def test_inherits_no_descriptor(room: Room) -> None:
    with room.secret.open() as held:
        os.set_inheritable(held.fileno(), True)
        assert room.answer(f"os.read({held.fileno()}, 9)") in {"OSError", "b''"}


def test_ends_a_child_at_its_deadline(room: Room) -> None:
    start = time.monotonic()
    finished = room.run("import time\ntime.sleep(60)", limits=Limits(seconds=1))
    assert finished.late
    assert finished.status == -9
    assert time.monotonic() - start < 10


def test_keeps_only_the_end_of_what_a_child_says(room: Room) -> None:
    finished = room.run("sys.stderr.write('x' * 1000000 + 'end')")
    assert len(finished.output) <= sandbox.KEPT_OUTPUT
    assert finished.output.endswith("end")


def test_limits_memory_and_the_size_of_files(room: Room) -> None:
    small = Limits(seconds=30, memory_bytes=1 << 30, file_bytes=1 << 20)
    finished = room.run("bytearray(2 << 30)", limits=small)
    assert "MemoryError" in finished.output
    finished = room.run(
        "open(json.loads(payload)['package'] + '/f', 'wb').write(bytes(2 << 20))", limits=small
    )
    assert finished.status != 0
    assert (room.package / "f").stat().st_size <= 1 << 20


def test_a_child_cannot_rewrite_its_report(room: Room) -> None:
    lie = json.dumps({"landlock": 99, "network_namespace": True})
    assert room.run(f"print({lie!r})").sandbox.landlock == landlock_abi()


def test_does_not_start_where_files_cannot_be_confined(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = "import app.models.confine as c\nc.landlock_abi = lambda: 0\n"
    monkeypatch.setattr(sandbox, "ENTER", blind + sandbox.ENTER)
    finished = room.run("open(json.loads(payload)['package'] + '/ran', 'w')")
    assert finished.refused
    assert not finished.sandbox.files
    assert list(room.package.iterdir()) == []
    assert room.run("", unconfined=True).status == 0


def test_threads_may_run(room: Room) -> None:
    program = (
        "import threading\nt = threading.Thread(target=print, args=('ran',), kwargs={'file': sys.stderr})\n"
    )
    assert room.run(program + "t.start()\nt.join()\n").output.strip() == "ran"


def test_a_child_that_dies_at_once_was_not_confined() -> None:
    assert Sandbox() == sandbox._report(b"Traceback")
    assert not Sandbox().confined
