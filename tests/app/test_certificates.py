"""When certificates end."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.certificates import ends


@pytest.mark.parametrize("days", [20, 36500])
def test_end_of_each_certificate(tmp_path: Path, days: int) -> None:
    path = tmp_path / "c.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=t"]
    command += ["-days", str(days), "-keyout", str(tmp_path / "k.pem"), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() * 2)
    found = ends(path)
    assert len(found) == 2
    assert abs(found[0] - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=5)


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError, match="no certificate"):
        ends(path)
    path.write_text("")
    assert ends(path) == []
