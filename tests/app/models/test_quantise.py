"""int8 weights: how they are made, what they cost, and that the cost is written down."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.networks.nets import UNet
from numpy.typing import NDArray

from app.models import quantise as quantise_module
from app.models.bundle import convert_bundle
from app.models.cases import Case, read_case
from app.models.int8 import calibration_tiles
from app.models.quantise import MEASURE, Loss, measure, quantise
from operators.domain import Geometry
from operators.errors import SegmentationRefusal
from operators.segmentation.engines.names import EngineName, Precision
from operators.segmentation.network.predict import predict
from operators.segmentation.network.types import Image
from operators.segmentation.options import Options
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Package
from tests.app.models import bundles

NETWORK = bundles.UNET | {"out_channels": 1, "norm": "instance", "channels": [8, 16, 32], "act": "leakyrelu"}
BEFORE = [
    *bundles.LOAD,
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 10, "b_min": 0, "b_max": 1},
]
AFTER = [
    {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
    {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
]
INFERER = bundles.INFERER | {"roi_size": [32, 32, 32], "overlap": 0.5}


def make_package(folder: Path, state: dict[str, torch.Tensor] | None = None) -> Package:
    bundle = bundles.write_bundle(
        folder / "bundle",
        network=NETWORK,
        preprocessing=BEFORE,
        postprocessing=AFTER,
        inferer=INFERER,
        names=("lesion",),
        image=bundles.PET,
    )
    if state is not None:
        torch.save(state, bundle / "models" / "model.pt")
    (folder / "package").mkdir()
    return convert_bundle(bundle, folder / "package", bundles.request())


def write_patient(folder: Path, seed: int, truth: bool = True) -> None:
    """A warm body with a hot ball in it, and the ball as truth."""
    folder.mkdir(parents=True)
    z, y, x = np.indices((40, 44, 48))
    ball = (z - 20) ** 2 + (y - 18 - seed) ** 2 + (x - 24) ** 2 < 40
    noise = np.random.default_rng(seed).normal(0.0, 0.2, ball.shape)
    save(folder / "PT.nii.gz", (1.0 + 8.0 * ball + noise).astype(np.float32))
    if truth:
        save(folder / "truth.nii.gz", ball.astype(np.uint8))


def save(path: Path, array: NDArray[Any], step: float = 4.0) -> None:
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([step, step, step, 1.0])), path)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(tmp_path_factory.mktemp("quantise"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "b")):
        write_patient(tmp_path / "images" / name, seed)
    return tmp_path / "images"


def labels(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32).reshape(1, 1, -1)


def case(truth: NDArray[np.int32] | None) -> Case:
    image = Image(np.zeros((1, 1, 1, 4), np.float32), Geometry((1, 1, 4), np.eye(4), "1"))
    return Case("one", image, truth)


def test_the_loss_is_the_dice_that_int8_loses_against_the_truth(package: Package):
    cases = [case(labels(1, 1, 0, 0))]
    loss = measure(package, cases, [labels(1, 1, 0, 0)], [labels(1, 0, 0, 0)])
    assert loss.against == "truth"
    assert loss.mean == pytest.approx(1.0 - 2.0 / 3.0)


def test_without_truth_the_loss_is_against_single_precision(package: Package):
    cases = [case(None), case(labels(1, 0, 0, 0))]
    single = [labels(1, 1, 0, 0), labels(0, 0, 0, 0)]
    loss = measure(package, cases, single, [labels(1, 0, 0, 0), labels(0, 0, 0, 0)])
    assert loss.against == "single precision"
    assert loss.each == pytest.approx((1.0 - 2.0 / 3.0, 0.0))


def test_reads_a_patient_on_the_packages_grid(package: Package, images: Path):
    read = read_case(images / "a", package)
    assert read.image.array.shape == (1, 40, 44, 48)
    assert read.image.geometry.spacing_mm == (4.0, 4.0, 4.0)
    assert read.truth is not None
    assert read.image.array[0][read.truth == 1].mean() == pytest.approx(9.0, abs=0.1)


def test_refuses_a_truth_on_another_grid(package: Package, images: Path):
    save(images / "a" / "truth.nii.gz", np.zeros((40, 44, 48), np.uint8), step=3.0)
    with pytest.raises(SegmentationRefusal, match=r"a/truth\.nii\.gz does not lie on the grid"):
        read_case(images / "a", package)


def test_refuses_a_patient_without_an_image(package: Package, images: Path):
    (images / "a" / "PT.nii.gz").unlink()
    with pytest.raises(SegmentationRefusal, match=r"a has no PT\.nii\.gz"):
        read_case(images / "a", package)


def test_calibrates_with_tiles_as_the_network_sees_them(package: Package, images: Path):
    tiles = calibration_tiles(package, [read_case(images / "a", package).image], 3)
    assert [tile.shape for tile in tiles] == [(1, 1, 32, 32, 32)] * 3
    assert tiles[0].max() == pytest.approx(0.95, abs=0.1)  # 9 of 10, with noise: the ball is in the first


def test_refuses_when_nncf_is_not_installed(package: Package, images: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(SegmentationRefusal, match=r"QUANTISE_UNAVAILABLE.*theramap\[quantise\]"):
        quantise(package, images)


def test_refuses_when_no_patient_is_left_to_measure_on(package: Package, images: Path):
    with pytest.raises(SegmentationRefusal, match="no patient is left"):
        quantise(package, images, calibrate_on=("a", "b"))
    with pytest.raises(SegmentationRefusal, match="there is no folder c"):
        quantise(package, images, calibrate_on=("c",))


def test_refuses_a_cascade(package: Package, images: Path):
    with pytest.raises(SegmentationRefusal, match="a cascade"):
        quantise(replace(package, stages=package.stages * 2), images)


def test_adds_int8_weights_and_writes_their_loss(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
):
    package = make_package(tmp_path)
    recipes = quantise_module.RECIPES
    monkeypatch.setattr(quantise_module, "RECIPES", recipes[1:2])
    lines: list[str] = []
    written = quantise(package, images, tiles=4, report=lines.append)
    assert read_package(package.folder) == written
    assert written.digest != package.digest
    (weights,) = written.stages[0].weights
    assert weights.int8 is not None
    assert weights.int8_weights is not None
    assert weights.onnx == package.stages[0].weights[0].onnx
    (row,) = [each for each in written.quality if each.measure == MEASURE]
    assert row.value == written.int8_dice_loss
    assert "against truth" in row.method
    assert "first and last convolution single" in row.method
    assert MEASURE in (package.folder / "README.md").read_text()
    assert lines[0] == "calibrating with 4 tiles of a"


def test_new_int8_weights_take_the_place_of_former_ones_only_when_they_are_whole(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
):
    package = make_package(tmp_path)
    monkeypatch.setattr(quantise_module, "RECIPES", quantise_module.RECIPES[1:2])
    monkeypatch.setattr(quantise_module, "measure", lambda *_: Loss((0.001,), "truth"))
    first = quantise(package, images, tiles=2)
    with monkeypatch.context() as broken:
        broken.setattr(quantise_module, "write_package", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quantise(first, images, calibrate_on=["b"], tiles=2)
    assert read_package(package.folder) == first
    second = quantise(first, images, calibrate_on=["b"], tiles=2)
    assert read_package(package.folder) == second
    assert second.digest != first.digest
    (weights,) = first.stages[0].weights
    for former in (weights.int8, weights.int8_weights):
        assert former is not None
        assert not (package.folder / former.path).exists()


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


# -- with real patients ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.data
def test_int8_of_a_trained_network_costs_little(unpacked: Callable[[str], Path], tmp_path: Path):
    from app.suv import run_suv

    masks = unpacked("sts_pet_masks.tar.xz")
    patients = ("STS_009", "STS_039", "STS_001", "STS_005", "STS_012")
    for name in patients:
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        source = next(unpacked(f"sts/{name}.tar.xz").rglob("PET/image"))
        assert run_suv(source, None, folder / "PT.nii.gz") == 0
        put_on(next(masks.rglob(f"{name}.nii.gz")), folder / "PT.nii.gz", folder / "truth.nii.gz")
    trained = patients[:2]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a network is slowed by more, which wait for one another
    state = train([tmp_path / "images" / name for name in trained])
    torch.set_num_threads(threads)
    package = make_package(tmp_path, state)
    written = quantise(package, tmp_path / "images", calibrate_on=trained, tiles=24, report=print)
    assert written.int8_dice_loss is not None
    assert written.int8_dice_loss <= 0.02
    of = tmp_path / "images" / "STS_039"
    times = [network_s(written, of, precision) for precision in (Precision.SINGLE, Precision.INT8)]
    print(f"network time: single {times[0]:.3f} s, int8 {times[1]:.3f} s")
    dice = [dice_of(package, tmp_path / "images" / name) for name in patients[2:]]
    print(f"Dice of single precision against truth: {dice}")
    assert np.mean(dice) > 0.4, "a network that finds nothing has nothing to lose"


def dice_of(package: Package, patient: Path) -> float:
    read = read_case(patient, package)
    assert read.truth is not None
    found = predict(package, read.image, Options(device="cpu", engine=EngineName.OPENVINO)).labels
    both = np.count_nonzero(found & read.truth)
    return 2 * both / (np.count_nonzero(found) + np.count_nonzero(read.truth))


def put_on(mask: Path, image: Path, target: Path) -> None:
    """Write a mask on the image's own grid, which other software turned or rounded."""
    from nibabel.processing import resample_from_to

    reference: Any = nibabel.load(image)
    read: Any = nibabel.load(mask)
    turned = resample_from_to(read, reference, order=0)
    nibabel.save(nibabel.Nifti1Image(np.asarray(turned.dataobj).astype(np.uint8), reference.affine), target)


def train(folders: list[Path], steps: int = 500) -> dict[str, torch.Tensor]:
    """Train the network on patients' PET, on patches half of which hold tumour."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    pairs = [
        (
            np.asarray(nibabel.load(folder / "PT.nii.gz").dataobj, np.float32).clip(0) / 10.0,  # type: ignore[attr-defined]
            np.asarray(nibabel.load(folder / "truth.nii.gz").dataobj, np.float32),  # type: ignore[attr-defined]
        )
        for folder in folders
    ]
    network = UNet(**{key: value for key, value in NETWORK.items() if key != "_target_"})  # type: ignore[arg-type]
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(steps):
        image, mask = pairs[step % len(pairs)]
        batch = [patch(image, mask, generator, inside) for inside in (True, False)]
        x = torch.from_numpy(np.stack([one[0] for one in batch]))[:, None]
        y = torch.from_numpy(np.stack([one[1] for one in batch]))[:, None]
        p = torch.sigmoid(network(x))
        loss = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        loss = loss + torch.nn.functional.binary_cross_entropy(p, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"trained {steps} steps, loss {loss.item():.3f}")
    return network.state_dict()


def patch(
    image: NDArray[np.float32], mask: NDArray[np.float32], generator: np.random.Generator, inside: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut 24³ voxels, round a tumour voxel or anywhere."""
    size = 24
    padding = [(0, max(0, size - n)) for n in image.shape]
    image, mask = np.pad(image, padding), np.pad(mask, padding)
    voxels = np.argwhere(mask > 0)
    centre = voxels[generator.integers(len(voxels))] if inside else generator.integers(0, image.shape)
    start = [int(np.clip(c - size // 2, 0, n - size)) for c, n in zip(centre, image.shape, strict=True)]
    box = tuple(slice(s, s + size) for s in start)
    return image[box].copy(), mask[box].copy()


def network_s(package: Package, patient: Path, precision: Precision) -> float:
    """Best of three network times."""
    options = Options(device="cpu", engine=EngineName.OPENVINO, precision=precision, skip_air=False)
    image = read_case(patient, package).image
    runs = [predict(package, image, options).run for _ in range(3)]
    assert {run.precision for run in runs} == {precision}
    return min(run.times_s["network"] for run in runs)
