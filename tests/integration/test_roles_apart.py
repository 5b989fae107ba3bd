"""Each role alone, as its pod has it: own data folder, settings of the chart, shared exchange and database.

No image and no cluster: the processes, settings and probes are those of the pods.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom import dcmread
from sqlalchemy import select

from app.jobs.tables import DeliveryState, JobState, commitments
from tests.helm import Chart, render
from tests.servers import (
    AUTO_ROUTE,
    LOOPBACK,
    ORTHANC,
    STORESCU,
    Orthanc,
    Postgres,
    Theramap,
    descendants,
    free_port,
    phantom_study,
    quick_ae,
    require,
    storescu,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TOOLS = Path(__file__).parents[2] / "map" / "tools"
LOST_AFTER_S = 4.0
DEAD_AFTER_S = 5
_PLAIN = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Cluster:
    """The pods' places: what they share, and a folder for each."""

    folder: Path
    chart: Chart
    orthanc: Orthanc
    port: int
    console_port: int
    database: str

    def pod(self, role: str, name: str, data: str) -> Theramap:
        """A role as its container runs it; the data folder is the pod's, which its containers share."""
        settings = self.chart.settings()
        gateway = settings["gateway"]
        gateway["data"] = str(self.folder / data)
        gateway["database"] = f"{self.database}?{gateway['database'].partition('?')[2]}"
        gateway["exchange"] = (self.folder / "exchange").as_uri()
        gateway["database_password_file"] = str(self.folder / "database-password")
        gateway["site_key_file"] = str(self.folder / "site-key")
        gateway["receiver"] |= {"host": LOOPBACK, "port": self.port}
        gateway["console"] = {"host": LOOPBACK, "port": self.console_port}
        gateway["work"] |= {"name": name}  # in a pod, its hostname
        return Theramap(self.folder / name, settings, role)

    def probe(self, kind: str, workload: str, container: str, data: str) -> tuple[int, str]:
        """Run a container's liveness command; what it asks for in minutes, within seconds."""
        path, *words = self.chart.container(kind, workload, container)["livenessProbe"]["exec"]["command"]
        assert path == "/opt/holoscan/app/tools"
        words = [re.sub(r"=\d+$", f"={DEAD_AFTER_S}", word) for word in words]
        environment = {**os.environ, "THERAMAP_GATEWAY__DATA": str(self.folder / data)}
        done = subprocess.run([TOOLS, *words], env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    def ask(self, path: str) -> tuple[int, str]:
        """What the console answers."""
        try:
            with _PLAIN.open(f"http://{LOOPBACK}:{self.console_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def failing(self) -> set[str]:
        """Names of the checks that keep the site from being ready."""
        code, text = self.ask("/health/ready")
        checks = {one["name"]: one["ok"] for one in json.loads(text)["checks"]}
        assert code == (200 if all(checks.values()) else 503)
        return {name for name, ok in checks.items() if not ok}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    require(ORTHANC, STORESCU)
    port = free_port()
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(tmp_path / "postgres"))
        orthanc = stack.enter_context(
            Orthanc(tmp_path / "orthanc", {"map": ("THERAMAP", port)}, lua=AUTO_ROUTE, stable_age_s=1)
        )
        (tmp_path / "database-password").write_text("any: this PostgreSQL trusts loopback\n")
        (tmp_path / "site-key").write_bytes(os.urandom(32))
        (tmp_path / "exchange").mkdir()
        yield Cluster(
            folder=tmp_path,
            chart=render({"settings": _settings(orthanc)}),
            orthanc=orthanc,
            port=port,
            console_port=free_port(),
            database=postgres.url,
        )


def _settings(orthanc: Orthanc) -> dict[str, Any]:
    """The site's own part of the values."""
    return {
        "device": "cpu",
        "gateway": {
            "stop_grace_s": 20,
            "receiver": {"processes": 1, "keep_free_mib": 0},
            "ae_titles": [quick_ae(pacs="pacs")],
            "remotes": [orthanc.remote(commitment_timeout_s=20, retry={"first_s": 1})],
            "work": {"poll_s": 0.1, "heartbeat_s": 0.5, "lost_after_s": LOST_AFTER_S},
        },
    }


def test_roles_in_pods_of_their_own_are_one_gateway(cluster: Cluster, tmp_path: Path) -> None:
    """The whole, in order: ready only with every role; studies come back; the dead are found and replaced."""
    with ExitStack() as stack:
        # The receiver's pod has two containers on one volume; the others have scratch of their own.
        receive = stack.enter_context(cluster.pod("receive", "receive-0", "receive-data"))
        console = stack.enter_context(cluster.pod("console", "receive-0", "receive-data"))
        deliver = stack.enter_context(cluster.pod("deliver", "deliver-a", "deliver-data"))
        wait_until(lambda: cluster.ask("/health/live")[0] == 200, 60, "the console to live")
        wait_until(lambda: cluster.failing() == {"work"}, 60, "all but workers to be there")

        # A study that comes while no worker is there waits, and makes itself known to the autoscaler.
        first = _push(cluster, tmp_path, 1)
        wait_until(lambda: _metric(cluster, "theramap_open_jobs") == 1, 60, "the study to be queued")
        workers = {
            name: stack.enter_context(cluster.pod("work", name, f"{name}-data"))
            for name in ("work-a", "work-b")
        }
        wait_until(lambda: cluster.failing() == set(), 60, "the site to be ready")
        ledger = receive.ledger()
        stack.callback(ledger.engine.dispose)
        _wait_for_results(cluster, ledger, first)
        wait_until(lambda: _metric(cluster, "theramap_workers", role="work") == 2, 30, "both workers")
        assert _metric(cluster, "theramap_open_jobs") == 0

        # Each probe says that its role lives.
        places = {
            "receive": ("StatefulSet", "-receive", "receive", "receive-data"),
            "deliver": ("Deployment", "-deliver", "deliver", "deliver-data"),
            "work-a": ("Deployment", "-work", "work", "work-a-data"),
            "work-b": ("Deployment", "-work", "work", "work-b-data"),
        }
        assert {name: cluster.probe(*place) for name, place in places.items()} == dict.fromkeys(
            places, (0, "")
        )
        assert _probe_s(cluster, places["work-a"]) < 0.5

        # A worker is killed in the midst of a study: the other takes it over.
        second = _push(cluster, tmp_path, 2)
        busy = _wait_for_worker(ledger, second)
        workers[busy].kill()
        _wait_for_results(cluster, ledger, second)
        job = _job(ledger, second)
        assert (job.starts, job.worker) == (2, f"work-{({'work-a', 'work-b'} - {busy}).pop()}")

        # A role that hangs is dead to its probe, and a new one goes on with what it was at.
        _freeze(deliver)
        wait_until(lambda: cluster.probe(*places["deliver"])[0] == 1, 20, "the probe to find it")
        assert cluster.probe(*places["deliver"])[1].startswith("deliver has been silent for ")
        assert cluster.probe(*places["receive"]) == (0, "")
        third = _push(cluster, tmp_path, 3)
        wait_until(lambda: "deliver" in cluster.failing(), 30, "the console to miss it")
        deliver.kill()
        deliver.start()
        _wait_for_results(cluster, ledger, third)
        assert cluster.failing() == set()
        _freeze(receive)
        wait_until(lambda: cluster.probe(*places["receive"])[0] == 1, 20, "the receiver's probe")
        receive.kill()

        _assert_logs_name_no_study(third, receive, deliver, *workers.values())
        _assert_log_hashes_with_the_site_key(receive, ledger, tmp_path / "site-key")
        assert console.stop() == 0
        assert deliver.stop() == 0
    assert not (tmp_path / "work-a-data" / "spool").exists()
    assert not list(tmp_path.glob("*-data/site.key"))


def _push(cluster: Cluster, folder: Path, seed: int) -> str:
    """Send a phantom study to the PACS, which routes it; its Study Instance UID."""
    study = phantom_study(folder / f"study-{seed}", seed)
    done = storescu(study, cluster.orthanc.dicom_port, called="PACS")
    assert done.returncode == 0, done.stderr
    return str(dcmread(next(study.rglob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)


def _job(ledger: Any, study: str) -> Any:
    return next((one for one in ledger.jobs.in_state() if one.study_instance_uid == study), None)


def _wait_for_worker(ledger: Any, study: str) -> str:
    """Wait until a study is being computed; the name of the worker that is at it."""

    def running() -> bool:
        job = _job(ledger, study)
        assert job is None or job.state in {JobState.QUEUED, JobState.RUNNING}
        return job is not None and job.state == JobState.RUNNING

    wait_until(running, 60, "a worker to take the study", every_s=0.02)
    return str(_job(ledger, study).worker).removeprefix("work-")


def _wait_for_results(cluster: Cluster, ledger: Any, study: str) -> None:
    """Until SEG and SR of a study are in the PACS, and it has committed to keep them."""

    def arrived() -> bool:
        job = _job(ledger, study)
        found = ledger.deliveries.of_job(job.id) if job is not None else []
        return bool(found) and all(one.state == DeliveryState.CONFIRMED for one in found)

    wait_until(arrived, 90, "the results to be delivered and confirmed", every_s=0.3)
    assert all(len(cluster.orthanc.sop_instance_uids(study, kind)) == 1 for kind in ("SEG", "SR"))


def _metric(cluster: Cluster, name: str, **labels: str) -> float | None:
    wanted = name + (
        "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else ""
    )
    lines = cluster.ask("/metrics")[1].splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{wanted} ")), None)


def _probe_s(cluster: Cluster, place: tuple[str, str, str, str]) -> float:
    begun = time.monotonic()
    cluster.probe(*place)
    return time.monotonic() - begun


def _freeze(role: Theramap) -> None:
    """Stop a role and all its processes where they are, as a hanging disk would."""
    assert role.process is not None
    for process in (psutil.Process(role.process.pid), *descendants(role.process.pid)):
        process.send_signal(signal.SIGSTOP)


def _assert_logs_name_no_study(study: str, *roles: Theramap) -> None:
    assert not any(study in role.log() for role in roles)


def _assert_log_hashes_with_the_site_key(receive: Theramap, ledger: Any, key: Path) -> None:
    """Whoever has the key finds a commitment of the database in the receiver's log."""
    with ledger.engine.connect() as connection:
        asked = connection.execute(select(commitments.c.transaction_uid)).scalars().all()
    expected = {hmac.new(key.read_bytes(), uid.encode(), sha256).hexdigest()[:16] for uid in asked}
    logged = {one["transaction"] for one in receive.log_events("commitment_report")}
    assert logged
    assert logged <= expected
