from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from app.gateway.settings import Work
from app.jobs.child import essence_of
from app.jobs.pool import DeathError, Pool, Task
from app.protocols import load_protocols
from app.settings import SETTINGS_VARIABLE
from tests.app.jobs.canned import write_result
from tests.app.jobs.site import Site
from tests.servers import phantom_study


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def study(site: Site) -> Path:
    """A study's files as the exchange has them."""
    job = site.ledger.jobs.get(site.queue_phantom(1))
    return site.exchange.fetch_input(job.study_key, job.manifest_digest, site.folder / "scratch")


@pytest.fixture(scope="module")
def pool(site: Site) -> Iterator[Pool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SETTINGS_VARIABLE, str(site.settings_file))
        running = Pool(Work(time_limit_s=60))
        yield running
        running.stop()


def _digest(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_study_is_run_and_its_input_is_left_as_it_was(pool: Pool, study: Path, tmp_path: Path) -> None:
    before = _digest(study)
    answer = pool.run(Task(study, tmp_path / "out"))
    assert answer.code == 0
    assert answer.essence == essence_of(study, load_protocols(None))
    assert json.loads((tmp_path / "out" / "results.json").read_bytes())["status"] == "completed"
    assert _digest(study) == before


def test_known_essence_is_not_run_again(pool: Pool, study: Path, tmp_path: Path) -> None:
    known = essence_of(study, load_protocols(None))
    answer = pool.run(Task(study, tmp_path / "out", known))
    assert (answer.code, answer.essence) == (None, known)
    assert not (tmp_path / "out").exists()


def test_refused_study_ends_with_2_and_no_essence(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.dcm").write_bytes(b"no DICOM")
    answer = pool.run(Task(tmp_path / "in", tmp_path / "out"))
    assert (answer.code, answer.essence) == (2, None)


def test_fault_is_told_without_its_message(pool: Pool, study: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder of the results should be")
    with pytest.raises(DeathError) as caught:
        pool.run(Task(study, tmp_path / "out"))
    assert caught.value.code == "FAULT"
    assert "FileExistsError at " in caught.value.sentence
    assert str(tmp_path) not in caught.value.sentence


def test_essence_is_of_the_selected_instances_only(study: Path, tmp_path: Path) -> None:
    protocols = load_protocols(None)
    whole = essence_of(study, protocols)
    copy = tmp_path / "copy"
    copy.mkdir()
    files = sorted(study.iterdir())
    for path in files:
        (copy / f"other-{path.name}").write_bytes(path.read_bytes())
    assert essence_of(copy, protocols) == whole
    other = phantom_study(tmp_path / "other", seed=2)
    assert essence_of(other, protocols) != whole


def test_a_readers_answer_is_part_of_the_essence(study: Path, tmp_path: Path) -> None:
    protocols = load_protocols(None)
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    header = dcmread(next(study.iterdir()), stop_before_pixels=True)
    write_result(copy, "seg", str(header.StudyInstanceUID), b"answer", str(header.PatientID))
    answer = dcmread(copy / "seg.dcm")
    answer.PatientName, answer.PatientBirthDate = header.PatientName, header.get("PatientBirthDate", "")
    answer.save_as(copy / "seg.dcm")
    assert essence_of(copy, protocols) == essence_of(study, protocols)
    job = {"schema_version": "1", "answers": [{"sop_instance_uid": str(answer.SOPInstanceUID)}]}
    (copy / "job.json").write_text(json.dumps(job))
    assert essence_of(copy, protocols) not in {None, essence_of(study, protocols)}
