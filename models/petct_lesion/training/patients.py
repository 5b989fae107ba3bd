"""The real patients: DICOM and masks as published, read as a study is and brought to the network's grid."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.models.cases import read_volume
from models.petct_lesion.training.design import draft
from operators.domain import Geometry
from operators.errors import Refused
from operators.segmentation.network.grid import image_of, onto
from operators.segmentation.network.prepare import prepare
from operators.segmentation.network.types import Image
from operators.segmentation.options import Options
from operators.segmentation.package.types import Normalisation, Package, Scheme
from operators.study.load import load_cases
from operators.volume.build import build_ct, build_pet

MASKS = "sts_pet_masks.tar.xz"
WHOLE_BODY = "sts001_wholebody_pet.tar.xz"


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient's images on the network's grid and on the PET's own."""

    name: str
    image: NDArray[np.float32]
    """(channel, z, y, x): SUVbw and HU on the network's grid, not normalised."""
    mask: NDArray[np.bool_]
    """(z, y, x), on the network's grid."""
    own: Image
    """SUVbw and HU on the PET's grid: what the engine is given."""
    truth: NDArray[np.bool_]
    """(z, y, x), on the PET's grid."""


def read_patients(data: Path, cache: Path) -> tuple[Patient, ...]:
    """Read every patient of the collection who has a mask, sorted by name.

    Parameters
    ----------
    data : Path
        Folder with ``sts/STS_nnn.tar.xz`` and the masks' archive.
    cache : Path
        Folder for what was read once.

    Raises
    ------
    FileNotFoundError
        An archive is not there.
    """
    archives = sorted((data / "sts").glob("STS_*.tar.xz"))
    if not archives:
        message = f"no patients in {data / 'sts'}"
        raise FileNotFoundError(message)
    cache.mkdir(parents=True, exist_ok=True)
    patients = []
    for archive in archives:
        kept = cache / f"{archive.name.split('.')[0]}.npz"
        if not kept.is_file():
            _read(archive, data / MASKS, kept)
        patients.append(_load(kept))
    return tuple(patients)


def read_whole_body(data: Path, cache: Path) -> Image:
    """Read the one whole-body PET (STS_001, without a CT) on its own grid."""
    kept = cache / "whole_body.npz"
    if not kept.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            own = _study_image(_unpacked(data / WHOLE_BODY, Path(folder)), Path(folder), ("PT",))
        _save(kept, array=own.array, affine=own.geometry.affine, absent=np.array(own.absent))
    with np.load(kept) as found:
        return _image_from(found)


def on_network_grid(image: Image) -> NDArray[np.float32]:
    """Bring an image to the network's grid as the engine does, but in the inputs' units.

    Returns
    -------
    ndarray of float32, shape (channel, z, y, x)
        An absent channel is zero.
    """
    package = _unnormalised()
    prepared = prepare(
        image, package, package.stages[0], Options(skip_air=False), torch.device("cpu"), former=None
    )
    return prepared.array.numpy()


def mask_on_network_grid(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.bool_]:
    """Bring a mask, (z, y, x), to the network's grid: where its linear interpolation is above one half."""
    channel = mask.astype(np.float32)
    return np.asarray(on_network_grid(Image(np.stack([channel, channel]), geometry))[0] > 0.5)


def _unnormalised() -> Package:
    package = draft(Path())
    plain = Normalisation(Scheme.NONE)
    return replace(package, inputs=tuple(replace(one, normalisation=plain) for one in package.inputs))


def _read(archive: Path, masks: Path, kept: Path) -> None:
    name = archive.name.split(".")[0]
    with tempfile.TemporaryDirectory() as folder:
        study = _unpacked(archive, Path(folder))
        own = _study_image(study, Path(folder), ("PT", "CT"))
        truth = _mask_of(masks, name, own.geometry)
    _save(
        kept,
        image=on_network_grid(own),
        mask=mask_on_network_grid(truth, own.geometry),
        array=own.array,
        affine=own.geometry.affine,
        absent=np.array(own.absent),
        truth=truth,
    )


def _load(kept: Path) -> Patient:
    with np.load(kept) as found:
        return Patient(kept.stem, found["image"], found["mask"], _image_from(found), found["truth"])


def _image_from(found: np.lib.npyio.NpzFile) -> Image:
    array = found["array"]
    z, y, x = array.shape[1:]
    return Image(array, Geometry((z, y, x), found["affine"], "kept"), tuple(int(n) for n in found["absent"]))


def _save(path: Path, **arrays: NDArray[np.generic]) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)  # type: ignore[arg-type]
    part.replace(path)


def _unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "in", filter="data")
    return folder / "in"


def _study_image(study: Path, scratch: Path, modalities: Sequence[str]) -> Image:
    (case,) = load_cases(study, scratch / "out")
    if isinstance(case, Refused):
        message = f"{study.name} cannot be read: {case}"
        raise TypeError(message)
    series = {one.header.Modality: one for one in case.study.series if one.header.Modality in modalities}
    pet, _, _ = build_pet(series["PT"])
    ct = build_ct(series["CT"]) if "CT" in series else None
    volumes: Any = SimpleNamespace(pet=pet, ct=ct)
    return image_of(_unnormalised(), volumes)


def _mask_of(archive: Path, name: str, geometry: Geometry) -> NDArray[np.bool_]:
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        (path,) = Path(folder).rglob(f"{name}.nii.gz")
        values, own = read_volume(path)
    own = replace(own, frame_of_reference_uid=geometry.frame_of_reference_uid)
    return onto((values > 0).astype(np.uint8), own, geometry) > 0
