"""What the viewer's tests run on: Node with the packages that ``package-lock.json`` pins, and Chromium."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import missing

FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"
"""git ignores it."""
OHIF = MODULES / "@ohif" / "app" / "dist"
OLDEST_NODE = 20
"""Its ``import`` reads what dcmjs ships; of Debian's own Node 18 it does not."""
_INSTALL_LIMIT_S = 600


def node() -> str:
    """Path of Node with the packages installed; skips by name what is absent, in CI fails."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        missing("no node and npm")
        raise AssertionError
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().lstrip("v").split(".")[0]) < OLDEST_NODE:
        missing(f"node {version.strip()} is older than {OLDEST_NODE}")
    _install(npm)
    return program


def chromium() -> str:
    """Path of Chromium; skips where there is none, in CI fails."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        program = shutil.which(name)
        if program is not None:
            return program
    missing("no chromium")
    raise AssertionError


def _install(npm: str) -> None:
    """``npm ci``, once for each state of the lock file."""
    wanted = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    stamp = MODULES / ".installed"
    with (FOLDER / ".gitignore").open() as lock:  # two test runs at once install once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=FOLDER,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=_INSTALL_LIMIT_S,
            check=False,
        )
        if done.returncode:
            missing(f"npm ci failed: {done.stderr[-1000:]}")
        stamp.write_text(wanted)
