from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from app.jobs.database import open_database, prepare_database
from app.jobs.tables import workers
from app.jobs.workers import Workers, new_token


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(tmp_path: Path, clock: Clock) -> Workers:
    url = f"sqlite:///{tmp_path / 'w.db'}"
    prepare_database(url)
    return Workers(open_database(url), 60.0, clock)


def test_name_is_one_living_processs_only(table: Workers) -> None:
    first, second = new_token(), new_token()
    assert table.claim("work-a", "work", first)
    assert table.claim("work-a", "work", first)
    assert not table.claim("work-a", "work", second)
    assert table.claim("work-b", "work", second)
    assert table.living() == {"work-a", "work-b"}


def test_name_of_a_killed_process_of_this_machine_is_free_at_once(table: Workers) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    _insert(table, "work-a", process.pid, socket.gethostname(), "1.000:x")
    assert table.claim("work-a", "work", new_token())


def test_same_pid_of_another_process_is_not_taken_for_the_old_one(table: Workers) -> None:
    _insert(table, "work-a", os.getpid(), socket.gethostname(), "1.000:x")
    assert table.claim("work-a", "work", new_token())


def test_name_of_another_machine_is_free_when_it_has_been_silent(table: Workers, clock: Clock) -> None:
    _insert(table, "work-a", 1, "elsewhere", "1.000:x")
    assert not table.claim("work-a", "work", new_token())
    clock.now_s += 61
    assert table.claim("work-a", "work", new_token())


def test_beat_from_before_the_clock_was_set_back_is_no_sign_of_life(table: Workers, clock: Clock) -> None:
    _insert(table, "work-a", 1, "elsewhere", "1.000:x")
    clock.now_s -= 61
    assert table.living() == set()
    assert table.claim("work-a", "work", new_token())
    assert table.living() == {"work-a"}


def test_beat_keeps_alive_and_tells_when_the_name_is_lost(table: Workers, clock: Clock) -> None:
    token = new_token()
    table.claim("work-a", "work", token)
    clock.now_s += 59
    assert table.beat("work-a", token)
    clock.now_s += 59
    assert table.living() == {"work-a"}
    clock.now_s += 2
    assert table.living() == set()
    with table._engine.begin() as connection:
        connection.execute(update(workers).values(token="other"))
    assert not table.beat("work-a", token)
    table.leave("work-a", token)
    assert table.claim("work-a", "work", token)  # the other one was silent


def _insert(table: Workers, name: str, pid: int, host: str, token: str) -> None:
    record = {"name": name, "role": "work", "token": token, "host": host, "pid": pid, "heard_s": 1000.0}
    with table._engine.begin() as connection:
        connection.execute(insert(workers).values(record))
