"""A container of the chart's pods, run in the image without a cluster, as a kubelet would have it run.

Namespaces of its own for mounts, processes and the host's name, which is the pod's; the root read-only, and
over it the volumes where the manifest mounts them, owned as ``fsGroup`` has it; the manifest's variables and
words, and the pods' user without rights; a first process that is not the container's. The network is the
machine's own, since the PACS and the database of the tests listen on loopback. What it lacks of a kubelet:
cgroups, seccomp.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.helm import Manifest
from tests.image import Image
from tests.servers import LOOPBACK, Theramap, wait_until

USER = 1000
TOOLS = "/opt/holoscan/app/tools"
RUNTIME = """
set -e
image=$1 place=$2 name=$3; shift 3
root=$place/root
mount -t overlay overlay -o "lowerdir=$image,upperdir=$place/upper,workdir=$place/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --bind /dev "$root/dev"
while [ "$1" != -- ]; do
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  [ "$3" = rw ] || mount -o remount,bind,ro "$root$2"
  shift 3
done
shift
hostname "$name"
mount -o remount,ro "$root"
chroot "$root" "$@" &
set +e
wait $!
"""
PREPARING = {"bash", "hostname", "mkdir", "mount"}
"""What the runtime starts before the container."""
RIGHTS = (
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"),
)


def volume(path: Path, files: Mapping[str, bytes] | None = None) -> Path:
    """Make a volume as ``fsGroup`` leaves it: the group's, with files that it may read."""
    path.mkdir(parents=True)
    for name, content in (files or {}).items():
        (path / name).write_bytes(content)
        os.chown(path / name, 0, USER)
        (path / name).chmod(0o440)
    os.chown(path, 0, USER)
    path.chmod(0o2775)
    return path


class Container(Theramap):
    """One container.

    Parameters
    ----------
    folder : Path
        Its own, where a user without rights may look into.
    image : Image
    pod : str
        Name of the pod.
    manifest : Manifest
        The container, as the chart has it.
    volumes : mapping
        Name of each volume that it mounts to its folder; ``settings`` holds theramap.yaml.
    """

    def __init__(
        self, folder: Path, image: Image, pod: str, manifest: Manifest, volumes: Mapping[str, Path]
    ) -> None:
        content: dict[str, Any] = yaml.safe_load((volumes["settings"] / "theramap.yaml").read_bytes())
        super().__init__(folder, content, manifest["name"])
        self._image, self._pod, self._manifest, self._volumes = image, pod, manifest, volumes
        for name in ("root", "upper", "work"):
            (folder / name).mkdir()

    def command(self) -> list[str]:
        mounts = [
            word
            for one in self._manifest["volumeMounts"]
            for word in (self._volumes[one["name"]], one["mountPath"], "ro" if one.get("readOnly") else "rw")
        ]
        return [
            *("unshare", "-m", "-p", "-u", "-f", "--kill-child", "--propagation", "private"),
            *("bash", "-c", RUNTIME, self.role, str(self._image.root), str(self.folder), self._pod),
            *map(str, mounts),
            *("--", *RIGHTS, *self._within(TOOLS, *self._manifest["args"])),
        ]

    def ready(self) -> bool:
        """Whether its startup probe would pass."""
        if self.process is None or self.first is None:
            return False  # its namespaces are being made
        probe = self._manifest["startupProbe"]
        if "httpGet" in probe:
            return self.fetches(probe["httpGet"]["path"])
        return self.run(*probe["exec"]["command"]).returncode == 0

    def fetches(self, path: str) -> bool:
        """Whether the console answers 200, asked within the container."""
        code = f"import urllib.request as r; r.urlopen('http://{LOOPBACK}:{self.console_port}{path}')"
        return self.run("python3", "-c", code).returncode == 0

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as an exec probe does."""
        assert self.first is not None
        enter = ["nsenter", "--target", str(self.first.pid), "--mount", "--pid", "--uts", "--root"]
        command = [*enter, *RIGHTS, *self._within(*words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    @property
    def first(self) -> psutil.Process | None:
        """The container's first process; None before there is one."""
        assert self.process is not None
        for init in psutil.Process(self.process.pid).children():
            for child in init.children():
                if child.name() not in PREPARING:
                    return child
        return None

    def stop(self, within_s: float = 60) -> int | None:
        """Ask the first process to end, as a kubelet does; its exit status."""
        if self.process is None:
            return None
        wait_until(lambda: self.first is not None, within_s, "the container to be there")
        assert self.first is not None
        self.first.terminate()
        status = self.process.wait(within_s)
        self.process = None
        return status

    def written(self) -> list[Path]:
        """What was written outside the volumes; the places of mounts are folders."""
        return [path for path in (self.folder / "upper").rglob("*") if not path.is_dir()]

    def _within(self, *words: str) -> Sequence[str]:
        own = {one["name"]: one["value"] for one in self._manifest["env"]}
        variables = [f"{name}={value}" for name, value in {**self._image.environment, **own}.items()]
        return ["env", "-i", "--chdir=/var/holoscan", *variables, *words]
