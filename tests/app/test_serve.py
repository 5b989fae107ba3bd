"""The supervisor: all roles run, come back, and go with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from app.serve import roles
from tests.servers import Theramap, descendants, echo, wait_until

_PLAIN = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str) -> tuple[int, str]:
    try:
        with _PLAIN.open(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def test_each_role_is_a_process() -> None:
    assert [child.name for child in roles()] == ["receive", "work", "deliver", "console"]


def test_role_that_is_still_being_loaded_ends_when_told(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time\n"
        "from app.cli_gateway import _start\n"
        "_start('deliver', supervised=False)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(5)\n"
        "sys.exit(7)\n"
    )
    environment = {**os.environ, "THERAMAP_GATEWAY__DATA": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


@pytest.mark.slow
def test_site_becomes_ready_survives_kills_and_stops_cleanly(tmp_path: Path) -> None:
    settings = {"gateway": {"work": {"heartbeat_s": 0.5}, "receiver": {"processes": 1}, "stop_grace_s": 20}}
    with Theramap(tmp_path, settings) as site:
        address = f"http://127.0.0.1:{site.console_port}"
        wait_until(lambda: get(f"{address}/health/ready")[0] == 200, 40, "the site to be ready")
        assert json.loads(get(f"{address}/health/live")[1]) == {"status": "live"}
        checks = json.loads(get(f"{address}/health/ready")[1])["checks"]
        assert [check["name"] for check in checks] == ["database", "receiver", "work", "deliver", "space"]
        metrics = get(f"{address}/metrics")[1]
        assert 'theramap_jobs{state="queued"} 0.0' in metrics
        assert 'theramap_workers{role="work"} 1.0' in metrics

        def beating() -> set[str]:
            lines = get(f"{address}/metrics")[1].splitlines()
            pulses = [line for line in lines if line.startswith("theramap_pulse_seconds{")]
            return {line.split('"')[1] for line in pulses if float(line.split()[-1]) < 30}

        wait_until(lambda: beating() == {"receive", "keeper", "work", "deliver"}, 30, "every pulse")

        # the supervisor is killed: the kernel ends its roles, and a new one starts at once
        assert site.process is not None
        family = descendants(site.process.pid)
        assert len(family) >= 6
        site.process.kill()
        site.process.wait()
        gone, alive = psutil.wait_procs(family, 10)
        assert (len(gone), alive) == (len(family), [])
        site.start()
        wait_until(lambda: get(f"{address}/health/live")[0] == 200, 40, "the site to live again")

        # a killed role comes back
        (console,) = (one for one in descendants(site.process.pid) if "console" in one.cmdline())
        console.kill()
        wait_until(lambda: get(f"{address}/health/live")[0] == 200, 20, "the console to come back")

        family = descendants(site.process.pid)
        begun = time.monotonic()
        assert site.stop() == 0
        assert time.monotonic() - begun < 20
        assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        assert not echo(site.port, site.ae_title)
        assert site.log_events("process_killed") == []


def serve(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", "serve", "--settings", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_fault_of_the_settings_is_told_once_and_nothing_starts(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(f"gateway:\n  data: {tmp_path}/data\n  receiver: {{port: 8080}}\n")
    done = serve(path)
    assert done.returncode == 2
    assert done.stderr == (
        "settings: gateway.console.port: gateway.receiver.port is 8080 too; give each a port of its own\n"
    )


def test_port_of_another_program_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import app.serve
    from app.settings import Settings

    monkeypatch.setattr(app.serve, "FREE_WITHIN_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        receiver = {"host": "127.0.0.1", "port": port}
        (tmp_path / "data").mkdir()
        settings = Settings.model_validate({"gateway": {"data": tmp_path / "data", "receiver": receiver}})
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            assert app.serve.run_serve(settings) == 1
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def test_one_data_folder_has_one_supervisor(tmp_path: Path) -> None:
    from app.serve import lock

    first = lock(tmp_path)
    assert first is not None
    assert lock(tmp_path) is None
    first.close()
    second = lock(tmp_path)
    assert second is not None
    second.close()


def test_child_of_a_killed_parent_dies(tmp_path: Path) -> None:
    """Without the kernel's help a killed supervisor would leave its roles behind."""
    grandchild = (
        "from app.process import die_with_parent; import time; die_with_parent(); "
        "print(1, flush=True); time.sleep(60)"
    )
    code = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-c', {grandchild!r}], stdout=subprocess.PIPE)\n"
        "p.stdout.readline(); print(p.pid, flush=True); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
        child.wait(10)
