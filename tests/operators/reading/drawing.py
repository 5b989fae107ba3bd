"""Edited segmentations as other programs write them, for the tests of what is read of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from operators.domain import Geometry, Instance, Quantified, Series, Volumes

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"


def ball(shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float) -> np.ndarray:
    distance = sum((axis - at) ** 2 for axis, at in zip(np.indices(shape), centre, strict=True))
    return np.asarray(distance < radius**2)


def with_file(quantified: Quantified, path: Path) -> Volumes:
    """The study with an answer among its instances."""
    header = dcmread(path, stop_before_pixels=True)
    instance = Instance(path, str(header.SOPInstanceUID), header, None)
    volumes = quantified.segmented.volumes
    case = volumes.selection.case
    series = Series(str(header.SeriesInstanceUID), (instance,))
    study = replace(case.study, series=(*case.study.series, series))
    job = replace(case.job, answers=(*case.job.answers, instance.sop_instance_uid))
    selection = replace(volumes.selection, case=replace(case, study=study, job=job))
    return replace(volumes, selection=selection)


def by_highdicom(
    volumes: Volumes,
    masks: Sequence[np.ndarray],
    path: Path,
    *,
    kind: str = "BINARY",
    names: Sequence[tuple[str, str] | None] = (),
    uid: str = "1.2.3.77.1",
    **changes: Any,
) -> Path:
    """Write a segmentation of the PET with highdicom's own constructor."""
    sources = [_whole(instance.header) for instance in volumes.pet.instances]
    named = [*names, *[None] * (len(masks) - len(names))]
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[0] if name else f"Segment {number}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
            tracking_id=name[0] if name else None,
            tracking_uid=name[1] if name else None,
        )
        for number, name in enumerate(named, start=1)
    ]
    pixels = np.stack(masks, axis=-1)
    pixels = pixels.astype(np.float32) if kind == "FRACTIONAL" else pixels.astype(np.uint8)
    if kind == "LABELMAP":
        pixels = (pixels * np.arange(1, len(masks) + 1)).max(axis=-1).astype(np.uint8)
    seg = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid="1.2.3.77",
        series_number=77,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer="Somebody",
        manufacturer_model_name="Editor",
        software_versions="1",
        device_serial_number="1",
    )
    for keyword, value in changes.items():
        setattr(seg, keyword, value)
    seg.save_as(path)
    return path


def by_viewer(
    geometry: Geometry, labels: np.ndarray, path: Path, *, uid: str = "1.2.3.77.2", **changes: Any
) -> Path:
    """Write what a web viewer exports: few attributes, labels and no tracking, frames of one segment each."""
    affine = geometry.affine
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    seg = Dataset()
    seg.SOPClassUID, seg.SOPInstanceUID = SEG_CLASS, uid
    seg.StudyInstanceUID, seg.SeriesInstanceUID = "1.2.3.1", "1.2.3.78"
    seg.FrameOfReferenceUID = geometry.frame_of_reference_uid
    seg.Modality, seg.SegmentationType = "SEG", "BINARY"
    seg.Rows, seg.Columns = geometry.shape[1:]
    seg.SamplesPerPixel, seg.PhotometricInterpretation = 1, "MONOCHROME2"
    seg.BitsAllocated = seg.BitsStored = 1
    seg.HighBit = seg.PixelRepresentation = 0
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [float(steps[1]), float(steps[2])]
    orientation.ImageOrientationPatient = [*(affine[:3, 2] / steps[2]), *(affine[:3, 1] / steps[1])]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    seg.SharedFunctionalGroupsSequence = [shared]
    frames, per_frame = [], []
    for segment in range(1, int(labels.max()) + 1):
        for z in np.flatnonzero((labels == segment).any(axis=(1, 2))).tolist():
            group, place, identification = Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = [round(v, 6) for v in (affine @ [z, 0, 0, 1])[:3].tolist()]
            identification.ReferencedSegmentNumber = segment
            group.PlanePositionSequence = [place]
            group.SegmentIdentificationSequence = [identification]
            per_frame.append(group)
            frames.append(labels[z] == segment)
    seg.PerFrameFunctionalGroupsSequence = per_frame
    seg.NumberOfFrames = len(frames)
    seg.SegmentSequence = []
    for segment in range(1, int(labels.max()) + 1):
        description = Dataset()
        description.SegmentNumber, description.SegmentLabel = segment, f"Lesion {segment}"
        description.SegmentAlgorithmType = "MANUAL"
        seg.SegmentSequence.append(description)
    pixels = np.packbits(np.stack(frames).reshape(-1), bitorder="little").tobytes() if frames else b""
    seg.PixelData = pixels + bytes(len(pixels) % 2)
    seg["PixelData"].VR = "OB"
    for keyword, value in changes.items():
        setattr(seg, keyword, value)
    seg.file_meta = FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    seg.file_meta.MediaStorageSOPClassUID = UID(SEG_CLASS)
    seg.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    seg["PixelData"].VR = "OW"
    seg.save_as(path, enforce_file_format=True)
    return path


def _whole(header: Dataset) -> Dataset:
    """The header with what highdicom asks of a source image."""
    source = Dataset()
    source.update(header)
    source.PatientOrientation, source.InstanceNumber = "", 1
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.PositionReferenceIndicator = ""
    source.SeriesNumber = 1
    return source
