"""The chart's containers in the image: a study from the PACS and back through four of them."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import dcmread

from app.jobs.database import open_ledger
from app.jobs.tables import DeliveryState
from tests.helm import Chart, render
from tests.image import Image, marks
from tests.image_pod import Container, volume
from tests.servers import (
    AUTO_ROUTE,
    LOOPBACK,
    Orthanc,
    Postgres,
    free_port,
    phantom_study,
    quick_ae,
    storescu,
    wait_until,
)

pytestmark = marks()
STARTS_WITHIN_S = 120
NAME = "site-theramap"


def site_settings(orthanc: Orthanc) -> dict[str, Any]:
    """The site's own part of the values."""
    receiver = {"processes": 1, "keep_free_mib": 0}
    known = {"ae_titles": [quick_ae(pacs="pacs")], "remotes": [orthanc.remote()]}
    return {"gateway": {"stop_grace_s": 30, "receiver": receiver, **known}}


def on_this_machine(chart: Chart, port: int, postgres: Postgres) -> bytes:
    """The chart's settings file; hosts and ports are those of this machine."""
    content = chart.settings()
    gateway = content["gateway"]
    host = f"@{LOOPBACK}:{postgres.port}/"
    gateway["database"] = gateway["database"].replace(f"@{NAME}-postgres:5432/", host)
    gateway["receiver"]["port"] = port
    gateway["console"] = {"host": LOOPBACK, "port": free_port()}
    return yaml.safe_dump(content).encode()


def test_a_study_comes_back_through_the_charts_containers(image: Image, place: Path) -> None:
    with ExitStack() as stack:
        port = free_port()
        postgres = stack.enter_context(Postgres(place / "postgres"))
        orthanc = stack.enter_context(
            Orthanc(place / "orthanc", {"map": ("THERAMAP", port)}, lua=AUTO_ROUTE, stable_age_s=1)
        )
        chart = render({"settings": site_settings(orthanc)})
        keys = {"database-password": b"trusted on loopback", "site-key": os.urandom(48)}
        shared = {
            "settings": volume(place / "settings", {"theramap.yaml": on_this_machine(chart, port, postgres)}),
            "keys": volume(place / "keys", keys),
            "exchange": volume(place / "exchange"),
        }

        def container(kind: str, workload: str, name: str, data: Path) -> Container:
            manifest = chart.container(kind, workload, name)
            volumes = {**shared, "data": data, "tmp": volume(place / f"tmp-{name}")}
            made = Container(place / name, image, f"{NAME}{workload}-0", manifest, volumes)
            stack.callback(made.kill)
            made.start(STARTS_WITHIN_S)
            return made

        spool = volume(place / "spool")
        receive = container("StatefulSet", "-receive", "receive", spool)
        console = container("StatefulSet", "-receive", "console", spool)
        deliver = container("Deployment", "-deliver", "deliver", volume(place / "deliver-data"))
        assert ready_pod(chart, console) == 1
        work = container("Deployment", "-work", "work", volume(place / "work-data"))
        wait_until(lambda: ready_pod(chart, console) == 0, 60, "the helm test to pass", every_s=1)
        containers = [receive, console, deliver, work]
        for one in (receive, deliver, work):
            assert one.run(*one._manifest["livenessProbe"]["exec"]["command"]).returncode == 0

        study_comes_back(orthanc, postgres, place, seed=1)
        # The container is killed and starts again in its pod: it has its name at once, and goes on.
        work.kill()
        work.start(STARTS_WITHIN_S)
        study_comes_back(orthanc, postgres, place, seed=2)
        assert [one["name"] for one in work.log_events("executor_started")] == [f"work-{NAME}-work-0"] * 2

        assert [one.stop(within_s=45) for one in containers] == [0, 0, 0, 0]
        assert [path for one in containers for path in one.written()] == []
        named = b"PHANTOM-1"
        assert any(named in path.read_bytes() for path in spool.rglob("*.dcm"))  # so it would be found
        outside = [one.log_file for one in containers]
        outside += [path for one in place.glob("tmp-*") for path in one.rglob("*") if path.is_file()]
        assert not [path for path in outside if named in path.read_bytes()]


@pytest.mark.parametrize("after_s", [0.5, 1.0, 2.0, 4.0])
def test_a_container_that_is_still_starting_ends_when_told(image: Image, place: Path, after_s: float) -> None:
    """Also before it has a handler for that, and while it waits for its database."""
    content = render({}).settings()
    content["gateway"]["database"] = f"postgresql+psycopg://theramap@{LOOPBACK}:{free_port()}/theramap"
    settings = {"theramap.yaml": yaml.safe_dump(content).encode()}
    volumes = {
        "settings": volume(place / "settings", settings),
        "keys": volume(place / "keys", {"database-password": b"none", "site-key": os.urandom(48)}),
        **{name: volume(place / name) for name in ("exchange", "data", "tmp")},
    }
    manifest = render({}).container("Deployment", "-work", "work")
    work = Container(place / "work", image, f"{NAME}-work-0", manifest, volumes)
    with suppress(TimeoutError):  # once it waits for the database, it has a pulse
        work.start(after_s)
    try:
        assert work.stop(within_s=20) in {0, 128 + signal.SIGTERM}  # the second: before the entry has begun
    finally:
        work.kill()


def ready_pod(chart: Chart, console: Container) -> int:
    """Exit status of the helm test's program, run beside the console."""
    (manifest,) = chart.pods()[f"{NAME}-ready"]["containers"]
    program, host = manifest["args"]
    assert host == f"{NAME}-console"
    program = program.replace("8080", str(console.console_port))
    return console.run(*manifest["command"], program, LOOPBACK).returncode


def study_comes_back(orthanc: Orthanc, postgres: Postgres, place: Path, seed: int) -> None:
    """Send a phantom to the PACS, and wait until it has SEG and SR and has committed to keep them."""
    folder = phantom_study(place / f"study-{seed}", seed)
    done = storescu(folder, orthanc.dicom_port, called="PACS")
    assert done.returncode == 0, done.stderr
    uid = str(dcmread(next(folder.rglob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)
    ledger = open_ledger(postgres.url)

    def confirmed() -> bool:
        return len(ledger.deliveries.in_state(DeliveryState.CONFIRMED)) == seed

    try:
        wait_until(confirmed, 180, "the results to be confirmed", every_s=0.5)
    finally:
        ledger.engine.dispose()
    assert all(len(orthanc.sop_instance_uids(uid, kind)) == 1 for kind in ("SEG", "SR"))
