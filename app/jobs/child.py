"""The warm process that runs the MAP: everything is imported once, then one study after another.

``python -m app.jobs.child`` speaks lines of JSON with the worker. It says ``{"ready": RSS_MIB}`` whenever it
can take a study; it is asked ``{"input", "output", "known_essence"}`` and answers ``{"code", "essence"}``,
with ``code`` null when the essence is the known one and nothing was run, or ``{"fault", "place", "full"}``
before it ends. A crash of a library, a memory limit or the kernel's out-of-memory killer ends this process
and nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import gc
import hashlib
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.log import configure_log, get_logger
from app.process import die_with_parent
from app.settings import read_settings

if TYPE_CHECKING:
    from app.settings import Settings
    from operators.domain import Case, Protocol

MIB = 1 << 20
FIRST_TO_GO = "500"
"""For the kernel's out-of-memory killer: this process rather than its worker."""


def main() -> int:
    """Answer until the worker closes the pipe."""
    die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory-limit-mib", type=int)
    limit_mib = parser.parse_args().memory_limit_mib
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the worker's to handle
    Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
    if limit_mib:
        resource.setrlimit(resource.RLIMIT_AS, (limit_mib * MIB, limit_mib * MIB))
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    _keep_libraries_off_the_pipe()
    settings = read_settings()
    configure_log("child", settings.gateway)
    protocols = _warm_up(settings)
    _say(answers, {"ready": _resident_mib()})
    for line in requests:
        answer = _answer(json.loads(line), settings, protocols)
        _say(answers, answer)
        if "fault" in answer:
            return 1  # what the fault has left behind is unknown
        _tidy()
        _say(answers, {"ready": _resident_mib()})
    return 0


def essence_of(folder: Path, protocols: Mapping[str, Protocol]) -> str | None:
    """Return what the MAP would select of a folder: a digest over the PET, the CT and a reader's answers.

    Parameters
    ----------
    folder : Path
        The input, with its ``job.json``; files as the spool has them.
    protocols : mapping of str to Protocol
        The tracers' rules.

    Returns
    -------
    str or None
        Hexadecimal SHA-256 over the sorted digests of the data sets; None when it would refuse to select.
    """
    from app.gateway.spool import stored_digest
    from operators.domain import Case
    from operators.errors import Refusal
    from operators.study.load import load_cases
    from operators.study.select import select

    try:
        cases = load_cases(folder, folder)
        if len(cases) != 1 or not isinstance(cases[0], Case):
            return None
        selection = select(cases[0], protocols)
    except Refusal:
        return None
    chosen = [
        [role, sorted(stored_digest(instance.path) or "" for instance in series.instances)]
        for role, series in (("pet", selection.pet), ("ct", selection.ct))
        if series is not None
    ]
    answers = _answers(cases[0])
    if answers:
        chosen.append(["answers", answers])
    return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()


def _answers(case: Case) -> list[str]:
    """Digests of the edited segmentations that the job names, in its order."""
    from app.gateway.spool import stored_digest

    held = {
        instance.sop_instance_uid: instance.path
        for series in case.study.series
        for instance in series.instances
    }
    return [stored_digest(held[uid]) or "" for uid in case.job.answers if uid in held]


def _warm_up(settings: Settings) -> Mapping[str, Protocol]:
    from app.run import prepare_holoscan

    prepare_holoscan()
    from app import application  # noqa: F401  imports all that a study needs
    from app.protocols import load_protocols
    from operators.errors import ProtocolRefusal

    try:
        return load_protocols(settings.protocols)
    except ProtocolRefusal:
        return {}  # every run then says so in its results.json


def _answer(
    request: Mapping[str, Any], settings: Settings, protocols: Mapping[str, Protocol]
) -> dict[str, object]:
    from app.run import run

    source, target = Path(request["input"]), Path(request["output"])
    try:
        essence = essence_of(source, protocols)
        if essence is not None and essence == request["known_essence"]:
            return {"code": None, "essence": essence}
        code, _ = run(source, target, settings)
    except Exception as fault:  # noqa: BLE001  the process boundary: the worker is told, and we end
        return _fault(fault)
    return {"code": int(code), "essence": essence}


def _fault(fault: Exception) -> dict[str, object]:
    """Say what went wrong and where, without the message: it may quote the patient."""
    frames = traceback.extract_tb(fault.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    get_logger().error("map_fault", kind=type(fault).__name__, places=places)
    full = isinstance(fault, OSError) and fault.errno in {errno.ENOSPC, errno.EDQUOT}
    return {"fault": type(fault).__name__, "place": places[-1] if places else "", "full": full}


def _keep_libraries_off_the_pipe() -> None:
    """What libraries print goes to the log; what they read is empty."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)


def _tidy() -> None:
    """Give back what the study has left, so that memory stays level from study to study."""
    gc.unfreeze()  # the run froze what was there
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MIB


def _say(answers: Any, content: Mapping[str, object]) -> None:
    answers.write(json.dumps(content).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
