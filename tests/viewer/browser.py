"""A page of Chromium that Python drives, by way of ``browser.js``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.servers import descendants
from tests.viewer.programs import FOLDER, chromium, node


class PageError(Exception):
    """A command to the page failed."""


class Browser:
    """One page; a context manager that ends the browser whatever happens.

    Parameters
    ----------
    folder : Path
        For its profile and log; new.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._log = (folder / "browser.log").open("wb")
        self._process = subprocess.Popen(
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", node(), str(FOLDER / "browser.js"), chromium(),
             str(folder / "profile")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        family = descendants(self._process.pid)
        try:
            self._process.stdin.close()  # type: ignore[union-attr]
            self._process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(10)
        for one in psutil.wait_procs(family, 2)[1]:
            one.kill()
        self._log.close()

    def _do(self, command: str, **values: Any) -> Any:
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answers is not None
        pipe.write(json.dumps({"command": command, **values}).encode() + b"\n")
        pipe.flush()
        line = answers.readline()
        if not line:
            raise PageError(f"the browser ended: {Path(self._log.name).read_text()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise PageError(f"{command}: {answer['error']}")
        return answer["value"]

    def open(self, url: str) -> None:
        self._do("open", url=url)

    def call(self, script: str, argument: object = None) -> Any:
        """Value of a JavaScript function of one argument, called in the page."""
        return self._do("call", script=script, argument=argument)

    def wait(self, script: str, argument: object = None, seconds: float = 60) -> Any:
        """Call a function until its value is true; that value."""
        return self._do("wait", script=script, argument=argument, seconds=seconds)

    def click(self, x: float, y: float, count: int = 1) -> None:
        self._do("click", x=x, y=y, count=count)

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._do("screenshot", path=str(path))

    def errors(self) -> list[str]:
        """What the page said was wrong since the last call."""
        found: list[str] = self._do("errors")
        return found
