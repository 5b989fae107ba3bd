"""The receiver as a process: binds once, keeps its acceptors running, ends on SIGTERM."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from app.gateway.receiver.receive import bind, children, run_receive
from app.gateway.settings import Receiver, Stow
from app.settings import Settings
from tests.servers import Theramap, echo, free_port, phantom_study, storescu, wait_until


def test_children_share_the_descriptor_of_the_listening_socket() -> None:
    port = free_port()
    receiver = Receiver(host="127.0.0.1", port=port, processes=3, stow=Stow(port=free_port()))
    with bind(receiver) as listener:
        started = children(receiver, listener)
        assert [child.name for child in started] == [
            "acceptor-1",
            "acceptor-2",
            "acceptor-3",
            "keeper",
            "stow",
        ]
        assert {child.pass_fds for child in started[:3]} == {(listener.fileno(),)}
        with pytest.raises(OSError, match="in use"):
            bind(receiver)


def test_taken_port_is_said_and_ends_the_role(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway = {"data": str(tmp_path), "receiver": {"host": "127.0.0.1", "port": port}}
        assert run_receive(Settings.model_validate({"gateway": gateway})) == 1
    assert "cannot_listen" in capfd.readouterr().err


def test_killed_acceptors_come_back_and_sigterm_ends_all(tmp_path: Path) -> None:
    study = phantom_study(tmp_path / "study", seed=6, slices=4)
    settings = {"gateway": {"receiver": {"processes": 2}, "stop_grace_s": 10}}
    with Theramap(tmp_path / "map", settings, role="receive") as running:
        before = running.pids_by_role()
        assert len(before["acceptor"]) == 2
        for pid in before["acceptor"]:
            psutil.Process(pid).kill()
        wait_until(lambda: echo(running.port, "THERAMAP"), 20, "an acceptor to come back")
        wait_until(lambda: len(running.pids_by_role().get("acceptor", [])) == 2, 20, "both to come back")
        assert storescu(study, running.port).returncode == 0
        everyone = [pid for pids in running.pids_by_role().values() for pid in pids]
        assert running.stop(20) == 0
        assert not any(psutil.pid_exists(pid) for pid in everyone)
        assert len(list((running.data / "spool").glob("THERAMAP/*/*.dcm"))) == 8
