from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from app.gateway.assembler.manifest import encode, read_entry
from app.gateway.spool import Spool, Writer
from app.jobs.exchange import INDEX, Exchange, ExchangeError, _Objects
from tests.servers import free_port

STUDY = "a" * 32


@pytest.fixture(params=["folder", "objects"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A shared folder, and a store that is not a file system."""
    if request.param == "folder":
        yield (tmp_path / "jobs").as_uri()
        return
    name = f"bucket-{secrets.token_hex(4)}"
    yield f"memory://{name}"
    store = fsspec.filesystem("memory")
    if store.exists(f"/{name}"):
        store.rm(f"/{name}", recursive=True)


@pytest.fixture
def study(tmp_path: Path) -> dict[str, Path]:
    """Three files of the spool by their names."""
    spool = Spool(tmp_path / "data")
    folder = spool.folder("THERAMAP", "1.2.3")
    with Writer(spool) as writer:
        for number in range(3):
            part = writer.part()
            part.write_header(_meta(f"1.2.3.{number}"))
            part.write(bytes([number]) * 1000)
            part.commit(folder, f"1.2.3.{number}")
    return {path.name: path for path in sorted(folder.path.iterdir())}


def _meta(uid: str) -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.128", uid
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


def _manifest(files: dict[str, Path]) -> bytes:
    return encode(entry for path in files.values() if (entry := read_entry(path, path.stat().st_size)))


def _output(folder: Path, content: str) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "results.json").write_text(content)
    (folder / "sub" / "seg.dcm").write_bytes(b"seg" + content.encode())
    return folder


def test_input_comes_back_bit_for_bit_under_the_digest_of_its_manifest(
    url: str, study: dict[str, Path], tmp_path: Path
) -> None:
    digest = Exchange(url).publish_input(STUDY, _manifest(study), study)
    folder = Exchange(url).fetch_input(STUDY, digest, tmp_path / "scratch")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: path.read_bytes() for name, path in study.items()
    }
    assert len(json.loads((folder.parent / "manifest.json").read_bytes())) == 3
    assert Exchange(url).publish_input(STUDY, _manifest(study), study) == digest


def test_local_input_is_linked_and_fetched_in_place(study: dict[str, Path], tmp_path: Path) -> None:
    exchange = Exchange((tmp_path / "data" / "jobs").as_uri())
    digest = exchange.publish_input(STUDY, _manifest(study), study)
    folder = exchange.fetch_input(STUDY, digest, tmp_path / "scratch")
    assert folder.is_relative_to(tmp_path / "data" / "jobs" / "inputs")
    assert all((folder / name).stat().st_ino == path.stat().st_ino for name, path in study.items())


def test_missing_input_and_output_are_said_by_code(url: str, tmp_path: Path) -> None:
    exchange = Exchange(url)
    with pytest.raises(ExchangeError) as caught:
        exchange.fetch_input(STUDY, "0" * 64, tmp_path / "scratch")
    assert caught.value.code == "INPUT_MISSING"
    with pytest.raises(ExchangeError) as caught:
        exchange.fetch_output(f"{STUDY}-r1", tmp_path / "scratch")
    assert caught.value.code == "OUTPUT_MISSING"
    exchange.remove_input(STUDY, "0" * 64)
    exchange.remove_output(f"{STUDY}-r1")


@pytest.mark.parametrize("damage", ["content", "lost", "added", "manifest"])
def test_damaged_local_input_is_not_given_to_the_map(
    damage: str, study: dict[str, Path], tmp_path: Path
) -> None:
    exchange = Exchange(str(tmp_path / "jobs"))
    digest = exchange.publish_input(STUDY, _manifest(study), study)
    folder = next((tmp_path / "jobs" / "inputs").iterdir())
    victim = folder / "files" / next(iter(study))
    if damage == "content":
        changed = bytearray(victim.read_bytes())
        changed[-1] ^= 1
        victim.write_bytes(changed)
    elif damage == "lost":
        victim.unlink()
    elif damage == "added":
        (folder / "files" / "more.dcm").write_bytes(b"x")
    else:
        (folder / "manifest.json").write_bytes(b"[]")
    with pytest.raises(ExchangeError) as caught:
        exchange.fetch_input(STUDY, digest, tmp_path / "scratch")
    assert caught.value.code == "INPUT_DAMAGED"


def test_damaged_object_is_not_given_to_the_map(study: dict[str, Path], tmp_path: Path) -> None:
    name = f"bucket-{secrets.token_hex(4)}"
    exchange, store = Exchange(f"memory://{name}"), fsspec.filesystem("memory")
    digest = exchange.publish_input(STUDY, _manifest(study), study)
    victim = next(path for path in store.find(f"/{name}") if path.endswith(".dcm"))
    store.pipe_file(victim, b"other")
    with pytest.raises(ExchangeError) as caught:
        exchange.fetch_input(STUDY, digest, tmp_path / "scratch")
    assert caught.value.code == "INPUT_DAMAGED"
    store.rm(f"/{name}", recursive=True)


def test_first_output_wins(url: str, tmp_path: Path) -> None:
    exchange, job = Exchange(url), f"{STUDY}-r1"
    assert not exchange.has_output(job)
    exchange.put_output(job, _output(tmp_path / "first", "1"))
    exchange.put_output(job, _output(tmp_path / "second", "2"))
    assert exchange.has_output(job)
    folder = exchange.fetch_output(job, tmp_path / "scratch")
    assert (folder / "results.json").read_text() == "1"
    assert (folder / "sub" / "seg.dcm").read_bytes() == b"seg1"


def test_outputs_put_at_the_same_moment_are_never_mixed(url: str, tmp_path: Path) -> None:
    job = f"{STUDY}-r1"
    folders = [_output(tmp_path / f"o{number}", str(number)) for number in range(8)]
    threads = [threading.Thread(target=Exchange(url).put_output, args=(job, folder)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Exchange(url).fetch_output(job, tmp_path / "scratch")
    won = (found / "results.json").read_text()
    assert (found / "sub" / "seg.dcm").read_text() == f"seg{won}"
    assert not list((tmp_path / "jobs").glob("outputs/.*"))


def test_losing_output_leaves_nothing_in_an_object_store(tmp_path: Path) -> None:
    name = f"bucket-{secrets.token_hex(4)}"
    store = fsspec.filesystem("memory")
    slow = _Objects(store, f"/{name}")
    slow.has = lambda *_: False  # type: ignore[method-assign]  it looked before the other had finished
    Exchange(f"memory://{name}").put_output("j-r1", _output(tmp_path / "first", "1"))
    slow.put("outputs", "j-r1", {"results.json": b"2"})
    assert len([path for path in store.find(f"/{name}") if not path.endswith(INDEX)]) == 2
    assert (Exchange(f"memory://{name}").fetch_output("j-r1", tmp_path) / "results.json").read_text() == "1"
    store.rm(f"/{name}", recursive=True)


def test_interrupted_publication_is_not_there_and_swept(study: dict[str, Path], tmp_path: Path) -> None:
    exchange = Exchange(str(tmp_path / "jobs"))
    lacking = {**study, "gone.dcm": tmp_path / "gone.dcm"}
    with pytest.raises(FileNotFoundError):
        exchange.publish_input(STUDY, _manifest(study), lacking)
    assert list((tmp_path / "jobs" / "inputs").iterdir()) == []
    killed = tmp_path / "jobs" / "inputs" / ".killed.0011"
    killed.mkdir()
    exchange.sweep(age_s=3600)
    assert killed.exists()
    exchange.sweep(age_s=-1)
    assert not killed.exists()


def test_removed_is_gone_and_may_come_again(url: str, study: dict[str, Path], tmp_path: Path) -> None:
    exchange = Exchange(url)
    digest = exchange.publish_input(STUDY, _manifest(study), study)
    exchange.remove_input(STUDY, digest)
    with pytest.raises(ExchangeError):
        exchange.fetch_input(STUDY, digest, tmp_path / "scratch")
    exchange.publish_input(STUDY, _manifest(study), study)
    assert len(list(exchange.fetch_input(STUDY, digest, tmp_path / "scratch").iterdir())) == 3


@pytest.mark.parametrize(
    "act",
    [
        lambda e, f: e.publish_input("../x", b"[]", {}),
        lambda e, f: e.publish_input("x", b"[]", {"../a": f}),
        lambda e, f: e.put_output("a/b", f.parent),
        lambda e, f: e.has_output(".hidden"),
    ],
)
def test_no_name_leads_out_of_the_exchange(act: Callable[[Exchange, Path], object], tmp_path: Path) -> None:
    file = tmp_path / "f" / "x"
    file.parent.mkdir()
    file.touch()
    with pytest.raises(ValueError, match="letters"):
        act(Exchange(str(tmp_path / "jobs")), file)


def test_object_store_that_cannot_be_reached_is_a_fault_of_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "x",
        "AWS_MAX_ATTEMPTS": "1",
        "FSSPEC_S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConnectionError, match="object store"):
        Exchange("s3://bucket/folder").has_output("s-r1")
