from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.gateway.settings import Work
from app.jobs import pool as pool_module
from app.jobs.pool import Answer, DeathError, FullError, Pool, StoppedError, Task
from tests.servers import wait_until

FAKE = """
import json, os, sys, time
print(json.dumps({"ready": 10}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    what = os.path.basename(request["input"])
    if what == "die": os.abort()
    if what == "garbage": print("not ours", flush=True)
    if what == "other": print("{}", flush=True)
    if what == "hang": time.sleep(60)
    if what == "slow": time.sleep(0.5)
    if what == "fault":
        print(json.dumps({"fault": "ValueError", "place": "suv.py:7", "full": False}), flush=True); break
    if what == "full":
        print(json.dumps({"fault": "OSError", "place": "files.py:7", "full": True}), flush=True); break
    essence = f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}"
    print(json.dumps({"code": 0, "essence": essence}), flush=True)
    print(json.dumps({"ready": 3000 if what == "grow" else 10}), flush=True)
"""


def _task(what: str) -> Task:
    return Task(Path("in") / what, Path("out"))


def _pool(**work: object) -> Pool:
    return Pool(Work.model_validate({"time_limit_s": 5, **work}), [sys.executable, "-c", FAKE])


@pytest.fixture
def pool() -> Iterator[Pool]:
    running = _pool(time_limit_s=1.0)
    yield running
    running.stop()


def _pid(answer: Answer) -> str:
    return str(answer.essence).partition(" ")[0]


def test_no_memory_for_a_process_and_a_garbled_answer_do_not_end_the_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, failures = subprocess.Popen, [OSError(12, "no memory")]

    def popen(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(pool_module, "END_S", 0.2)
    running = _pool()
    try:
        assert running.run(_task("ok")).code == 0
        with pytest.raises(DeathError, match="CHILD_DIED"):
            running.run(_task("garbage"))
        with pytest.raises(DeathError, match="CHILD_DIED"):
            running.run(_task("other"))
        assert running.run(_task("ok")).code == 0
    finally:
        running.stop()


def test_studies_run_in_the_same_warm_process(pool: Pool) -> None:
    first, second = pool.run(_task("ok")), pool.run(_task("ok"))
    assert first.code == 0
    assert _pid(first) == _pid(second)


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("die", "CHILD_DIED", "signal 6"),
        ("hang", "TIME_LIMIT", "within 1 s"),
        ("fault", "FAULT", "ValueError at suv.py:7"),
    ],
)
def test_failure_is_told_and_the_next_study_has_a_new_process(
    pool: Pool, what: str, code: str, says: str
) -> None:
    before = _pid(pool.run(_task("ok")))
    with pytest.raises(DeathError, match=says) as caught:
        pool.run(_task(what))
    assert caught.value.code == code
    assert _pid(pool.run(_task("ok"))) != before


def test_full_disk_is_not_the_studys_fault(pool: Pool) -> None:
    with pytest.raises(FullError):
        pool.run(_task("full"))
    assert pool.run(_task("ok")).code == 0


def test_process_that_has_grown_is_replaced_after_its_study(pool: Pool) -> None:
    grown = _pid(pool.run(_task("grow")))
    assert _pid(pool.run(_task("ok"))) != grown


def test_process_that_dies_idle_costs_no_study(pool: Pool) -> None:
    pid = int(_pid(pool.run(_task("ok"))))
    psutil.Process(pid).kill()
    wait_until(lambda: pool.pids() and pool.pids() != [pid], 10, "a new process")
    assert pool.run(_task("ok")).code == 0


def test_slots_run_side_by_side_each_on_its_device() -> None:
    pool = _pool(concurrency=3, gpus=["0", "1"])
    answers: list[Answer] = []
    started = time.monotonic()
    threads = [threading.Thread(target=lambda: answers.append(pool.run(_task("slow")))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 1.4
    assert sorted(str(answer.essence).split()[1] for answer in answers) == ["0", "0", "1"]
    pool.stop()


def test_stop_ends_the_processes_and_says_so_to_who_waits() -> None:
    pool = _pool(time_limit_s=30)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            pool.run(_task("hang"))
        except StoppedError as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]  # one runs, one waits
    for thread in threads:
        thread.start()
    wait_until(pool.pids, 5, "process")
    pids = pool.pids()
    time.sleep(0.3)
    pool.stop()
    for thread in threads:
        thread.join(5)
    assert len(failures) == 2
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 5, "end")


def test_process_that_cannot_start_costs_no_study(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text("import sys; sys.exit(1)")
    pool = Pool(Work(), [sys.executable, str(script)])
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(pool.run(_task("ok"))))
    thread.start()
    time.sleep(0.5)
    script.write_text(FAKE)
    thread.join(10)
    assert answers[0].code == 0
    pool.stop()
