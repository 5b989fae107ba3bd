"""The PET as results refer to it: its instances and frames, and where its planes lie."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.valuerep import format_number_as_ds

from operators.domain import Instance, Volume
from operators.results.encoding import item, sequence, text
from operators.results.headers import numbers_of


@dataclass(frozen=True, slots=True)
class Grid:
    """What all the planes share, as decimal strings hold it (VR DS)."""

    pixel_spacing_mm: tuple[float, ...]
    """Between rows, then between columns (PS3.3 10.7.1.3)."""
    slice_thickness_mm: float
    spacing_between_slices_mm: float
    orientation: tuple[float, ...]
    """Direction of the columns' index, then of the rows' (PS3.3 C.7.6.2.1.1)."""


def grid_of(volume: Volume) -> Grid:
    """The volume's grid; the headers' own numbers where they are readable, bit for bit.

    So a viewer finds a result in the source's planes. A multi-frame source's are the geometry's.
    """
    header = volume.instances[0].header
    single = volume.frames is None
    stated_spacing = numbers_of(header, "PixelSpacing", 2) if single else None
    stated_orientation = numbers_of(header, "ImageOrientationPatient", 6) if single else None
    spacing_mm = tuple(map(_decimal, volume.geometry.spacing_mm))
    return Grid(
        pixel_spacing_mm=stated_spacing or spacing_mm[1:],
        slice_thickness_mm=_thickness_mm(volume),
        spacing_between_slices_mm=spacing_mm[0],
        orientation=stated_orientation or _orientation(volume),
    )


def position_mm(volume: Volume, z: int) -> tuple[float, ...]:
    """Centre of a plane's first pixel (PS3.3 C.7.6.2.1.1): the header's own, else the geometry's."""
    stated = None
    if volume.frames is None:
        stated = numbers_of(volume.instances[z].header, "ImagePositionPatient", 3)
    return stated or tuple(_decimal(mm) for mm in volume.geometry.to_lps(np.array([[z, 0, 0]]))[0])


def decimals(values: Iterable[float]) -> str:
    """Decimal strings, 16 characters each at most (PS3.5 6.2, VR DS)."""
    return "\\".join(format_number_as_ds(float(value)) for value in values)


def unique_instances(volume: Volume) -> tuple[Instance, ...]:
    """The volume's instances in order of z, a multi-frame one once."""
    return tuple({instance.sop_instance_uid: instance for instance in volume.instances}.values())


def instance_reference(instance: Instance) -> tuple[bytes, bytes]:
    """The encoded elements that refer to an instance (PS3.3 10.8)."""
    return reference(str(instance.header.SOPClassUID), instance.sop_instance_uid)


def reference(sop_class_uid: str, sop_instance_uid: str) -> tuple[bytes, bytes]:
    """The encoded elements that refer to an instance by its UIDs."""
    return (
        text("ReferencedSOPClassUID", sop_class_uid),
        text("ReferencedSOPInstanceUID", sop_instance_uid),
    )


def plane_reference(volume: Volume, z: int) -> Iterator[bytes]:
    """The encoded elements that refer to the instance, or the frame of it, that a plane came from."""
    yield from instance_reference(volume.instances[z])
    if volume.frames is not None:
        yield text("ReferencedFrameNumber", str(volume.frames[z]))


def references(keyword: str, instances: Iterable[Instance]) -> bytes:
    """An encoded sequence of references to instances."""
    return sequence(keyword, (item(*instance_reference(instance)) for instance in instances))


def _orientation(volume: Volume) -> tuple[float, ...]:
    directions = volume.geometry.affine[:3, :3] / volume.geometry.spacing_mm
    return tuple(_decimal(cosine) for cosine in (*directions[:, 2], *directions[:, 1]))


def _thickness_mm(volume: Volume) -> float:
    stated = numbers_of(volume.instances[0].header, "SliceThickness", 1)
    return stated[0] if stated is not None and stated[0] > 0 else _decimal(volume.geometry.spacing_mm[0])


def _decimal(value: float) -> float:
    """A number that 16 characters of a decimal string hold (VR DS)."""
    if value == 0 or abs(value) < 1e-9:
        return 0.0
    digits = 13 - max(0, math.floor(math.log10(abs(value))))
    return round(float(value), digits - 1)
