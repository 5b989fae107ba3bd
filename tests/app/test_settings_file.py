"""Errors in settings name the line, the setting and what would be right; secrets stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import SettingsError, read_settings


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "site.yaml"
    monkeypatch.setenv("THERAMAP_SETTINGS", str(path))

    def fault_of(text: str) -> str:
        path.write_text(text)
        with pytest.raises(SettingsError) as caught:
            read_settings()
        return str(caught.value).replace(str(path), "FILE")

    return fault_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "gateway:\n  reciever: {}\n",
            "FILE, line 2: gateway.reciever: there is no such setting; did you mean receiver?",
        ),
        (
            "device: cpu\ngateway:\n  receiver:\n    port: 99999\n",
            "FILE, line 4: gateway.receiver.port = 99999: input should be less than or equal to 65535",
        ),
        (
            "gateway:\n  remotes:\n    - name: pacs\n      ae_title: PACS\n      host: pacs\n",
            "FILE, line 3: gateway.remotes[0].port: is missing; add it",
        ),
        (
            "gateway:\n  work:\n    concurency: 2\n",
            "FILE, line 3: gateway.work.concurency: there is no such setting; did you mean concurrency?",
        ),
        (
            "gateway:\n  data: a\n  data: b\n",
            "FILE, line 3: gateway.data was given in line 2 already; keep one of them",
        ),
        ("device: [cpu\n", "FILE, line 2, column 1: this is not YAML: expected ',' or ']'"),
        ("- device\n", "FILE, line 1: a table of settings is expected"),
        ("gateway:\n  ae_titles:\n    - title: A\n      allow: {addresses: [10.0.0.0/8, x]}\n", "line 4"),
        ("gateway:\n  ae_titles: [{title: A, pacs: nobody}]\n", "names the remote nobody, which is not"),
    ],
)
def test_fault_names_line_and_remedy(fault, text: str, expected: str) -> None:
    assert expected in fault(text)


def test_every_fault_is_told_at_once(fault) -> None:
    told = fault("device: tpu\ngateway:\n  receiver: {port: 0}\n  stop_grace_s: -1\n")
    assert [line.split(":")[0] for line in told.splitlines()] == [f"FILE, line {n}" for n in (1, 3, 4)]


def test_secret_is_never_shown(fault) -> None:
    told = fault("gateway:\n  database: [postgresql://theramap:hunter2@db/x]\n  exchange: 5\n")
    assert "gateway.database" in told
    assert "hunter2" not in told
    assert "= 5" not in told


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("THERAMAP_GATEWAY__RECEIVER__PORT", "x", "gateway.receiver.port = 'x'"),
        ("THERAMAP_GATEWAY__RECIEVER__PORT", "5", "did you mean receiver?"),
        ("THERAMAP_DIVICE", "cpu", "did you mean THERAMAP_DEVICE?"),
        ("THERAMAP_GATEWAY__REMOTES", "[x", "this is not JSON"),
        ("THERAMAP_GATEWAY", '{"receiver": {"port": 0}}', "gateway.receiver.port = 0"),
    ],
)
def test_fault_of_a_variable_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert str(caught.value).startswith(f"variable {variable}: ")
    assert expected in str(caught.value)


def test_variable_comes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text("gateway:\n  receiver: {port: 104, processes: 3}\n")
    monkeypatch.setenv("THERAMAP_SETTINGS", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("THERAMAP_GATEWAY__RECEIVER__PORT", "11113")
    receiver = read_settings().gateway.receiver
    assert (receiver.port, receiver.processes) == (11113, 3)
