"""Builders of a spool's content without a network."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info

from app.demo.phantom import PhantomLesion, PhantomSpec, write_phantom
from app.gateway.spool import SUFFIX, Spool, Stored, Writer, hashed
from operators.study.part10 import read_part10


def spool_files(
    spool: Spool, files: Iterable[Path], ae_title: str = "THERAMAP", arrival_s: float | None = None
) -> list[Stored]:
    """Store Part 10 files as a receiver does; their arrival may be dated."""
    stored = []
    with Writer(spool) as writer:
        for path in sorted(files):
            header, content = dcmread(path, stop_before_pixels=True), path.read_bytes()
            study = spool.folder(ae_title, str(header.get("StudyInstanceUID", "")))
            part = writer.part()
            part.write_header(file_meta_of(header))
            part.write(content[data_set_offset(path) :])
            stored.append(part.commit(study, str(header.SOPInstanceUID)))
            if arrival_s is not None and stored[-1] is Stored.NEW:
                name = f"{hashed(str(header.SOPInstanceUID))}{SUFFIX}"
                for place in (study.path / name, study.path):
                    os.utime(place, (arrival_s, arrival_s))
    return stored


def file_meta_of(header: Dataset) -> bytes:
    """The encoded File Meta Information, without preamble and DICM."""
    meta = DicomBytesIO()
    write_file_meta_info(meta, header.file_meta)
    return meta.getvalue()


def data_set_offset(path: Path) -> int:
    return read_part10(path).data_set_offset


def small_study(folder: Path, made: datetime, seed: int = 0, patient_id: str = "PRIOR-1") -> Path:
    """Write a phantom of four PET and four CT slices, made at a time."""
    spec = PhantomSpec(
        shape=(4, 16, 16),
        spacing_mm=(12.0, 12.0, 12.0),
        lesions=(PhantomLesion((0.0, 0.0, 0.0), 14.0, 8.0),),
        organs=False,
        seed=seed,
        ct_shape=(4, 16, 16),
        ct_spacing_mm=(12.0, 12.0, 12.0),
        patient_id=patient_id,
        scan_start=made,
    )
    write_phantom(folder, spec)
    return folder


def change(folder: Path, **values: str) -> Path:
    """Give all files of a folder other values."""
    for path in folder.iterdir():
        data = dcmread(path)
        for keyword, value in values.items():
            setattr(data, keyword, value)
        data.save_as(path)
    return folder


def study_uid_of(folder: Path) -> str:
    return str(dcmread(next(folder.iterdir()), stop_before_pixels=True).StudyInstanceUID)
