"""Builds the CPU image with buildah, and runs it in two ways.

``Image.run`` needs no container engine. Its runtime is Linux itself: namespaces of its own for mounts,
processes and network (no interface is up), the image's root read-only, uid 1000, no capabilities, no new
privileges. What it lacks of a runtime: cgroups and seccomp. ``Image.podman`` has both, where podman and runc
are installed; it copies the image for each run, which takes half a minute.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.packaging.builders import find_builder
from app.packaging.request import PackageRequest

BASE = "localhost/theramap-test-base"
IMAGE = "localhost/theramap-test:cpu"
AGAIN = "localhost/theramap-test:again"
FOLDER = "IMAGE_FOLDER"
"""The variable that asks for the image, and names where base, wheels and image are kept."""
PROGRAMS = ("buildah", "mmdebstrap", "unshare", "chroot")
STORAGE = """[storage]
driver = "vfs"
graphroot = "{0}/storage"
runroot = "{0}/run"
"""
# Mounts are private to the process: nothing outlives it. What is written, is written to `scratch`.
RUNTIME = """
set -e
root=$1 input=$2 output=$3 scratch=$4 user=$5 group=$6; shift 6
mount --bind "$root" "$root"
mount --bind "$input" "$root/var/holoscan/input"
mount -o remount,bind,ro "$root/var/holoscan/input"
mount --bind "$output" "$root/var/holoscan/output"
mount --bind "$scratch/tmp" "$root/tmp"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --bind /dev "$root/dev"
mount --bind "$scratch/shm" "$root/dev/shm"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done; shift
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid "$user" --regid "$group" --clear-groups --bounding-set -all \
  --inh-caps -all --no-new-privs "$@"
"""
# The hard limits of the machine may be below podman's own. The rest is what docs/container.md tells to say.
PODMAN = (
    *(
        "podman",
        "--storage-driver",
        "vfs",
        "--runtime",
        "runc",
        "--cgroup-manager",
        "cgroupfs",
        "run",
        "--rm",
    ),
    *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none"),
)
HARDENED = (
    *("--memory", "8g", "--pids-limit", "512", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--user", "1000:1000"),
)

Done = subprocess.CompletedProcess[str]


def missing() -> str | None:
    """Return why the image's tests are skipped; None when they run.

    Who names IMAGE_FOLDER has asked for the image: whatever is wanting then fails them.
    """
    return None if os.environ.get(FOLDER) else absent()


def marks(*more: str | None) -> list[pytest.MarkDecorator]:
    """Return the marks of a file of tests of the image; ``more`` is why they are skipped besides."""
    lacking = next((reason for reason in (missing(), *more) if reason is not None), None)
    skip = pytest.mark.skipif(lacking is not None, reason=f"the image: {lacking}")
    return [pytest.mark.slow, pytest.mark.timeout(1800), skip]


def absent() -> str | None:
    """Return what an image cannot be built and run without here; None when everything is there."""
    if os.geteuid() != 0:
        return "needs root"
    programs = [name for name in PROGRAMS if shutil.which(name) is None]
    if programs:
        return f"not installed: {', '.join(programs)}"
    able = subprocess.run(["unshare", "-m", "-n", "-p", "-f", "true"], capture_output=True, check=False)
    return None if able.returncode == 0 else "no right to make namespaces"


def podman_missing() -> str | None:
    """Return why podman's tests are skipped; None when they run, as they do for who names IMAGE_FOLDER."""
    programs = [name for name in ("podman", "runc") if shutil.which(name) is None]
    return f"not installed: {', '.join(programs)}" if programs and not os.environ.get(FOLDER) else None


@dataclass(frozen=True, slots=True)
class Image:
    """A built image, its root file system mounted."""

    root: Path
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    user: str
    folder: Path

    def run(
        self,
        source: Path,
        output: Path,
        *words: str,
        user: tuple[int, int] = (1000, 1000),
        scratch: Path | None = None,
        over: Mapping[str, Path] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> tuple[Done, float]:
        """Run a word of the entry.

        Parameters
        ----------
        source, output : Path
            Folders of the study and of the results.
        words : str
        user : tuple of int
            uid and gid.
        scratch : Path, optional
            A folder that is ``/tmp`` and ``/dev/shm`` in the container, and stays; else one that goes.
        over : mapping of str to Path, optional
            Files and folders that lie in the place of the image's, for an image that was tampered with.
        variables : mapping of str to str, optional
            Beside those of the image, or in their place.

        Returns
        -------
        CompletedProcess, float
            And the time in s.
        """
        inner = ["env", "-i", "--chdir=/var/holoscan"]
        inner += [f"{name}={value}" for name, value in {**self.environment, **(variables or {})}.items()]
        inner += ["/opt/holoscan/app/tools", *words]
        outer = ["unshare", "-m", "-n", "-p", "-f", "--propagation", "private", "bash", "-c", RUNTIME, "run"]
        places = [word for inside, path in (over or {}).items() for word in (str(path), inside)]
        with tempfile.TemporaryDirectory(dir="/var/tmp") as own:
            place = scratch or Path(own)
            for name in ("tmp", "shm"):
                (place / name).mkdir()
                (place / name).chmod(0o1777)
            paths = [str(path) for path in (self.root, source, output, place)]
            return _timed([*outer, *paths, *map(str, user), *places, "--", *inner])

    def podman(
        self, source: Path, output: Path, *words: str, options: Sequence[str] = ()
    ) -> tuple[Done, float]:
        """Run a word of the entry, or with ``--entrypoint`` among the options another program, by podman."""
        mounts = ["-v", f"{source}:/var/holoscan/input:ro", "-v", f"{output}:/var/holoscan/output"]
        return self.platform(*HARDENED, *mounts, *options, words=words)

    def platform(self, *options: str | Path, words: Sequence[str] = ()) -> tuple[Done, float]:
        """Run it by podman with a platform's own options and no more."""
        return _timed([*PODMAN, *map(str, options), IMAGE, *words], _environment(self.folder))

    def sizes_mb(self) -> dict[str, float]:
        """Return the size of the whole and of its parts, in 10⁶ bytes as they lie on disk."""
        parts = {"whole": self.root}
        site = self.root / "opt/holoscan/venv/lib/python3.11/site-packages"
        parts |= {path.name: path for path in site.iterdir() if path.is_dir()}
        parts |= {"models": self.root / "opt/holoscan/models", "environment": self.root / "opt/holoscan/venv"}
        return {name: disk_bytes(path) / 1e6 for name, path in parts.items()}


def _timed(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[Done, float]:
    start = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done, time.monotonic() - start


def disk_bytes(folder: Path) -> int:
    """Return what the files beneath a folder occupy; links are not followed."""
    said = subprocess.run(["du", "-s", "-B1", str(folder)], capture_output=True, text=True, check=True).stdout
    return int(said.split()[0])


@cache
def build_image(folder: Path) -> Image:
    """Build the base from Debian, the image from this checkout, and mount it; the folder keeps them all.

    Once in a run of the tests: several of their files use the image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "storage.conf").write_text(STORAGE.format(folder), "utf-8")
    if not (folder / "base" / "rootfs.tar").exists():
        make_base(folder / "base")
    forget(folder)
    buildah(folder, "build", "-t", BASE, str(folder / "base"))
    words = ["package", str(folder / "context"), "--offline", "--base-image", BASE, "--builder", "buildah"]
    # what is locked without a digest is taken from where pip finds wheels here
    links = os.environ.get("PIP_FIND_LINKS")
    words += ["--wheels", links] if links and Path(links).is_dir() else []
    theramap = Path(sys.executable).parent / "theramap"
    subprocess.run([theramap, *words, "--tag", IMAGE], env=_environment(folder), check=True)
    container = buildah(folder, "from", IMAGE)
    config = inspect(folder, IMAGE)["config"]
    pairs = (entry.split("=", 1) for entry in config["Env"])
    return Image(
        root=Path(buildah(folder, "mount", container)),
        environment=dict(pairs),
        labels=config["Labels"],
        user=config["User"],
        folder=folder,
    )


def build_again(folder: Path) -> None:
    """Build the image of the folder's context a second time, of nothing that the first has left."""
    request = PackageRequest(offline=True, base_image=BASE)
    text = (folder / "context" / "Containerfile").read_text("utf-8")
    epoch = re.search(r"^ARG SOURCE_DATE_EPOCH=(\d+)$", text, re.MULTILINE)
    assert epoch is not None
    _, *words = find_builder("buildah").build(request, folder / "context", AGAIN, int(epoch[1]))
    buildah(folder, *words[:-1], "--no-cache", words[-1])


def layers(folder: Path, name: str) -> list[str]:
    """Return the digests of an image's layers, the base's first."""
    return list(inspect(folder, name)["rootfs"]["diff_ids"])


def inspect(folder: Path, name: str) -> dict[str, Any]:
    """Return the OCI configuration of an image."""
    content: dict[str, Any] = json.loads(buildah(folder, "inspect", "--type", "image", name))["OCIv1"]
    return content


def forget(folder: Path) -> None:
    """Remove the images and containers of a folder: each takes gigabytes."""
    buildah(folder, "rm", "--all")
    buildah(folder, "rmi", "--all", "--force")


def buildah(folder: Path, *words: str) -> str:
    """Run buildah on a folder's own storage, and return what it printed."""
    command = ["buildah", *words]
    done = subprocess.run(command, env=_environment(folder), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _environment(folder: Path) -> dict[str, str]:
    return dict(os.environ) | {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "STORAGE_DRIVER": "vfs",
        "BUILDAH_ISOLATION": "chroot",
    }


def make_base(folder: Path) -> None:
    """Make Debian 12 with Python, as the base image has it that is the default."""
    folder.mkdir(parents=True, exist_ok=True)
    include = "python3,python3-pip,python3-venv,ca-certificates"
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={include}", "bookworm"]
    subprocess.run([*words, str(folder / "rootfs.tar")], check=True)
    (folder / "Containerfile").write_text("FROM scratch\nADD rootfs.tar /\n", "utf-8")
