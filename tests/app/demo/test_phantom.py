"""The phantom's truth, against what an independent reader computes from the files."""

from __future__ import annotations

import hashlib
import math
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from app.demo.phantom import PhantomLesion, PhantomSpec, PhantomTruth, write_phantom
from app.demo.phantom_spec import TRANSFER_SYNTAXES
from tests.conftest import missing

SMALL: dict[str, Any] = {
    "shape": (24, 32, 32),
    "spacing_mm": (8.0, 8.0, 8.0),
    "organs": False,
    "n_lesions": 2,
    "ct": False,
}


def series(folder: Path, modality: str) -> list[Dataset]:
    """The images of a modality in the order of their slices along the normal."""
    images = [pydicom.dcmread(path) for path in folder.iterdir()]
    images = [image for image in images if image.Modality == modality]
    cosines = np.array(images[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    return sorted(images, key=lambda image: float(normal @ np.array(image.ImagePositionPatient, float)))


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%d%H%M%S.%f")


def suvbw(images: list[Dataset]) -> np.ndarray:
    """SUVbw by the header alone, for the units and corrections that the phantom writes."""
    agent = images[0].RadiopharmaceuticalInformationSequence[0]
    decay = math.log(2) / float(agent.RadionuclideHalfLife)
    injection = moment(agent.RadiopharmaceuticalStartDateTime)
    per_dose = float(images[0].PatientWeight) * 1000 / float(agent.RadionuclideTotalDose)
    planes = []
    for image in images:
        frame_s = float(image.ActualFrameDuration) / 1000
        acquisition = moment(image.AcquisitionDate + image.AcquisitionTime)
        mean_decay = decay * frame_s / (1 - math.exp(-decay * frame_s))
        if image.Units == "GML":
            factor = 1.0
        elif image.Units == "CNTS":
            factor = float(image.private_block(0x7053, "Philips PET Private Group")[0x00].value)
        elif image.DecayCorrection == "ADMIN":
            factor = per_dose
        elif image.DecayCorrection == "START":
            # clinical.md 1, third rule: by back-computation from the slice's own clock
            start_s = math.log(mean_decay) / decay - float(image.FrameReferenceTime) / 1000
            factor = per_dose * math.exp(decay * ((acquisition - injection).total_seconds() + start_s))
        else:
            factor = per_dose * mean_decay * math.exp(decay * (acquisition - injection).total_seconds())
        planes.append(image.pixel_array * float(image.RescaleSlope) * factor)
    return np.stack(planes)


def assert_true(folder: Path, truth: PhantomTruth) -> None:
    """The files hold the lesions that the truth tells of, and nothing else above them."""
    images = series(folder, "PT")
    suv = suvbw(images)
    assert suv.shape == truth.geometry.shape
    np.testing.assert_array_equal(suv >= 4.0, truth.mask)
    for lesion in truth.lesions:
        values = suv[lesion.box][lesion.mask]
        assert values.size == lesion.voxels
        assert values.max() == pytest.approx(lesion.suv_max, rel=1e-9)
        assert values.mean() == pytest.approx(lesion.suv_mean, rel=1e-9)
        assert suv[lesion.suv_max_index] == values.max()
        assert np.count_nonzero(values == values.max()) == 1
        assert np.abs(np.delete(values, values.argmax()) - lesion.suv).max() < 0.002
        z, y, x = lesion.suv_max_index
        image = images[z]
        row, column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        down, across = (float(spacing) for spacing in image.PixelSpacing)
        place = np.array(image.ImagePositionPatient, float) + y * down * column + x * across * row
        assert place == pytest.approx(truth.geometry.to_lps(np.array([[z, y, x]]))[0], abs=1e-6)
        assert math.dist(place, lesion.center_mm) <= np.linalg.norm(truth.geometry.spacing_mm) / 2
        assert math.dist(lesion.centroid_mm, lesion.center_mm) < max(truth.geometry.spacing_mm) / 2


@pytest.mark.parametrize("vendor", ["ge", "siemens", "philips"])
@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal", (0.8, 0.6, 0.0, -0.6, 0.8, 0.0)])
def test_stored_values_are_the_truth(tmp_path: Path, vendor: Any, orientation: Any) -> None:
    assert_true(
        tmp_path, write_phantom(tmp_path, PhantomSpec(**SMALL, vendor=vendor, orientation=orientation))
    )


@pytest.mark.parametrize(
    ("units", "decay"),
    [("BQML", "START"), ("BQML", "ADMIN"), ("BQML", "NONE"), ("GML", "ADMIN"), ("CNTS", "START")],
)
def test_every_unit_and_decay_correction_gives_the_suv(tmp_path: Path, units: Any, decay: Any) -> None:
    spec = PhantomSpec(**SMALL, vendor="philips", units=units, decay_correction=decay, tracer="sstr")
    truth = write_phantom(tmp_path, spec)
    assert_true(tmp_path, truth)
    assert series(tmp_path, "PT")[0].DecayCorrection == decay


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda uid: uid.keyword)
def test_every_transfer_syntax_holds_the_same_pixels(tmp_path: Path, syntax: Any) -> None:
    spec = PhantomSpec(**(SMALL | {"ct": True}), transfer_syntax_uid=syntax)
    truth = write_phantom(tmp_path, spec)
    assert_true(tmp_path, truth)
    assert {image.file_meta.TransferSyntaxUID for image in series(tmp_path, "PT")} == {syntax}
    ct = series(tmp_path, "CT")
    hu = ct[len(ct) // 2].pixel_array - 1024.0
    assert hu.min() < -950
    assert 30 < np.median(hu[hu > -500]) < 60


def test_philips_activity_factor_agrees_with_its_suv_factor(tmp_path: Path) -> None:
    write_phantom(tmp_path, PhantomSpec(**SMALL, vendor="philips"))
    image = series(tmp_path, "PT")[0]
    block = image.private_block(0x7053, "Philips PET Private Group")
    agent = image.RadiopharmaceuticalInformationSequence[0]
    dose = float(agent.RadionuclideTotalDose) * 2 ** (-3600 / float(agent.RadionuclideHalfLife))
    assert float(block[0x09].value) * 75000 / dose == pytest.approx(float(block[0x00].value), rel=1e-9)


@pytest.mark.parametrize(
    ("vendor", "group", "creator", "element"),
    [("ge", 0x0009, "GEMS_PETD_01", 0x0D), ("siemens", 0x0071, "SIEMENS MED PT", 0x22)],
)
def test_vendors_keep_the_start_of_the_scan(
    tmp_path: Path, vendor: Any, group: int, creator: str, element: int
) -> None:
    write_phantom(tmp_path, PhantomSpec(**SMALL, vendor=vendor))
    start = series(tmp_path, "PT")[0].private_block(group, creator)[element].value
    assert moment(start) == datetime(2024, 3, 5, 10, 30)


def test_vendors_scale_their_slices_in_their_own_way(tmp_path: Path) -> None:
    slopes, signed = {}, {}
    for vendor in ("ge", "siemens", "philips"):
        write_phantom(tmp_path / vendor, PhantomSpec(**SMALL, vendor=vendor))
        images = series(tmp_path / vendor, "PT")
        slopes[vendor] = len({image.RescaleSlope for image in images})
        signed[vendor] = images[0].PixelRepresentation
    assert slopes["siemens"] == 1
    assert slopes["ge"] > 5
    assert slopes["philips"] > 5
    assert signed == {"ge": 1, "siemens": 0, "philips": 0}


def test_same_lesions_lie_at_the_same_place_in_every_orientation(tmp_path: Path) -> None:
    lesions = (PhantomLesion((20.0, -10.0, 40.0), 12.0, 8.0), PhantomLesion((-40.0, 10.0, -30.0), 15.0, 6.0))
    found = []
    for orientation, shape, spacing in (
        ("axial", (60, 40, 50), (5.0, 4.0, 4.0)),
        ("coronal", (40, 60, 50), (4.0, 5.0, 4.0)),
        ("sagittal", (50, 60, 40), (4.0, 5.0, 4.0)),
    ):
        spec = PhantomSpec(
            shape=shape, spacing_mm=spacing, orientation=orientation, lesions=lesions, organs=False, ct=False
        )  # type: ignore[arg-type]
        truth = write_phantom(tmp_path / str(orientation), spec)
        assert_true(tmp_path / str(orientation), truth)
        found.append([(t.voxels, *np.round(t.centroid_mm, 6)) for t in truth.lesions])
    assert found[0] == found[1] == found[2]


def test_volume_tends_to_the_sphere(tmp_path: Path) -> None:
    lesion = PhantomLesion((1.0, 2.0, 3.0), 15.0, 10.0)
    spec = PhantomSpec(
        shape=(40, 64, 64), spacing_mm=(2.0, 1.5, 1.5), lesions=(lesion,), ct=False, organs=False
    )
    (true,) = write_phantom(tmp_path, spec).lesions
    assert true.sphere_ml == pytest.approx(14.137, abs=1e-3)
    assert true.volume_ml == pytest.approx(true.sphere_ml, rel=0.01)


@pytest.mark.parametrize("tracer", ["fdg", "psma", "sstr", "fapi"])
def test_seeded_lesions_are_apart_from_each_other_and_from_organs(tmp_path: Path, tracer: Any) -> None:
    spec = PhantomSpec(shape=(72, 48, 48), spacing_mm=(12.0, 9.0, 9.0), tracer=tracer, n_lesions=6, ct=False)
    truth = write_phantom(tmp_path, spec)
    suv = suvbw(series(tmp_path, "PT"))
    for lesion in truth.lesions:
        # a shell of one voxel round the lesion is background
        shell = tuple(slice(axis.start - 1, axis.stop + 1) for axis in lesion.box)
        around = suv[shell].copy()
        around[1:-1, 1:-1, 1:-1][lesion.mask] = 0.0
        assert around.max() < 2.5


def test_organs_take_up_their_tracer(tmp_path: Path) -> None:
    hot = {}
    for tracer in ("fdg", "psma"):
        spec = PhantomSpec(
            tracer=tracer, shape=(72, 48, 48), spacing_mm=(12.0, 9.0, 9.0), n_lesions=0, ct=False
        )
        write_phantom(tmp_path / tracer, spec)  # type: ignore[arg-type]
        suv = suvbw(series(tmp_path / tracer, "PT"))
        hot[tracer] = (
            float(np.median(suv[64][suv[64] > 4])) if (suv[64] > 4).any() else 0.0,
            float(suv.max()),
        )
    assert hot["fdg"][0] == pytest.approx(8.0, rel=0.05)
    assert hot["psma"][0] == 0.0
    assert hot["psma"][1] > 40


def test_same_specification_gives_the_same_bytes(tmp_path: Path) -> None:
    spec = PhantomSpec(**(SMALL | {"ct": True}))
    digests = []
    for name in ("a", "b"):
        write_phantom(tmp_path / name, spec)
        digests.append(
            {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / name).iterdir()}
        )
    assert digests[0] == digests[1]
    assert len(digests[0]) == 48


def test_other_seed_is_another_study_unless_told_otherwise(tmp_path: Path) -> None:
    alone = [write_phantom(tmp_path / f"a{seed}", PhantomSpec(**SMALL, seed=seed)) for seed in (1, 2)]
    shared = [
        write_phantom(tmp_path / f"s{seed}", PhantomSpec(**SMALL, seed=seed, study_seed=7)) for seed in (1, 2)
    ]
    assert alone[0].study_instance_uid != alone[1].study_instance_uid
    assert shared[0].study_instance_uid == shared[1].study_instance_uid
    assert shared[0].pet_series_uid != shared[1].pet_series_uid
    assert shared[0].geometry.frame_of_reference_uid == shared[1].geometry.frame_of_reference_uid


def test_ct_covers_the_body_in_the_frame_asked_for(tmp_path: Path) -> None:
    for same in (True, False):
        spec = PhantomSpec(**(SMALL | {"ct": True, "orientation": "coronal"}), same_frame=same)
        truth = write_phantom(tmp_path / str(same), spec)
        ct, pet = series(tmp_path / str(same), "CT"), series(tmp_path / str(same), "PT")
        assert (ct[0].FrameOfReferenceUID == pet[0].FrameOfReferenceUID) is same
        assert truth.ct_geometry is not None
        assert truth.ct_geometry.shape == (len(ct), ct[0].Rows, ct[0].Columns)
        # coronal PET: slices along P, rows along S, columns along L
        assert truth.ct_geometry.spacing_mm == (8.0, 4.0, 4.0)
        assert truth.ct_geometry.shape == (32, 48, 64)


def test_file_names_do_not_follow_the_slices(tmp_path: Path) -> None:
    write_phantom(tmp_path, PhantomSpec(**SMALL))
    by_name = [pydicom.dcmread(path).InstanceNumber for path in sorted(tmp_path.iterdir())]
    assert by_name not in (sorted(by_name), sorted(by_name, reverse=True))


def test_injection_the_evening_before(tmp_path: Path) -> None:
    spec = PhantomSpec(**SMALL, scan_start=datetime(2024, 3, 5, 0, 20), uptake_min=60.0)
    assert_true(tmp_path, write_phantom(tmp_path, spec))
    agent = series(tmp_path, "PT")[0].RadiopharmaceuticalInformationSequence[0]
    assert moment(agent.RadiopharmaceuticalStartDateTime) == spec.scan_start - timedelta(hours=1)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"shape": (0, 4, 4)}, "shape"),
        ({"spacing_mm": (1.0, math.nan, 1.0)}, "spacing_mm"),
        ({"orientation": "oblique"}, "orientation"),
        ({"orientation": (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)}, "orthonormal"),
        ({"tracer": "choline"}, "tracer"),
        ({"vendor": "ge", "units": "CNTS"}, "CNTS"),
        ({"transfer_syntax_uid": "1.2.840.10008.1.2.4.50"}, "transfer_syntax_uid"),
        ({"weight_kg": 0.0}, "weight_kg"),
        ({"units": "GML", "decay_correction": "NONE"}, "GML"),
    ],
)
def test_specification_names_what_cannot_be(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        PhantomSpec(**wrong)


@pytest.mark.parametrize(
    ("lesions", "sentence"),
    [
        (
            (PhantomLesion((0.0, 0.0, 0.0), 10.0, 5.0), PhantomLesion((5.0, 0.0, 0.0), 10.0, 5.0)),
            "shares voxels",
        ),
        ((PhantomLesion((900.0, 0.0, 0.0), 10.0, 5.0),), "no voxel"),
        ((PhantomLesion((0.0, 0.0, 0.0), 0.5, 5.0),), "no voxel"),
    ],
)
def test_lesions_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, lesions: tuple[PhantomLesion, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        write_phantom(tmp_path, PhantomSpec(**SMALL, lesions=lesions))


def test_body_without_room_for_the_lesions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="room for"):
        write_phantom(tmp_path, PhantomSpec(**(SMALL | {"n_lesions": 500})))


@pytest.mark.parametrize("vendor", ["ge", "siemens", "philips"])
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, TRANSFER_SYNTAXES[0]])
def test_dciodvfy_finds_nothing(tmp_path: Path, vendor: Any, syntax: Any) -> None:
    spec = PhantomSpec(**(SMALL | {"ct": True}), vendor=vendor, transfer_syntax_uid=syntax)
    write_phantom(tmp_path, spec)
    first = {pydicom.dcmread(path, stop_before_pixels=True).Modality: path for path in tmp_path.iterdir()}
    assert set(first) == {"PT", "CT"}
    for path in first.values():
        try:
            done = subprocess.run(
                ["dciodvfy", "-new", path], capture_output=True, text=True, timeout=60, check=False
            )
        except FileNotFoundError:
            missing("dciodvfy (Debian package dicom3tools) is not installed")
        lines = (done.stdout + done.stderr).splitlines()
        assert [line for line in lines if line.startswith("Error")] == []
        # what only a DICOMDIR would want is no fault of an image
        assert [line for line in lines if line.startswith("Warning") and "DICOMDIR" not in line] == []
