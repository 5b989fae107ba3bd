"""The spool: durable files under hashed names, and nothing left of what was not finished."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.gateway import spool as spool_module
from app.gateway.receiver.storing import Stated, file_meta
from app.gateway.spool import Part, Spool, SpoolFullError, Stored, Writer, hashed, is_intact, stored_digest

META = file_meta(Stated("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1"), "PEER", "MAP")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    with Writer(Spool(tmp_path)) as opened:
        yield opened


def begun(writer: Writer, content: bytes = b"data set") -> Part:
    part = writer.part()
    part.write_header(META)
    part.write(content)
    return part


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != "lock")


@pytest.fixture(params=["nameless", "named"])
def any_file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With O_TMPFILE, and where the file system does not know it."""
    if request.param == "nameless":
        return
    real = os.open

    def refuse(path: object, flags: int, *rest: int, **named: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no nameless files")
        return real(path, flags, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(spool_module.os, "open", refuse)


@pytest.mark.usefixtures("any_file_system")
def test_new_duplicate_and_conflict(writer: Writer, tmp_path: Path) -> None:
    study = writer.spool.folder("MAP", "1.2")
    assert begun(writer, b"one").commit(study, "1.2.3") is Stored.NEW
    assert begun(writer, b"one").commit(study, "1.2.3") is Stored.DUPLICATE
    assert begun(writer, b"two").commit(study, "1.2.3") is Stored.CONFLICT
    assert begun(writer, b"two").commit(study, "1.2.3") is Stored.CONFLICT
    assert begun(writer, b"two").commit(study, "1.2.4") is Stored.NEW
    assert len(files(tmp_path / "spool")) == 2
    assert len(files(tmp_path / "aside")) == 1
    kept = study.path / f"{hashed('1.2.3')}.dcm"
    assert kept.read_bytes().endswith(b"DICM" + META + b"one")
    assert is_intact(kept)
    assert stored_digest(kept) == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"


@pytest.mark.usefixtures("any_file_system")
def test_discarded_part_leaves_nothing(writer: Writer, tmp_path: Path) -> None:
    begun(writer).discard()
    assert files(tmp_path) == []


def test_changed_file_is_not_intact(writer: Writer) -> None:
    study = writer.spool.folder("MAP", "1.2")
    begun(writer).commit(study, "1.2.3")
    (path,) = files(study.path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not is_intact(path)


def test_head_can_be_read_back(writer: Writer) -> None:
    part = begun(writer, bytes(range(100)))
    assert part.read_head(10) == bytes(range(10))
    assert part.read_head(1000) == bytes(range(100))
    part.discard()


@pytest.mark.parametrize("title", ["MAP", "A.B", "..", "A/B", "A~B", "A@B", ".live", "a b%"])
def test_any_ae_title_is_one_folder_within_the_spool(writer: Writer, tmp_path: Path, title: str) -> None:
    study = writer.spool.folder(title, "../../1.2")
    begun(writer).commit(study, "../../../x")
    mark = writer.mark_open(study, "0")
    assert [found.ae_title for found in writer.spool.studies()] == [title]
    assert writer.spool.open_studies() == {(title, study.key)}
    assert writer.spool.peers() == []
    assert mark.parent == writer.folder
    assert study.path.parent.parent == tmp_path / "spool"


def test_marks_of_peers_are_counted_and_are_no_open_studies(writer: Writer) -> None:
    marks = [
        writer.mark_peer(name, address) for name, address in (("0", "::1"), ("1", "::1"), ("2", "10.0.0.1"))
    ]
    assert sorted(writer.spool.peers()) == ["10.0.0.1", "::1", "::1"]
    assert writer.spool.open_studies() == set()
    marks[0].unlink()
    assert sorted(writer.spool.peers()) == ["10.0.0.1", "::1"]


def test_too_little_free_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpoolFullError):
        Spool(tmp_path, keep_free_bytes=2**60).require_space()
    Spool(tmp_path).require_space()


def test_killed_process_leaves_its_folder_until_it_is_removed(tmp_path: Path) -> None:
    """What it had acknowledged stays; what was under way, and its marks, go."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from app.gateway.spool import *\n"
        "with Writer(Spool(Path(sys.argv[1]))) as writer:\n"
        "    study = writer.spool.folder('MAP', '1.2')\n"
        "    writer.mark_open(study, '0')\n"
        "    (writer.folder / 'half.part').write_bytes(b'half')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        spool = Spool(tmp_path)
        assert spool.remove_dead() == 0
        assert len(spool.open_studies()) == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert spool.remove_dead() == 1
    assert spool.open_studies() == set()
    assert files(tmp_path) == []


def test_folder_of_a_process_that_died_before_its_lock_is_removed_later(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    unborn = spool.root / ".live" / ".1-0"
    unborn.mkdir()
    assert spool.remove_dead() == 0
    os.utime(unborn, (0, 0))
    assert spool.remove_dead() == 1
    assert not unborn.exists()


def test_many_threads_store_the_same_instance_once(writer: Writer, tmp_path: Path) -> None:
    study = writer.spool.folder("MAP", "1.2")
    outcomes: list[Stored] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(begun(writer).commit(study, "1.2.3")))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [Stored.DUPLICATE] * 15 + [Stored.NEW]
    assert len(files(tmp_path)) == 1


def test_study_folder_that_is_removed_meanwhile_is_an_os_error_or_made_again(writer: Writer) -> None:
    study = writer.spool.folder("MAP", "1.2")
    begun(writer).commit(study, "1.2.3")
    (path,) = files(study.path)
    path.unlink()
    study.path.rmdir()
    assert begun(writer).commit(study, "1.2.3") is Stored.NEW
