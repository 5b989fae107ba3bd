"""The gateway in the image, with compose's settings: a study from the PACS and back, and a stop amid one."""

from __future__ import annotations

import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from pydicom import dcmread

from app.jobs.database import open_ledger
from app.jobs.tables import DeliveryState, JobState
from app.packaging.checkout import this_checkout
from tests.image import Image, marks
from tests.image_server import UID, ImageServer
from tests.servers import LOOPBACK, Orthanc, Postgres, free_port, phantom_study, storescu, wait_until

pytestmark = marks()
FILES = this_checkout().root / "map"
PASSWORD = "of-the-database"
STARTS_WITHIN_S = 120


class Pacs(Orthanc):
    ae_title = "ORTHANC"


@dataclass(frozen=True)
class Site:
    """What compose.yaml starts, with compose's files; hosts and ports are those of this machine."""

    orthanc: Pacs
    postgres: Postgres
    theramap: ImageServer

    def send(self, name: str, seed: int) -> str:
        """A phantom into the PACS, which routes it; its Study Instance UID."""
        folder = phantom_study(self.theramap.folder / name, seed, patient_id=name)
        done = storescu(folder, self.orthanc.dicom_port, called=self.orthanc.ae_title)
        assert done.returncode == 0, done.stderr
        return str(dcmread(next(folder.rglob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)

    def wait_for_results(self, study: str, jobs: int) -> None:
        """Until the PACS has SEG and SR of a study and has committed to keep those of so many jobs."""

        def arrived() -> bool:
            return all(self.orthanc.sop_instance_uids(study, modality) for modality in ("SEG", "SR"))

        wait_until(arrived, 180, "SEG and SR in the PACS")
        ledger = open_ledger(self.postgres.url)
        try:
            wait_until(
                lambda: len(ledger.deliveries.in_state(DeliveryState.CONFIRMED)) == jobs, 60, "commitment"
            )
            assert [job.state for job in ledger.jobs.in_state()] == [JobState.DONE] * jobs
        finally:
            ledger.engine.dispose()

    def health(self) -> int:
        address = f"http://{LOOPBACK}:{self.theramap.console_port}/health/ready"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=10) as answer:
            return int(answer.status)


@pytest.fixture
def site(image: Image) -> Iterator[Site]:
    port = free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        folder.chmod(0o755)
        lua = (FILES / "recipes" / "orthanc" / "theramap.lua").read_text("utf-8")
        node = {"theramap": ("THERAMAP", port)}
        orthanc = stack.enter_context(Pacs(folder / "orthanc", node, lua=lua, stable_age_s=1))
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        settings = compose_settings(port, orthanc.dicom_port, postgres.port)
        theramap = ImageServer(folder / "theramap", image, settings, {"database-password": PASSWORD + "\n"})
        stack.callback(theramap.kill)
        theramap.start(STARTS_WITHIN_S)
        yield Site(orthanc, postgres, theramap)


def compose_settings(port: int, orthanc_port: int, postgres_port: int) -> dict[str, Any]:
    """Return map/compose/theramap.yaml with the hosts and ports of this machine, and a quick PACS."""
    content: dict[str, Any] = yaml.safe_load((FILES / "compose" / "theramap.yaml").read_bytes())
    gateway = content["gateway"]
    gateway["database"] = gateway["database"].replace("@postgres/", f"@{LOOPBACK}:{postgres_port}/")
    (remote,), (ae,) = gateway["remotes"], gateway["ae_titles"]
    remote |= {"host": LOOPBACK, "port": orthanc_port}
    ae |= {"quiet_s": 1, "quiet_complete_s": 0.5}
    gateway["receiver"] = {"host": LOOPBACK, "port": port}
    gateway["console"] = {"host": LOOPBACK, "port": free_port()}
    return content


def test_a_study_comes_back_and_a_stop_amid_the_next_loses_nothing(image: Image, site: Site) -> None:
    before = files_of(image.root)
    wait_until(lambda: is_ready(site), 60, "the console to say ready", every_s=1)
    first = site.send("NAMED-4711", seed=1)
    site.wait_for_results(first, jobs=1)
    assert_without_rights(site.theramap)

    second = site.send("NAMED-4712", seed=2)
    wait_until(lambda: len(site.theramap.log_events("study_started")) == 2, 60, "the second study to start")
    began = time.monotonic()
    assert site.theramap.stop(within_s=75) == 0
    print(f"stopped amid a study within {time.monotonic() - began:.1f} s")
    assert site.theramap.log_events("stopped")
    assert not site.theramap.log_events("process_killed")

    site.theramap.start(STARTS_WITHIN_S)
    site.wait_for_results(second, jobs=2)
    assert site.theramap.stop(within_s=75) == 0
    assert files_of(image.root) == before
    assert_no_patient_outside_the_volume(site.theramap)


def is_ready(site: Site) -> bool:
    try:
        return site.health() == 200
    except OSError:
        return False


def files_of(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every file and folder of the image, as it was last written or changed."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            found[str(path)] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def assert_without_rights(server: ImageServer) -> None:
    """Every process of the container is uid 1000's, can do nothing more, and knows no password."""
    assert server.process is not None
    processes = psutil.Process(server.process.pid).children(recursive=True)
    assert len(processes) >= 6  # the supervisor, its roles, and the workers' own
    for process in processes:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        assert status["Uid"] == [str(UID)] * 4
        assert {status[name][0] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == ["1"]
        assert not any(PASSWORD in value for value in process.environ().values())


def assert_no_patient_outside_the_volume(server: ImageServer) -> None:
    """Neither name nor ID lies anywhere but in the volume, nor is in the log; nor is the password."""
    words = (b"NAMED-4711", b"NAMED-4712", b"Phantom^PETCT")
    outside = [server.scratch, server.folder / "output", server.folder / "nothing"]
    places = [path for folder in outside for path in folder.rglob("*") if path.is_file()]
    for path in (*places, server.log_file):
        content = path.read_bytes()
        assert not [word for word in (*words, PASSWORD.encode()) if word in content], path
    kept = [path.read_bytes() for path in server.data.rglob("*.dcm")]
    assert all(any(word in content for content in kept) for word in words)  # so they would have been found


def test_without_the_password_it_says_so_and_ends(image: Image) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        settings = compose_settings(free_port(), free_port(), free_port())
        theramap = ImageServer(Path(folder) / "theramap", image, settings, {})
        with pytest.raises(RuntimeError, match="ended at its start"):
            theramap.start(STARTS_WITHIN_S)
        assert theramap.process is not None
        assert theramap.process.wait(10) == 2
        log = theramap.log()
    (line,) = log.splitlines()
    assert line == (
        "settings: gateway.database_password_file: /run/secrets/database-password: No such file or "
        "directory; give a file that holds the password and that this user may read"
    )
