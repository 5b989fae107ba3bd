"""Backup with jobs in flight, and a restored site that goes on."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

from app.backup import BackupError, back_up, restore
from app.gateway.settings import Gateway
from app.jobs.tables import DeliveryState, JobState
from app.log import configure_log
from app.overview import count
from tests.app.site import Site, make_site
from tests.servers import Postgres


def busy_site(data: Path, **settings: object) -> Site:
    """A site with a queued, a running and a delivering job."""
    site = make_site(data, **settings)
    for number in range(3):
        study = site.spool.folder("THERAMAP", f"1.2.{number}")
        site.store(study, number, 1)
        job = site.add_job(study)
        if number == 1:
            site.ledger.jobs.start(job, "worker")
        if number == 2:
            site.end(job, 0, "pacs")
    configure_log("test", Gateway(data=data))
    return site


def check(site: Site) -> None:
    states = count(site.ledger.engine)
    assert {name: n for name, n in states.jobs.items() if n} == {"queued": 1, "running": 1, "done": 1}
    assert states.deliveries["waiting"] == 1
    with site.ledger.engine.connect() as connection:
        query = "SELECT count(*) FROM workflow_status WHERE status = 'ENQUEUED'"
        if site.ledger.engine.dialect.name == "postgresql":
            query = query.replace("workflow_status", "dbos.workflow_status")
        assert connection.exec_driver_sql(query).scalar() == 4  # three studies, one delivery
    for job in site.ledger.jobs.in_state(JobState.QUEUED, JobState.RUNNING):
        folder = site.exchange.fetch_input(job.study_key, job.manifest_digest, site.settings.data)
        assert len(list(folder.iterdir())) == 1
        assert site.ledger.jobs.start(job.id, "other") is not None
    (delivery,) = site.ledger.deliveries.in_state(DeliveryState.WAITING)
    assert site.exchange.has_output(delivery.job_id)


def test_restored_site_has_its_jobs_deliveries_and_files(tmp_path: Path) -> None:
    site = busy_site(tmp_path / "data")
    target = tmp_path / "site.tar"
    number = back_up(site.settings, target)
    assert target.stat().st_mode & 0o777 == 0o600
    key = (tmp_path / "data" / "site.key").read_bytes()
    site.ledger.engine.dispose()
    shutil.rmtree(tmp_path / "data")
    settings = Gateway(data=tmp_path / "new")
    assert restore(settings, target) == number
    assert (tmp_path / "new" / "site.key").read_bytes() == key
    check(make_site(tmp_path / "new"))


def test_files_newer_than_the_database_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = busy_site(tmp_path / "data")
    import app.backup

    copy = app.backup._copy_database

    def copy_then_arrive(*arguments):
        done = copy(*arguments)
        study = site.spool.folder("THERAMAP", "1.2.99")
        site.store(study, 99)
        site.add_job(study)
        return done

    monkeypatch.setattr(app.backup, "_copy_database", copy_then_arrive)
    back_up(site.settings, tmp_path / "site.tar")
    restore(Gateway(data=tmp_path / "new"), tmp_path / "site.tar")
    new = make_site(tmp_path / "new")
    study = new.spool.folder("THERAMAP", "1.2.99")
    assert len(study.files()) == 1
    assert new.add_job(study) == f"{study.study_key}-r1"
    assert len(new.inputs()) == 4


def test_hard_links_take_their_space_once(tmp_path: Path) -> None:
    site = busy_site(tmp_path / "data")
    back_up(site.settings, tmp_path / "site.tar")
    with tarfile.open(tmp_path / "site.tar") as tar:
        assert sum(member.islnk() for member in tar) == 3
    restore(Gateway(data=tmp_path / "new"), tmp_path / "site.tar")
    for path in (tmp_path / "new" / "spool").glob("*/*/*.dcm"):
        assert path.stat().st_nlink == 2


def test_restored_files_are_as_old_as_they_were(tmp_path: Path) -> None:
    site = busy_site(tmp_path / "data")
    ages = {path.name: path.stat().st_mtime for path in (tmp_path / "data" / "spool").rglob("*.dcm")}
    back_up(site.settings, tmp_path / "site.tar")
    restore(Gateway(data=tmp_path / "new"), tmp_path / "site.tar")
    restored = {path.name: path.stat().st_mtime for path in (tmp_path / "new" / "spool").rglob("*.dcm")}
    assert restored == pytest.approx(ages, abs=1e-3)


def test_restores_into_an_empty_folder_only(tmp_path: Path) -> None:
    site = busy_site(tmp_path / "data")
    back_up(site.settings, tmp_path / "site.tar")
    with pytest.raises(BackupError, match="not empty"):
        restore(site.settings, tmp_path / "site.tar")
    with pytest.raises(BackupError, match="there already"):
        back_up(site.settings, tmp_path / "site.tar")
    with pytest.raises(BackupError, match="must not lie in the data folder"):
        back_up(site.settings, tmp_path / "data" / "site.tar")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "traversal", "absolute", "link", "hard link"])
def test_damaged_backup_leaves_nothing(tmp_path: Path, damage: str) -> None:
    site = busy_site(tmp_path / "data")
    target = tmp_path / "site.tar"
    back_up(site.settings, target)
    content = bytearray(target.read_bytes())
    if damage == "truncated":
        target.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        at = content.index(b"instance 1")
        content[at] ^= 1
        target.write_bytes(content)
    else:
        with tarfile.open(target, "w") as tar:
            names = {"traversal": "../../outside", "absolute": str(tmp_path / "outside")}
            member = tarfile.TarInfo(names.get(damage, "spool"))
            if damage == "link":
                member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            if damage == "hard link":
                member.type, member.linkname = tarfile.LNKTYPE, "../../site.tar"
            tar.addfile(member, io.BytesIO())
    with pytest.raises(BackupError):
        restore(Gateway(data=tmp_path / "new"), target)
    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_postgresql_is_backed_up_by_its_own_programs(tmp_path: Path) -> None:
    # not below tmp_path: another session of pytest makes its parent private again at any moment
    with tempfile.TemporaryDirectory() as home, Postgres(Path(home) / "pg") as server:
        site = busy_site(tmp_path / "data", database=server.url)
        back_up(site.settings, tmp_path / "site.tar")
        with pytest.raises(BackupError, match="database is not empty"):
            restore(Gateway(data=tmp_path / "new", database=server.url), tmp_path / "site.tar")
        with site.ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("CREATE DATABASE another")
        site.ledger.engine.dispose()
        url = server.url.removesuffix("/theramap") + "/another"
        restore(Gateway(data=tmp_path / "new", database=url), tmp_path / "site.tar")
        new = make_site(tmp_path / "new", database=url)
        check(new)
        new.ledger.engine.dispose()
