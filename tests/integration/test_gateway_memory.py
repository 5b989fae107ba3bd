"""A study that needs more memory than there is costs its own process, not the worker, and not the others."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from app.jobs.tables import JobState
from tests.servers import STORESCU, Theramap, free_port, phantom_study, require, storescu, wait_until

LIMIT_MIB = 4096
SIDE, SLICES = 2048, 200
"""Of the large PET: its volume alone is 3.1 GiB, its files are 26 MB."""
DEATHS = 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_study_that_exhausts_the_memory_is_parked_and_the_others_go_on(tmp_path: Path) -> None:
    require(STORESCU)
    settings: dict[str, Any] = {
        "device": "cpu",
        "gateway": {
            "ae_titles": [{"title": "THERAMAP", "quiet_s": 1, "quiet_complete_s": 0.5}],
            "receiver": {"port": free_port()},
            "work": {"memory_limit_mib": LIMIT_MIB, "deaths": DEATHS, "poll_s": 0.1},
        },
    }
    large = phantom_study(tmp_path / "large", 1, SLICES)
    uid = _inflate(large)
    with Theramap(tmp_path / "theramap", settings) as theramap:
        ledger = theramap.ledger()
        worker = theramap.pids_by_role()["work"]
        done = storescu(large, theramap.port, extra=("-xr",))
        assert done.returncode == 0, done.stderr
        wait_until(lambda: ledger.jobs.in_state(JobState.RUNNING), 60, "the large study to be begun")
        for number in range(2, 5):
            assert storescu(phantom_study(tmp_path / str(number), number), theramap.port).returncode == 0
        wait_until(lambda: len(ledger.jobs.in_state(JobState.DONE)) == 3, 150, "the small studies to be done")
        wait_until(lambda: ledger.jobs.in_state(JobState.PARKED), 150, "the large study to be parked")
        (parked,) = ledger.jobs.in_state(JobState.PARKED)
        ledger.engine.dispose()
        time.sleep(1)
        assert parked.study_instance_uid == uid
        assert parked.deaths == DEATHS
        assert parked.reason
        assert theramap.pids_by_role()["work"] == worker, "the worker died with it"


def _inflate(folder: Path) -> str:
    """Make the PET slices of a study large, their files small; its Study Instance UID."""
    pixels = encapsulate([_zeros(SIDE, SIDE)])
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        if image.Modality == "PT":
            image.Rows = image.Columns = SIDE
            image.PixelSpacing = [0.1, 0.1]
            image.file_meta.TransferSyntaxUID = RLELossless
            image.PixelData = pixels
            image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
            image.save_as(path)
    return str(image.StudyInstanceUID)


def _zeros(rows: int, columns: int) -> bytes:
    """A frame of 16-bit zeros in two RLE segments (PS3.5 Annex G); columns a multiple of 128."""
    segment = bytes([257 - 128, 0]) * (columns // 128) * rows
    return struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
