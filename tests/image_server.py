"""``theramap serve`` in the image, as a server that tests start and stop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.image import RUNTIME, Image
from tests.servers import Theramap

SETTINGS = "/run/theramap.yaml"
UID = GID = 1000


class ImageServer(Theramap):
    """The image as compose runs it: read-only, uid 1000, no capabilities, settings and secrets beneath /run.

    The network is the machine's own, since the PACS and the database of the tests listen on loopback. What
    is written lies in ``data`` (the volume) and ``scratch`` (/tmp and /dev/shm).

    Parameters
    ----------
    folder : Path
        Where a user without rights may look into.
    image : Image
    settings : mapping
        Those of the gateway; its data folder is the image's.
    secrets : mapping
        Name to content, as files beneath /run/secrets.
    """

    def __init__(
        self, folder: Path, image: Image, settings: Mapping[str, Any], secrets: Mapping[str, str]
    ) -> None:
        super().__init__(folder, settings)
        self._image = image
        self.inside, self.data, self.scratch = folder / "run", folder / "data", folder / "scratch"
        (self.inside / "secrets").mkdir(parents=True)
        for name, content in secrets.items():
            (self.inside / "secrets" / name).write_text(content)
        shutil.copy(self.settings_file, self.inside / "theramap.yaml")
        for place in (self.data, folder / "nothing", folder / "output"):
            place.mkdir()
            os.chown(place, UID, GID)
        for place in (self.scratch / "tmp", self.scratch / "shm"):
            place.mkdir(parents=True)
            place.chmod(0o1777)

    def command(self) -> list[str]:
        variables = dict(self._image.environment) | {"THERAMAP_SETTINGS": SETTINGS}
        folders = [self._image.root, self.folder / "nothing", self.folder / "output", self.scratch]
        mounts = [(self.inside, "/run"), (self.data, "/var/lib/theramap")]
        return [
            *("unshare", "-m", "-p", "-f", "--kill-child", "--propagation", "private"),
            *("bash", "-c", RUNTIME, "serve", *map(str, folders), str(UID), str(GID)),
            *(str(word) for mount in mounts for word in mount),
            *("--", "env", "-i", "--chdir=/var/holoscan"),
            *(f"{name}={value}" for name, value in variables.items()),
            *("/opt/holoscan/app/tools", "serve"),
        ]

    def stop(self, within_s: float = 60) -> int | None:
        """Ask the container's first process to end, as a runtime does; its exit status."""
        if self.process is None:
            return None
        for first in psutil.Process(self.process.pid).children():
            first.terminate()
        status = self.process.wait(within_s)
        self.process = None
        return status
