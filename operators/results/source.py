"""The source images as results refer to them: identity and geometry, nothing else of their headers."""

from __future__ import annotations

import math

import numpy as np
from pydicom.dataset import Dataset

from operators.domain import Instance, Volume
from operators.results.headers import drop_names, numbers_of, patient_and_study, text_of


def source_images(
    volume: Volume, slices: tuple[int, ...], study_instance_uid: str, frame_uid: str
) -> list[Dataset]:
    """Headers that stand for some slices of a volume.

    Position, orientation and spacing are the headers' own where they are readable, bit for bit, so that a
    viewer finds the result in the source's planes; else they come from the volume's geometry.

    Parameters
    ----------
    volume : Volume
        The source.
    slices : tuple of int
        Which z.
    study_instance_uid : str
        The study's UID.
    frame_uid : str
        Frame of Reference UID.

    Returns
    -------
    list of Dataset
        One for each slice; of a multi-frame source one in all, with the slices as its frames. They carry no
        person names: see :func:`~operators.results.headers.put_names`.
    """
    shared = _shared(volume, study_instance_uid, frame_uid)
    if volume.frames is not None:
        return [_multi_frame(volume, slices, shared)]
    return [_single_frame(volume, z, shared) for z in slices]


def unique_instances(volume: Volume) -> tuple[Instance, ...]:
    """The volume's instances in order of z, a multi-frame one once."""
    return tuple({instance.sop_instance_uid: instance for instance in volume.instances}.values())


def reference(instance: Instance, study_instance_uid: str) -> Dataset:
    """The four UIDs by which evidence is referred to."""
    uids = Dataset()
    uids.StudyInstanceUID = study_instance_uid
    uids.SeriesInstanceUID = str(instance.header.SeriesInstanceUID)
    uids.SOPClassUID = str(instance.header.SOPClassUID)
    uids.SOPInstanceUID = instance.sop_instance_uid
    return uids


def _shared(volume: Volume, study_instance_uid: str, frame_uid: str) -> Dataset:
    """What all the slices have in common; one orientation, as the volume step has seen to it."""
    header = volume.instances[0].header
    image = patient_and_study(header, study_instance_uid)
    drop_names(image)
    image.update(reference(volume.instances[0], study_instance_uid))
    image.Modality = "PT"
    _, image.Rows, image.Columns = volume.geometry.shape
    image.FrameOfReferenceUID = frame_uid
    if text_of(header, "LossyImageCompression") == "01":
        image.LossyImageCompression = "01"
    image.ImageOrientationPatient = list(
        numbers_of(header, "ImageOrientationPatient", 6) or _orientation(volume)
    )
    image.PixelSpacing = list(numbers_of(header, "PixelSpacing", 2) or _in_plane_spacing(volume))
    image.SliceThickness = _thickness(volume)
    image.SpacingBetweenSlices = _decimal(volume.geometry.spacing_mm[0])
    return image


def _single_frame(volume: Volume, z: int, shared: Dataset) -> Dataset:
    instance = volume.instances[z]
    image = Dataset()
    image.update(shared)
    # The elements above are shared by all the slices: what differs must be a new element, never a new value.
    del image.SOPInstanceUID
    image.SOPInstanceUID = instance.sop_instance_uid
    position = numbers_of(instance.header, "ImagePositionPatient", 3)
    image.ImagePositionPatient = list(position or _position(volume, z))
    return image


def _multi_frame(volume: Volume, slices: tuple[int, ...], shared: Dataset) -> Dataset:
    measures, orientation, common = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = _in_plane_spacing(volume)
    measures.SliceThickness = shared.SliceThickness
    measures.SpacingBetweenSlices = shared.SpacingBetweenSlices
    orientation.ImageOrientationPatient = _orientation(volume)
    common.PixelMeasuresSequence = [measures]
    common.PlaneOrientationSequence = [orientation]
    shared.NumberOfFrames = len(slices)
    shared.SharedFunctionalGroupsSequence = [common]
    shared.PerFrameFunctionalGroupsSequence = [_frame(volume, z) for z in slices]
    return shared


def _frame(volume: Volume, z: int) -> Dataset:
    position, frame = Dataset(), Dataset()
    position.ImagePositionPatient = _position(volume, z)
    frame.PlanePositionSequence = [position]
    return frame


def _position(volume: Volume, z: int) -> list[float]:
    return [_decimal(mm) for mm in volume.geometry.to_lps(np.array([[z, 0, 0]]))[0]]


def _orientation(volume: Volume) -> list[float]:
    """Direction of the columns' index, then of the rows' (PS3.3 C.7.6.2.1.1)."""
    directions = volume.geometry.affine[:3, :3] / volume.geometry.spacing_mm
    return [_decimal(cosine) for cosine in (*directions[:, 2], *directions[:, 1])]


def _in_plane_spacing(volume: Volume) -> list[float]:
    """Between rows, then between columns (PS3.3 10.7.1.3)."""
    return [_decimal(mm) for mm in volume.geometry.spacing_mm[1:]]


def _thickness(volume: Volume) -> float:
    stated = numbers_of(volume.instances[0].header, "SliceThickness", 1)
    return stated[0] if stated is not None and stated[0] > 0 else _decimal(volume.geometry.spacing_mm[0])


def _decimal(value: float) -> float:
    """A number that 16 characters of a decimal string hold (VR DS)."""
    if value == 0 or abs(value) < 1e-9:
        return 0.0
    digits = 13 - max(0, math.floor(math.log10(abs(value))))
    return round(float(value), digits - 1)
