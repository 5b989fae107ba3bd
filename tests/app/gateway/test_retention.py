"""What is removed, and above all what is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.gateway.retention import TRASH, Cleaned, clean, holding
from app.gateway.spool import Spool, StudyFolder, Writer
from tests.app.site import KEY_OBJECT, Site, age, make_site

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path / "data")


def cleaned(site: Site) -> Cleaned:
    return clean(site.settings, site.ledger, site.exchange)


def old_study(
    site: Site, uid: str = "1.2.3", *destinations: str, days: float = 40
) -> tuple[StudyFolder, str]:
    study = site.spool.folder("THERAMAP", uid)
    for number in range(3):
        site.store(study, number, days)
    job = site.add_job(study)
    site.end(job, days, *destinations)
    return study, job


def test_finished_study_goes_after_its_days_with_its_input(site: Site) -> None:
    study, job = old_study(site)
    assert cleaned(site).studies == 1
    assert not study.path.exists()
    assert site.inputs() == []
    assert site.exchange.has_output(job)  # results stay for 90 days
    assert cleaned(site) == Cleaned()


def test_younger_study_stays(site: Site) -> None:
    study, _ = old_study(site, days=29)
    assert cleaned(site) == Cleaned()
    assert len(study.files()) == 3


def test_results_go_after_their_days_once(site: Site) -> None:
    _, job = old_study(site, days=91)
    assert cleaned(site) == Cleaned(studies=1, results=1)
    assert not site.exchange.has_output(job)
    assert cleaned(site) == Cleaned()


def _sent(site: Site, delivery: str) -> None:
    site.ledger.deliveries.start(delivery, 1)
    site.ledger.deliveries.sent(delivery, 1, "1.2.9", 300)


def _parked(site: Site, delivery: str) -> None:
    site.ledger.deliveries.park(delivery, "IDENTITY_CHANGED", "The patient has changed.")


@pytest.mark.parametrize("change", [lambda _site, _delivery: None, _sent, _parked])
def test_unconfirmed_result_keeps_study_and_result(site: Site, change: Callable[[Site, str], None]) -> None:
    study, job = old_study(site, "1.2.3", "pacs", days=400)
    delivery = f"{job}:results:pacs"
    change(site, delivery)
    assert cleaned(site) == Cleaned()
    assert len(study.files()) == 3
    assert site.exchange.has_output(job)
    site.ledger.deliveries.resume(delivery)
    site.ledger.deliveries.confirm(delivery)
    assert cleaned(site) == Cleaned(studies=1, results=1)


def test_study_whose_job_waits_runs_or_is_parked_stays(site: Site) -> None:
    study = site.spool.folder("THERAMAP", "1.2.3")
    site.store(study, 1, 400)
    job = site.add_job(study)
    assert cleaned(site) == Cleaned()
    site.ledger.jobs.start(job, "worker")
    assert cleaned(site) == Cleaned()
    site.ledger.jobs.park(job, "DEATHS", "It died three times.")
    assert cleaned(site) == Cleaned()
    assert len(site.inputs()) == 1


def test_open_study_stays(site: Site) -> None:
    study, _ = old_study(site)
    with Writer(site.spool) as writer:
        mark = writer.mark_open(study, "a1")
        assert cleaned(site) == Cleaned()
        mark.unlink()
        assert cleaned(site).studies == 1


def test_study_with_an_image_that_no_job_had_stays(site: Site) -> None:
    study, _ = old_study(site)
    site.store(study, 9, 35)
    assert cleaned(site) == Cleaned()
    assert len(study.files()) == 4


def test_late_object_that_is_no_image_only_begins_the_days_anew(site: Site) -> None:
    study, _ = old_study(site)
    path = site.store(study, 9, 5, KEY_OBJECT)
    assert cleaned(site) == Cleaned()
    age(path, 31)
    assert cleaned(site).studies == 1


def test_short_of_space_a_study_stays_while_an_edit_may_wait_for_its_revision(tmp_path: Path) -> None:
    site = make_site(tmp_path / "data", retention={"start_below_free_mib": 10**9})
    study, _ = old_study(site, days=2)
    path = site.store(study, 9, 0, SEGMENTATION)
    assert cleaned(site) == Cleaned()
    age(path, 1.5)  # the assembler has found that it is none
    assert cleaned(site).studies == 1


def test_images_that_have_no_job_yet_stay_and_others_go(site: Site) -> None:
    site.store(site.spool.folder("THERAMAP", "1.2.3"), 1, 400)
    other = site.spool.folder("THERAMAP", "1.2.4")
    site.store(other, 2, 31, KEY_OBJECT)
    foreign = site.spool.folder("FORMER", "1.2.5")  # an AE title that the settings no longer have
    site.store(foreign, 3, 31)
    assert cleaned(site).studies == 2
    assert [study.key for study in site.spool.studies()] == [site.spool.folder("THERAMAP", "1.2.3").key]


def test_short_of_space_finished_studies_go_before_their_days(tmp_path: Path) -> None:
    site = make_site(tmp_path / "data", retention={"start_below_free_mib": 10**9})
    finished, _ = old_study(site, "1.2.3", days=1)
    waiting, _ = old_study(site, "1.2.4", "pacs", days=1)
    assert cleaned(site).studies == 1
    assert not finished.path.exists()
    assert len(waiting.files()) == 3


def test_what_arrives_while_a_study_is_taken_away_brings_it_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver stores between the renaming and the second look: everything is there in the end."""
    study, _ = old_study(site)
    look = Spool.open_studies
    looks: list[int] = []

    def arrive_at_second_look(spool: Spool) -> set[tuple[str, str]]:
        looks.append(1)
        if len(looks) == 2:
            (away,) = (site.settings.data / TRASH).iterdir()
            late = StudyFolder(study.ae_title, study.key, away)
            site.store(late, 7)  # its name was resolved before the renaming
            site.store(study, 8)  # and this one's after it
        return look(spool)

    monkeypatch.setattr(Spool, "open_studies", arrive_at_second_look)
    assert cleaned(site) == Cleaned()
    assert len(looks) == 2
    assert len(study.files()) == 5
    assert list((site.settings.data / TRASH).iterdir()) == []


def test_after_a_kill_undecided_studies_return_and_decided_ones_go(site: Site) -> None:
    study, _ = old_study(site, days=1)
    trash = site.settings.data / TRASH
    trash.mkdir()
    study.path.rename(trash / f"THERAMAP~{study.key}~0")
    assert cleaned(site) == Cleaned()
    assert len(study.files()) == 3
    study.path.rename(trash / f".gone.THERAMAP~{study.key}~0")
    cleaned(site)
    assert list(trash.iterdir()) == []
    assert site.inputs() == []


def test_nothing_goes_while_a_backup_is_made(site: Site) -> None:
    old_study(site)
    with holding(site.settings.data, exclusive=True) as held:
        assert held
        assert cleaned(site) == Cleaned()
    assert cleaned(site).studies == 1


def test_what_was_set_aside_goes_after_its_days(site: Site) -> None:
    folder = site.settings.data / "aside" / "THERAMAP" / "study"
    folder.mkdir(parents=True)
    for name, days in (("old.dcm", 91), ("new.dcm", 89)):
        (folder / name).touch()
        age(folder / name, days)
    assert cleaned(site) == Cleaned(set_aside=1)
    assert [path.name for path in folder.iterdir()] == ["new.dcm"]
