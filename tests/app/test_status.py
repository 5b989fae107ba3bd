"""What a person sees and does: list, resume, recall, run again; doctor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.doctor import examine
from app.finding import Mark
from app.health import build_app, readiness
from app.overview import count
from app.settings import Settings
from tests.app.site import Site, make_site
from tests.servers import free_port


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    path = tmp_path / "site.yaml"
    path.write_text(f"gateway: {{data: {tmp_path / 'data'}}}\n")
    monkeypatch.setenv("THERAMAP_SETTINGS", str(path))
    return make_site(tmp_path / "data")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(arguments))
    return result.exit_code, result.stdout or result.stderr


def parked(site: Site) -> str:
    study = site.spool.folder("THERAMAP", "1.2.3")
    site.store(study, 1)
    job = site.add_job(study)
    site.ledger.jobs.park(job, "DEATHS", "It died.")
    return job


def test_status_counts_and_lists_without_patients(site: Site) -> None:
    job = parked(site)
    code, output = run("status", "--json")
    content = json.loads(output)
    assert code == 0
    assert content["jobs"]["parked"] == 1
    assert content["lists"]["jobs"][0]["id"] == job
    assert content["lists"]["jobs"][0]["reason_code"] == "DEATHS"
    assert "1.2.3" not in output
    shown = run("status")[1]
    assert "1 parked" in shown
    assert job in shown  # whole, to be typed into theramap resume


def test_resume_queues_a_parked_job_once(site: Site) -> None:
    job = parked(site)
    assert run("resume", job) == (0, f"{job} is queued again\n")
    assert run("resume", job)[0] == 2
    assert "there is no job" in run("resume", "nothing")[1]
    assert count(site.ledger.engine).jobs["queued"] == 1


def test_recall_of_an_unknown_model_withdraws_nothing(site: Site) -> None:
    assert run("recall", "--model", "net@12") == (0, "0 studies' results of net@12 are withdrawn\n")


def test_rerun_of_an_unknown_study_says_so(site: Site) -> None:
    code, output = run("rerun", "1.2.9")
    assert code == 2
    assert "No study of this UID" in output


def test_not_ready_names_what_is_missing(site: Site) -> None:
    receiver = site.settings.receiver.model_copy(update={"port": free_port(), "keep_free_mib": 10**9})
    gateway = site.settings.model_copy(update={"receiver": receiver})
    found = {check.name: check.ok for check in readiness(gateway, site.ledger.engine)}
    assert found == {"database": True, "receiver": False, "work": False, "deliver": False, "space": False}
    assert {route.path for route in build_app(gateway).routes} == {
        "/health/live",
        "/health/ready",
        "/metrics",
    }


def test_doctor_names_what_fails_with_its_remedy(site: Site) -> None:
    remote = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": free_port(), "timeout_s": 2}
    receiver, console = {"keep_free_mib": 10**9, "port": free_port()}, {"port": free_port()}
    gateway = {"data": site.settings.data, "remotes": [remote], "receiver": receiver, "console": console}
    findings = examine(Settings.model_validate({"gateway": gateway}))
    failed = [one for one in findings if one.mark is Mark.FAILED]
    assert [one.subject for one in failed] == ["space", "C-ECHO pacs"]
    assert all(one.remedy for one in failed)


def test_gateway_help_is_instant_and_light() -> None:
    heavy = ("sqlalchemy", "dbos", "pynetdicom", "fastapi", "numpy", "pydantic_settings")
    code = (
        "import sys\nfrom app.cli import cli\nfrom typer.testing import CliRunner\n"
        "assert CliRunner().invoke(cli, ['serve', '--help']).exit_code == 0\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
