"""Modalities that push studies with DCMTK's storescu and send again what was not acknowledged."""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from tests.servers import phantom_study, storescu

SENDING = re.compile(r"^I: Sending file: (.+)$")
ACKNOWLEDGED = "I: Received Store Response (Success)"
TIMEOUTS = ("-to", "5", "-ta", "10", "-td", "30")
SLICES = 6


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as it is sent."""

    study_instance_uid: str
    sop_instance_uid: str
    digest: str
    """SHA-256 of its data set."""
    conflicting: bool
    """Whether another content of the same UID had been acknowledged before."""


@dataclass(slots=True)
class Acknowledged:
    """What theramap has answered with success; written by all senders."""

    instances: set[Instance] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)
    """Studies of which every instance has been acknowledged."""
    sendings: int = 0
    refusals: int = 0
    """Sendings that ended before their last file."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, instances: list[Instance], complete: bool) -> None:
        with self._lock:
            self.sendings += 1
            self.refusals += not complete
            self.instances.update(instances)

    def images(self) -> Counter[str]:
        """How many instances of each study sent in full there are."""
        with self._lock:
            found = Counter(one.study_instance_uid for one in self.instances if not one.conflicting)
            return Counter({study: found[study] for study in self.studies})

    def finish(self, study_instance_uid: str) -> None:
        with self._lock:
            self.studies.add(study_instance_uid)


def data_set_digest(path: Path) -> str:
    """Return the SHA-256 of what follows the File Meta Information (PS3.10 section 7.1)."""
    data = path.read_bytes()
    return hashlib.sha256(data[132 + 12 + int.from_bytes(data[140:144], "little") :]).hexdigest()


class Sender(threading.Thread):
    """Pushes one study after the other until it is told to stop; then it finishes its last one.

    Parameters
    ----------
    folder : Path
        Where its studies are written.
    port : int
        Of theramap.
    number : int
        Of this sender: its studies are its own.
    seed : int
        Of everything random in it.
    record : Acknowledged
        Where it notes what was acknowledged.
    pause_s : float
        The longest it waits between two studies.
    """

    def __init__(
        self, folder: Path, port: int, number: int, seed: int, record: Acknowledged, pause_s: float
    ) -> None:
        super().__init__(name=f"sender-{number}", daemon=True)
        self._folder, self._port, self._number, self._record = folder, port, number, record
        self._random = random.Random(f"{seed}-{number}")
        self._pause_s = pause_s
        self._stop_sending = threading.Event()
        self._give_up = threading.Event()
        self.error: BaseException | None = None

    def finish(self) -> None:
        """No new study after the present one."""
        self._stop_sending.set()

    def abandon(self) -> None:
        """Do not even finish the present study."""
        self._stop_sending.set()
        self._give_up.set()

    def run(self) -> None:
        count = 0
        while not self._stop_sending.is_set():
            self._push_study(self._folder / f"{self._number}-{count}", self._number * 100_000 + count)
            count += 1
            self._stop_sending.wait(self._random.uniform(0, self._pause_s))

    def _push_study(self, folder: Path, seed: int) -> None:
        """Push a study in one go, in two with a gap, twice, with a late slice, or a conflicting instance."""
        phantom_study(folder, seed, SLICES)
        files = sorted(folder.iterdir())
        self._random.shuffle(files)
        way = self._random.choice(("whole", "whole", "gap", "twice", "late", "conflict"))
        if way == "gap":
            half = len(files) // 2
            self._push(files[:half])
            self._give_up.wait(self._random.uniform(0.5, 4.0))
            self._push(files[half:])
        elif way == "late":  # without it there are results, which those with it replace
            slice_at_the_edge = max(files, key=_place)
            self._push([file for file in files if file != slice_at_the_edge])
            self._give_up.wait(self._random.uniform(3.0, 12.0))
            self._push([slice_at_the_edge])
        else:
            self._push(files)
        if way == "twice":
            self._push(files)
        if way == "conflict":
            self._push([_altered(files[0])], conflicting=True)
        if not self._give_up.is_set():
            self._record.finish(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)

    def _push(self, files: list[Path], conflicting: bool = False) -> None:
        """Send files until each has been acknowledged."""
        todo = list(files)
        while todo and not self._give_up.is_set():
            done = storescu(todo, self._port, calling=f"SENDER{self._number}", extra=("-v", *TIMEOUTS))
            answered = _acknowledged(done.stdout + done.stderr)
            accepted = [file for file in todo if str(file) in answered]
            self._record.add([_instance(file, conflicting) for file in accepted], len(accepted) == len(todo))
            todo = [file for file in todo if str(file) not in answered]
            if todo:
                self._give_up.wait(self._random.uniform(0.1, 0.6))


def _acknowledged(output: str) -> set[str]:
    """Return the files that storescu reports as stored."""
    found, current = set(), None
    for line in output.splitlines():
        if sending := SENDING.match(line):
            current = sending[1]
        elif line.startswith(ACKNOWLEDGED) and current is not None:
            found.add(current)
            current = None
    return found


def _instance(path: Path, conflicting: bool) -> Instance:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return Instance(
        header.StudyInstanceUID, header.SOPInstanceUID, data_set_digest(path), conflicting=conflicting
    )


def _place(path: Path) -> tuple[bool, float]:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return header.Modality == "PT", float(header.ImagePositionPatient[2])


def _altered(path: Path) -> Path:
    """Write the same instance with another content beside the study."""
    image = pydicom.dcmread(path)
    image.PixelData = bytes(byte ^ 1 for byte in image.PixelData)
    other = path.with_name(f"{path.name}.other")
    image.save_as(other, enforce_file_format=True)
    return other
