"""Nothing about a hospital's use of the engines goes to their makers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LISTENING = """
import socket, sys, time
def leave(*address, **options):
    print("LEAVES", address, flush=True)
    raise OSError("no network here")
socket.socket.connect = leave
socket.getaddrinfo = leave
import operators.segmentation.engines
import openvino
{then}
time.sleep(0.5)
print("telemetry loaded:", sys.modules.get("openvino_telemetry") is not None)
"""


def run(home: Path, then: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [sys.executable, "-c", LISTENING.format(then=then)],
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def test_openvino_sends_nothing_when_it_is_imported(tmp_path: Path):
    assert run(tmp_path, "") == "telemetry loaded: False\n"
    assert not (tmp_path / "intel").exists()  # where it would keep the client's identity


def test_nncf_sends_nothing_when_it_is_imported(tmp_path: Path):
    output = run(tmp_path, "from nncf.telemetry import telemetry; print(type(telemetry).__name__)")
    assert "LEAVES" not in output
    assert output.endswith("MagicMock\ntelemetry loaded: False\n")
    assert not (tmp_path / "intel").exists()
