"""Load: one study of 500 instances from 1, 4 and 16 senders at a time into theramap, Orthanc and storescp.

All in one run, receiver after receiver within each cell, so that the ratios hold when the machine's speed
drifts. Ordinary senders leave Nagle's algorithm on; in the other cells senders, Orthanc and storescp (all
DCMTK) set TCP_NODELAY. Each sender has a study with UIDs of its own. theramap and Orthanc fsync; storescp
has neither index nor fsync.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import os
import pstats
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage

from app.gateway.receiver.acceptor import wire_limits
from app.gateway.receiver.association import Association
from app.gateway.receiver.guard import Wire
from app.gateway.settings import Gateway
from app.gateway.spool import Spool, Writer
from tests.servers import LOOPBACK, STORESCU, Orthanc, StoreScp, Theramap

SENDERS = (1, 4, 16)
CT, PET = 400, 100
INSTANCES = CT + PET
STUDY = "2.25.{:05d}"
RECEIVERS = ("theramap", "Orthanc", "storescp")
MIB = 2**20


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    images_per_s: float
    cpu_ms_per_image: float
    rss_before_mib: float
    rss_after_mib: float


def write_study(folder: Path) -> None:
    """Write the study: 400 CT of 512 by 512 and 100 PET of 256 by 256, 16 bit."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(INSTANCES):
        is_ct = number < CT
        size = 512 if is_ct else 256
        image = Dataset()
        image.SOPClassUID = CTImageStorage if is_ct else PositronEmissionTomographyImageStorage
        image.StudyInstanceUID = STUDY.format(10_000)
        image.SOPInstanceUID = f"{image.StudyInstanceUID}.{number + 1}"
        image.SeriesInstanceUID = f"{image.StudyInstanceUID}.{9001 if is_ct else 9002}"
        image.Modality, image.PatientID, image.PatientName = "CT" if is_ct else "PT", "BENCH", "BENCH"
        image.StudyDate, image.InstanceNumber = "20260101", number + 1
        image.Rows = image.Columns = size
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.SamplesPerPixel, image.PixelRepresentation = 15, 1, 0
        image.PhotometricInterpretation = "MONOCHROME2"
        image.PixelData = random.integers(0, 4000, size * size, dtype=np.uint16).tobytes()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)


def copy_study(study: Path, folder: Path, number: int) -> Path:
    """Copy the study under UIDs of the same length."""
    folder.mkdir()
    old, new = STUDY.format(10_000).encode(), STUDY.format(10_000 + number).encode()
    for path in study.iterdir():
        content = path.read_bytes()
        (folder / path.name).write_bytes(content[:4096].replace(old, new) + content[4096:])
    return folder


class _NoDelay:
    """A server of DCMTK with Nagle's algorithm off, if it is to be."""

    no_delay = False

    def environment(self) -> dict[str, str]:
        return os.environ | ({"TCP_NODELAY": "1"} if self.no_delay else {})


class _Orthanc(_NoDelay, Orthanc):
    pass


class _StoreScp(_NoDelay, StoreScp):
    pass


@contextlib.contextmanager
def receiver(name: str, folder: Path, no_delay: bool) -> Iterator[Any]:
    """A fresh receiver."""
    folder.mkdir()
    started: Any
    if name == "theramap":
        settings = {
            "gateway": {"ae_titles": [{"title": "THERAMAP", "quiet_s": 3600, "quiet_complete_s": 3600}]}
        }
        started = Theramap(folder, settings, role="receive")
        started.dicom_port = started.port
    elif name == "Orthanc":
        started = _Orthanc(folder)
    else:
        (folder / "received").mkdir()
        started = _StoreScp(folder, called="STORESCP", extra=("-pdu", "131072", "+B", "--fork"))
    started.no_delay = no_delay
    try:
        with started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(name: str, folder: Path, studies: list[Path], no_delay: bool) -> Cell:
    """Send each study by a sender of its own, all at a time."""
    with receiver(name, folder, no_delay) as started:
        os.sync()
        before, cpu_before = _resources(started.process.pid)
        begun = time.perf_counter()
        command = [STORESCU, "+sd", "-aec", started.ae_title, LOOPBACK, str(started.dicom_port)]
        environment = os.environ | {"TCP_NODELAY": "1" if no_delay else "0"}
        senders = [subprocess.Popen([*command, str(study)], env=environment) for study in studies]
        codes = [sender.wait(600) for sender in senders]
        wall_s = time.perf_counter() - begun
        after, cpu_after = _resources(started.process.pid)
        if any(codes):
            raise RuntimeError(f"{name}: storescu failed\n{started.log()[-2000:]}")
    count = len(studies) * INSTANCES
    return Cell(count / wall_s, (cpu_after - cpu_before) * 1000 / count, before / MIB, after / MIB)


def _resources(pid: int) -> tuple[int, float]:
    """Resident memory in bytes and CPU seconds of a process, its children and those that it had."""
    memory, seconds = 0, 0.0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            memory += process.memory_info().rss
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return memory, seconds


def compare(folder: Path, studies: list[Path]) -> None:
    """Print images per second and ratios, cell by cell."""
    print("\n### Images per second, the same study from 1, 4 and 16 senders\n")
    print("| senders | | theramap | Orthanc | storescp | theramap / Orthanc | theramap / storescp |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for no_delay in (False, True):
        for count in SENDERS:
            kind = "TCP_NODELAY" if no_delay else "ordinary"
            cells = {
                name: measure(name, folder / f"{name}-{count}-{kind}", studies[:count], no_delay)
                for name in RECEIVERS
            }
            ours, orthanc, storescp = (cells[name] for name in RECEIVERS)
            speeds = " | ".join(f"{cell.images_per_s:.0f}" for cell in cells.values())
            ratios = [ours.images_per_s / peer.images_per_s for peer in (orthanc, storescp)]
            print(f"| {count} | {kind} | {speeds} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
            costs = ", ".join(f"{name} {cell.cpu_ms_per_image:.2f} ms" for name, cell in cells.items())
            memory = ", ".join(
                f"{name} {cell.rss_before_mib:.0f} → {cell.rss_after_mib:.0f} MiB"
                for name, cell in cells.items()
            )
            print(f"CPU an image {count} {kind}: {costs}; memory: {memory}", file=sys.stderr, flush=True)


GROUPS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("waiting for the sender, and receiving", lambda name: "recv_into" in name),
    ("fsync of the file and of its folder", lambda name: "fsync" in name),
    ("SHA-256", lambda name: "'update' of '_hashlib" in name),
    ("writing the bytes", lambda name: "'write' of '_io" in name),
    (
        "creating, linking and unlinking",
        lambda name: any(f"posix.{one}" in name for one in ("link", "unlink", "open")) or "io.open" in name,
    ),
    ("sending the answers", lambda name: "sendall" in name),
    ("Python itself and the rest", lambda _name: True),
)


def profile(folder: Path, study: Path) -> None:
    """Print where the time of one association goes, from one sender, as a profiler sees it."""
    gateway = Gateway(data=folder / "profiled")
    profiler = cProfile.Profile()
    with socket.create_server((LOOPBACK, 0)) as listener, Writer(Spool(gateway.data)) as writer:
        address = [LOOPBACK, str(listener.getsockname()[1])]
        environment = os.environ | {"TCP_NODELAY": "1"}
        sender = subprocess.Popen(
            [STORESCU, "+sd", "-aec", "THERAMAP", *address, str(study)], env=environment
        )
        connection, _ = listener.accept()
        association = Association(
            Wire(connection, wire_limits(gateway.receiver)),
            gateway,
            writer,
            LOOPBACK,
            "profiled",
            within_limits=lambda: True,
            stopping=lambda: False,
        )
        profiler.runcall(association.serve, time.monotonic() + 15)
        sender.wait(60)
    shutil.rmtree(gateway.data)
    statistics: Any = pstats.Stats(profiler)
    spent = dict.fromkeys([title for title, _ in GROUPS], 0.0)
    for (_file, _line, name), (_calls, _primitive, own_s, _total, _callers) in statistics.stats.items():
        spent[next(title for title, belongs in GROUPS if belongs(name))] += own_s
    print("\n### Where the time of an image goes in theramap (one sender, profiled)\n")
    print("| | ms an image |\n|---|---|")
    for title, seconds in spent.items():
        print(f"| {title} | {seconds * 1000 / INSTANCES:.2f} |")


def run(*, profile_only: bool = False) -> None:
    """Run the whole part: about five minutes, and 4 GiB of temporary files."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_study(folder / "study")
        if not profile_only:
            studies = [copy_study(folder / "study", folder / f"copy-{n}", n) for n in range(max(SENDERS))]
            compare(folder, studies)
        profile(folder, folder / "study")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile-only", action="store_true")
    run(profile_only=parser.parse_args().profile_only)


if __name__ == "__main__":
    main()
