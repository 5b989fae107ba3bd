"""The receiver as a process: binds once, keeps its acceptors running, ends on SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import psutil
import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE

from app.gateway.receiver.receive import SILENT_S, bind, children, pulse_of_all, run_receive
from app.gateway.settings import Gateway, Receiver, Stow
from app.pulse import Pulse
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


def test_receiver_has_no_pulse_while_one_acceptor_has_none(tmp_path: Path) -> None:
    """Its port answers all the same: the kernel takes connections that nobody accepts."""
    gateway = Gateway(data=tmp_path, receiver=Receiver(processes=2))
    beat, file = pulse_of_all(gateway), tmp_path / "pulse" / "receive"
    beat()
    Pulse(tmp_path, "acceptor-1").beat()
    beat()
    assert not file.exists()
    Pulse(tmp_path, "acceptor-2").beat()
    beat()
    assert file.exists()
    file.unlink()
    silent = tmp_path / "pulse" / "acceptor-1"
    long_ago = silent.stat().st_mtime - SILENT_S - 1
    os.utime(silent, (long_ago, long_ago))
    pulse_of_all(gateway)()
    assert not file.exists()


def test_new_connections_are_refused_while_an_association_is_let_finish(tmp_path: Path) -> None:
    settings = {"gateway": {"receiver": {"processes": 2}, "stop_grace_s": 20}}
    with Theramap(tmp_path / "map", settings, role="receive") as running:
        sender = AE()
        sender.add_requested_context(CTImageStorage)
        association = sender.associate("127.0.0.1", running.port, ae_title="THERAMAP")
        assert association.is_established
        assert running.process is not None
        running.process.send_signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", running.port), 2).close()
            except ConnectionRefusedError:
                return True
            return False

        wait_until(refused, 5, "connections to be refused")
        assert association.is_established
        association.release()
        assert running.process.wait(15) == 0
