"""Builds the CPU image with buildah, and runs it as a container runtime would, without a container engine.

The runtime here is Linux itself: namespaces of its own for mounts, processes and network (no interface is
up), the image's root read-only, uid 1000, no capabilities, no new privileges. What it lacks of a runtime:
cgroups, seccomp and a user namespace.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BASE = "localhost/theramap-test-base"
IMAGE = "localhost/theramap-test:cpu"
PROGRAMS = ("buildah", "mmdebstrap", "unshare", "chroot")
STORAGE = """[storage]
driver = "vfs"
graphroot = "{0}/storage"
runroot = "{0}/run"
"""
# Mounts are private to the process: nothing outlives it.
RUNTIME = """
set -e
root=$1 input=$2 output=$3; shift 3
mount --bind "$root" "$root"
mount --bind "$input" "$root/var/holoscan/input"
mount -o remount,bind,ro "$root/var/holoscan/input"
mount --bind "$output" "$root/var/holoscan/output"
mount -t tmpfs tmpfs "$root/tmp" && chmod 1777 "$root/tmp"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --bind /dev "$root/dev"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set -all --inh-caps -all \
  --no-new-privs "$@"
"""


def missing() -> str | None:
    """Return what an image cannot be built and run without here; None when everything is there."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    able = subprocess.run(["unshare", "-m", "-n", "-p", "-f", "true"], capture_output=True, check=False)
    return None if able.returncode == 0 else "no right to make namespaces"


@dataclass(frozen=True, slots=True)
class Image:
    """A built image, its root file system mounted."""

    root: Path
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    user: str

    def run(
        self, source: Path, output: Path, *words: str, **more: str
    ) -> tuple[subprocess.CompletedProcess[str], float]:
        """Run a word of the entry; the time is in s."""
        inner = ["env", "-i", "--chdir=/var/holoscan"]
        inner += [f"{name}={value}" for name, value in (dict(self.environment) | more).items()]
        inner += ["/opt/holoscan/app/tools", *words]
        outer = ["unshare", "-m", "-n", "-p", "-f", "--propagation", "private", "bash", "-c", RUNTIME, "run"]
        start = time.monotonic()
        done = subprocess.run(
            [*outer, str(self.root), str(source), str(output), *inner],
            capture_output=True,
            text=True,
            check=False,
        )
        return done, time.monotonic() - start

    def sizes_mb(self) -> dict[str, float]:
        """Return the size of the whole and of its parts, in 10⁶ bytes as they lie on disk."""
        parts = {"whole": self.root}
        site = self.root / "opt/holoscan/venv/lib/python3.11/site-packages"
        parts |= {path.name: path for path in site.iterdir() if path.is_dir()}
        parts |= {"models": self.root / "opt/holoscan/models", "environment": self.root / "opt/holoscan/venv"}
        return {name: disk_bytes(path) / 1e6 for name, path in parts.items()}


def disk_bytes(folder: Path) -> int:
    """Return what the files beneath a folder occupy; links are not followed."""
    said = subprocess.run(["du", "-s", "-B1", str(folder)], capture_output=True, text=True, check=True).stdout
    return int(said.split()[0])


def build_image(folder: Path) -> Image:
    """Build the base from Debian, the image from this checkout, and mount it; the folder keeps them all."""
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
    config = json.loads(buildah(folder, "inspect", "--type", "image", IMAGE))["OCIv1"]["config"]
    pairs = (entry.split("=", 1) for entry in config["Env"])
    return Image(
        root=Path(buildah(folder, "mount", container)),
        environment=dict(pairs),
        labels=config["Labels"],
        user=config["User"],
    )


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
