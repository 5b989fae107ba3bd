"""When a study becomes a job, and which instances the job has."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.uid import KeyObjectSelectionDocumentStorage, generate_uid
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app.gateway.assembler import assembler as assembler_module
from app.gateway.assembler.asking import Answer, Asker
from app.gateway.assembler.assembler import Assembler
from app.gateway.assembler.revision import RerunError, rerun
from app.gateway.expected import expect
from app.gateway.network.query import FoundSeries
from app.gateway.settings import Gateway
from app.gateway.spool import Spool, Stored, StudyFolder, Writer
from app.jobs.database import open_ledger, prepare_database
from app.jobs.exchange import Exchange
from app.jobs.ledger import Ledger
from app.jobs.tables import jobs
from tests.app.gateway.spooled import data_set_offset, file_meta_of, spool_files
from tests.servers import Orthanc, free_port, phantom_study, storescu

NOW = 1_760_000_000.0
QUIET_S, QUIET_COMPLETE_S = 60.0, 10.0


class Site:
    """A gateway with its spool, and one study to send."""

    def __init__(self, folder: Path, study: Path, pacs_port: int = 1, **ae: Any) -> None:
        content = {"title": "THERAMAP", "quiet_s": QUIET_S, "quiet_complete_s": QUIET_COMPLETE_S, **ae}
        remotes = [{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs_port}]
        self.settings = Gateway.model_validate(
            {"data": folder / "data", "ae_titles": [content, {"title": "STAT"}], "remotes": remotes}
        )
        self.spool = Spool(self.settings.data)
        prepare_database(self.settings.database_url)
        self.ledger: Ledger = open_ledger(self.settings.database_url)
        self.exchange = Exchange(self.settings.exchange_url)
        self.asker: FakeAsker = FakeAsker()
        self.files = sorted(study.glob("*"))
        self.uid = str(dcmread(self.files[0], stop_before_pixels=True).StudyInstanceUID)
        self.folder: StudyFolder = self.spool.folder("THERAMAP", self.uid)
        self.restart()

    def restart(self) -> None:
        arguments = (self.settings, self.spool, self.ledger, self.exchange)
        self.assembler = Assembler(*arguments, asker=self.asker, ask_apart_s=0)

    def send(self, files: list[Path] | None = None, at: float = NOW) -> list[Stored]:
        return spool_files(self.spool, self.files if files is None else files, arrival_s=at)

    def tick(self, now: float = NOW + QUIET_S + 1) -> Any:
        self.assembler.tick(now)
        return self.ledger.jobs.latest(self.folder.study_key)

    def manifest(self, job: Any) -> list[dict[str, Any]]:
        kept = self.exchange.fetch_input(job.study_key, job.manifest_digest, self.settings.data)
        content: list[dict[str, Any]] = json.loads((kept.parent / "manifest.json").read_bytes())
        assert sorted(path.name for path in kept.iterdir()) == [one["file"] for one in content]
        return content

    def clean(self) -> None:
        """Remove the study's files as retention does."""
        shutil.rmtree(self.folder.path)


class FakeAsker(Asker):
    """Answers in place of a PACS, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[frozenset[FoundSeries] | None] = []
        self.questions = 0

    def ask(self, study_key: str, *_: Any) -> bool:
        self.questions += 1
        if self.answers:
            self._answers[study_key] = Answer(time.monotonic(), self.answers.pop(0))
        return True


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom_study(tmp_path_factory.mktemp("study"), 1)


@pytest.fixture
def make_site(tmp_path: Path, study: Path) -> Callable[..., Site]:
    return lambda **ae: Site(tmp_path, study, **ae)


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """Without the shorter quiet time."""
    return make_site(quiet_complete_s=QUIET_S)


def write(path: Path, source: Path, **changes: str) -> Path:
    data = dcmread(source)
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    dcmwrite(path, data, enforce_file_format=True)
    return path


def key_object(path: Path, source: Path) -> Path:
    return write(path, source, SOPClassUID=KeyObjectSelectionDocumentStorage, SOPInstanceUID=generate_uid())


def another_slice(path: Path, source: Path) -> Path:
    return write(path, source, SOPInstanceUID=generate_uid())


def held(files: list[Path]) -> frozenset[FoundSeries]:
    """What a PACS says that has these files."""
    series: dict[tuple[str, str], int] = {}
    for path in files:
        data = dcmread(path, stop_before_pixels=True)
        key = (str(data.SeriesInstanceUID), str(data.Modality))
        series[key] = series.get(key, 0) + 1
    return frozenset(FoundSeries(uid, modality, count) for (uid, modality), count in series.items())


def test_a_study_waits_for_its_quiet_time(site: Site) -> None:
    site.send()
    assert site.tick(NOW + QUIET_S - 1) is None
    job = site.tick(NOW + QUIET_S + 1)
    assert (job.study_instance_uid, job.instances, job.revision, job.priority) == (site.uid, 16, 1, 10)
    assert job.time == "2025-10-09T08:53:20+00:00"
    manifest = site.manifest(job)
    assert len(manifest) == 16
    assert {one["sop_instance_uid"] for one in manifest} == {
        str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in site.files
    }


def test_a_study_waits_for_its_associations(site: Site) -> None:
    site.send()
    with Writer(site.spool) as writer:
        mark = writer.mark_open(site.folder, "1")
        assert site.tick(NOW + 10 * QUIET_S) is None
        mark.unlink()
        assert site.tick(NOW + 10 * QUIET_S).revision == 1


def test_a_finished_study_is_handed_over_once_also_after_a_restart(site: Site) -> None:
    site.send()
    for _ in range(3):
        assert site.tick().revision == 1
    site.restart()
    assert site.tick(NOW + 1e6).revision == 1
    assert len(site.ledger.jobs.in_state()) == 1


def test_objects_that_are_no_pet_or_ct_change_nothing(site: Site, tmp_path: Path) -> None:
    site.send()
    late = key_object(tmp_path / "ko", site.files[0])
    site.send([late], NOW + QUIET_S - 1)
    assert site.tick().revision == 1  # it does not prolong the quiet time
    later = key_object(tmp_path / "ko2", site.files[0])
    site.send([later], NOW + 500)
    job = site.tick(NOW + 1000)
    assert (job.revision, job.instances) == (1, 16)
    site.restart()
    assert site.tick(NOW + 2000).revision == 1


def test_a_study_of_other_objects_only_or_without_a_uid_never_runs(site: Site, tmp_path: Path) -> None:
    site.send([key_object(tmp_path / "ko", site.files[0])])
    nameless = write(tmp_path / "nameless", site.files[0], StudyInstanceUID="")
    site.send([nameless])
    site.tick(NOW + 1e6)
    assert site.ledger.jobs.in_state() == []


def test_a_late_slice_is_a_new_revision_after_its_own_quiet_time(site: Site, tmp_path: Path) -> None:
    site.send()
    site.tick()
    site.send([another_slice(tmp_path / "late", site.files[0])], NOW + 200)
    assert site.tick(NOW + 200 + QUIET_S - 1).revision == 1
    job = site.tick(NOW + 200 + QUIET_S + 1)
    assert (job.revision, job.instances, job.time) == (2, 17, "2025-10-09T08:56:40+00:00")
    assert len(site.manifest(job)) == 17


def test_results_of_ours_that_come_back_are_recognised(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[list[str]] = []
    own = site.ledger.results.own
    site.ledger.results.own = lambda uids: seen.append(list(uids)) or own(seen[-1])  # type: ignore[method-assign]
    site.send()
    site.tick()
    back = key_object(tmp_path / "ours", site.files[0])
    site.send([back], NOW + 500)
    for _ in range(3):
        site.tick(NOW + 1000)
    assert seen == [[str(dcmread(back).SOPInstanceUID)]]
    assert len(site.ledger.jobs.in_state()) == 1


# ---- the shorter quiet time ----------------------------------------------------------------------


def test_a_study_that_proves_complete_goes_sooner(make_site: Callable[..., Site]) -> None:
    site = make_site()
    site.send()
    assert site.tick(NOW + QUIET_COMPLETE_S - 1) is None
    assert site.tick(NOW + QUIET_COMPLETE_S + 1).revision == 1


def test_a_study_with_a_gap_waits(make_site: Callable[..., Site]) -> None:
    site = make_site()
    site.send(site.files[1:])
    assert site.tick(NOW + QUIET_S - 1) is None
    assert site.tick(NOW + QUIET_S + 1).instances == 15


def test_the_pacs_must_say_the_same_twice(make_site: Callable[..., Site]) -> None:
    site = make_site(pacs="pacs")
    site.send()
    whole = held(site.files)
    site.asker.answers = [held(site.files[:-1]), whole, whole, None]
    at = NOW + QUIET_COMPLETE_S + 1
    assert [site.tick(at) for _ in range(3)] == [None, None, None]
    assert site.tick(at).revision == 1
    assert site.asker.questions == 3


def test_a_pacs_that_has_more_or_cannot_be_asked_makes_it_wait(make_site: Callable[..., Site]) -> None:
    site = make_site(pacs="pacs")
    site.send()
    more = held(site.files) | {FoundSeries("1.2.3", "CT", 5)}
    site.asker.answers = [more, more, more, None, None]
    for _ in range(6):
        assert site.tick(NOW + QUIET_S - 1) is None
    assert site.tick(NOW + QUIET_S + 1).revision == 1


def test_results_in_the_pacs_do_not_matter_to_the_count(make_site: Callable[..., Site]) -> None:
    site = make_site(pacs="pacs")
    site.send()
    answer = held(site.files) | {FoundSeries("1.2.3", "SR", 1), FoundSeries("1.2.4", "SEG", 1)}
    site.asker.answers = [answer, answer]
    assert [bool(site.tick(NOW + QUIET_COMPLETE_S + 1)) for _ in range(3)] == [False, False, True]


# ---- after retention, and again --------------------------------------------------------------------


def test_the_same_study_sent_again_after_cleaning_is_nothing(site: Site) -> None:
    site.send()
    site.tick()
    site.clean()
    assert site.tick(NOW + 1e5).revision == 1
    site.send(at=NOW + 2e5)
    assert site.tick(NOW + 3e5).revision == 1


def test_a_late_slice_after_cleaning_is_joined_with_what_the_exchange_kept(
    site: Site, tmp_path: Path
) -> None:
    site.send()
    site.tick()
    site.clean()
    site.send([another_slice(tmp_path / "late", site.files[0]), site.files[3]], NOW + 1e5)
    job = site.tick(NOW + 2e5)
    assert (job.revision, job.instances) == (2, 17)
    assert len(site.manifest(job)) == 17
    site.restart()
    assert site.tick(NOW + 3e5).revision == 2


def test_half_a_study_after_everything_was_cleaned_is_reported_and_waits(site: Site) -> None:
    site.send()
    first = site.tick()
    site.clean()
    site.exchange.remove_input(first.study_key, first.manifest_digest)
    site.send(site.files[:7], NOW + 1e5)
    for _ in range(3):
        assert site.tick(NOW + 2e5).revision == 1
        site.restart()
    assert [(one.code, one.study_key) for one in site.ledger.incidents.latest()] == [
        ("INCOMPLETE_AGAIN", site.folder.study_key)
    ]
    site.send(at=NOW + 3e5)
    assert site.tick(NOW + 4e5).revision == 1  # the very same study: nothing to do


def test_what_was_asked_for_as_a_prior_does_not_run_until_more_is_sent(site: Site, tmp_path: Path) -> None:
    expect(site.settings.data, site.folder, NOW - 5, NOW + 5)
    site.send()
    assert site.tick(NOW + 1000) is None
    site.restart()
    assert site.tick(NOW + 2000) is None
    site.send([another_slice(tmp_path / "sent", site.files[0])], NOW + 3000)
    assert site.tick(NOW + 4000).instances == 17


def test_an_exchange_that_fails_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.send()

    def fail(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(site.exchange, "publish_input", fail)
        assert site.tick() is None
    assert site.tick() is None  # not at once
    monkeypatch.setattr("app.gateway.assembler.assembler.AGAIN_S", 0.0)
    site.restart()
    assert site.tick().revision == 1


def test_a_study_over_which_the_program_fails_does_not_hold_up_the_others(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.send()
    other = [write(tmp_path / f"{path.name}.dcm", path, StudyInstanceUID="1.2.3") for path in site.files[:2]]
    site.send(other)
    poison = site.spool.folder("THERAMAP", "1.2.3")
    real = assembler_module.read_entry

    def read(path: Path, size: int) -> Any:
        if path.parent == poison.path:
            raise RecursionError("of a patient's file")
        return real(path, size)

    monkeypatch.setattr(assembler_module, "read_entry", read)
    for _ in range(2):
        assert site.tick() is not None
        site.restart()
    (incident,) = site.ledger.incidents.latest()
    assert (incident.code, incident.study_key) == ("ASSEMBLER_FAULT", poison.study_key)
    assert "RecursionError at test_assembler.py" in incident.sentence
    monkeypatch.undo()
    site.restart()
    site.tick()
    assert site.ledger.jobs.latest(poison.study_key) is not None


def test_a_kill_between_publishing_and_the_job_changes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.send()

    def fail(*_: Any) -> str:
        raise OperationalError("insert", {}, Exception("database is locked"))

    with monkeypatch.context() as patched:
        patched.setattr(site.ledger.jobs, "add", fail)
        with pytest.raises(OperationalError):
            site.tick()
    site.restart()
    job = site.tick()
    assert (job.revision, len(site.manifest(job))) == (1, 16)


def test_an_ae_title_that_the_settings_no_longer_have_is_left_alone(site: Site) -> None:
    spool_files(site.spool, site.files, "GONE", NOW)
    site.tick(NOW + 1e5)
    assert site.ledger.jobs.in_state() == []


def test_a_damaged_slice_is_part_of_the_study_and_proves_nothing(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = make_site()
    short = tmp_path / "short"
    short.write_bytes(site.files[3].read_bytes()[:-200])
    monkey = [path for path in site.files if path != site.files[3]]
    site.send(monkey)
    with Writer(site.spool) as writer:
        head = dcmread(site.files[3], stop_before_pixels=True)
        part = writer.part()
        part.write_header(file_meta_of(head))
        part.write(short.read_bytes()[data_set_offset(site.files[3]) :])
        part.commit(site.folder, str(head.SOPInstanceUID))
    assert site.tick(time.time() + QUIET_COMPLETE_S + 5) is None
    assert site.tick(time.time() + QUIET_S + 5).instances == 16


# ---- a person asks for it ----------------------------------------------------------------------------


def test_rerun_from_the_spool_from_the_exchange_and_not_at_all(site: Site) -> None:
    arguments = (site.settings, site.ledger, site.spool, site.exchange, site.uid)
    with pytest.raises(RerunError, match="NOT_THERE"):
        rerun(*arguments)
    site.send()
    first = site.tick()
    assert rerun(*arguments) == f"{site.folder.study_key}-r2"
    site.clean()
    assert rerun(*arguments, "THERAMAP") == f"{site.folder.study_key}-r3"
    job = site.ledger.jobs.latest(site.folder.study_key)
    assert job is not None
    assert (job.origin, job.manifest_digest, job.instances) == ("rerun", first.manifest_digest, 16)
    assert job.time > first.time
    site.exchange.remove_input(first.study_key, first.manifest_digest)
    with pytest.raises(RerunError, match="NOT_THERE"):
        rerun(*arguments)


def test_rerun_replaces_an_input_that_was_damaged_by_what_the_spool_holds(site: Site) -> None:
    site.send()
    first = site.tick()
    kept = site.exchange.fetch_input(first.study_key, first.manifest_digest, site.settings.data)
    damaged = next(kept.iterdir())
    content = damaged.read_bytes()
    damaged.unlink()  # the spool's file is another name of the same
    damaged.write_bytes(content[:-1] + b"?")
    arguments = (site.settings, site.ledger, site.spool, site.exchange, site.uid)
    job = site.ledger.jobs.get(rerun(*arguments))
    assert len(site.manifest(job)) == len(site.files)  # fetched, and so verified
    kept = site.exchange.fetch_input(job.study_key, job.manifest_digest, site.settings.data)
    (kept / damaged.name).unlink()
    (site.folder.path / damaged.name).unlink()
    with pytest.raises(RerunError, match="NOT_THERE"):
        rerun(*arguments)  # half a study is not run


def test_rerun_wants_to_know_which(site: Site) -> None:
    site.send()
    spool_files(site.spool, site.files, "STAT", NOW)
    arguments = (site.settings, site.ledger, site.spool, site.exchange, site.uid)
    with pytest.raises(RerunError, match="SEVERAL_AE_TITLES"):
        rerun(*arguments)
    assert rerun(*arguments, "STAT").endswith("-r1")
    assert site.tick(NOW + 1e5).revision == 1
    with site.ledger.engine.begin() as connection:
        connection.execute(update(jobs).values(cleaned=True))


# ---- many ------------------------------------------------------------------------------------------


def test_a_tick_over_1000_finished_studies_is_cheap(site: Site) -> None:
    for number in range(1000):
        folder = site.spool.folder("THERAMAP", f"1.2.{number}").path
        folder.mkdir(parents=True)
    site.assembler.tick(time.time() + 10)
    begun = time.perf_counter()
    site.assembler.tick(time.time() + 10)
    elapsed_ms = (time.perf_counter() - begun) * 1000
    print(f"{elapsed_ms:.1f} ms")
    assert elapsed_ms < 50


# ---- a real PACS ---------------------------------------------------------------------------------------


def test_a_real_pacs_that_is_still_taking_the_study_in_makes_it_wait(tmp_path: Path, study: Path) -> None:
    with Orthanc(tmp_path / "orthanc", {"map": ("THERAMAP", free_port())}) as orthanc:
        site = Site(tmp_path, study, pacs="pacs", pacs_port=orthanc.dicom_port)
        site.asker = Asker()  # type: ignore[assignment]
        site.restart()
        site.send()
        at = NOW + QUIET_COMPLETE_S + 1

        def ticks(seconds: float) -> Any:
            deadline = time.monotonic() + seconds
            while site.tick(at) is None and time.monotonic() < deadline:
                time.sleep(0.05)
            return site.tick(at)

        assert storescu(site.files[:-1], orthanc.dicom_port, "PACS").returncode == 0
        assert ticks(1.5) is None
        assert storescu(site.files[-1:], orthanc.dicom_port, "PACS").returncode == 0
        assert ticks(10).instances == 16
