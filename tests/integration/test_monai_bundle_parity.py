"""An imported MONAI bundle gives what MONAI's own ConfigParser and SlidingWindowInferer give.

Random weights put the classes close to one another everywhere, which makes ties of rounding errors: a hard
test. Air is not skipped, since MONAI does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import AsDiscreted, Compose, SaveImaged
from numpy.typing import NDArray

from app.models.bundle import convert_bundle
from operators.domain import Geometry
from operators.segmentation.network.predict import predict
from operators.segmentation.network.types import Image
from operators.segmentation.options import Options
from tests.app.models import bundles

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
HALF = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
WHOLE_BODY = [
    *bundles.LOAD,
    bundles.SPACE,
    {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True},
    {"_target_": "ScaleIntensityd", "keys": "image", "minv": -1.0, "maxv": 1.0},
]
EARLY = [
    *bundles.LOAD,
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 20, "b_min": 0, "b_max": 1},
    bundles.SPACE,
]
TURNED = [
    *bundles.LOAD[:2],
    {"_target_": "Orientationd", "keys": "image", "axcodes": "AIL"},
    bundles.SPACE,
    {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": 1.5, "divisor": 2.5},
]
LARGE = {
    "_target_": "SlidingWindowInferer",
    "roi_size": [48, 112, 32],
    "overlap": 0.25,
    "mode": "constant",
}


@dataclass(frozen=True)
class Bundle:
    """How one bundle differs from the plain one."""

    image: str
    sections: dict[str, Any] = field(default_factory=dict)


BUNDLES = {
    "unet on CT": Bundle("ct"),
    "whole-body chain, labels inverted": Bundle(
        "ct",
        {
            "network": bundles.SEGRESNET,
            "preprocessing": WHOLE_BODY,
            "postprocessing": [
                bundles.ACTIVATE,
                bundles.DISCRETISE,
                bundles.INVERT | {"nearest_interp": True},
                bundles.SAVE,
            ],
            "spacing": (3.7, 3.1, 4.3),
        },
    ),
    "lesion on PET, one channel": Bundle(
        "pet",
        {
            "network": bundles.SEGRESNET,
            "names": ("lesion",),
            "image": bundles.PET,
            "preprocessing": EARLY,
            "postprocessing": [SIGMOID, bundles.INVERT, HALF, bundles.SAVE],
            "inferer": LARGE,
            "spacing": (3.0, 3.0, 3.0),
        },
    ),
    "turned axes, logits inverted": Bundle(
        "pet",
        {
            "image": bundles.PET,
            "preprocessing": TURNED,
            "postprocessing": [bundles.INVERT, bundles.ACTIVATE, bundles.DISCRETISE],
            "spacing": (4.0, -1.0, 3.0),
            "seed": 5,
        },
    ),
}


@pytest.fixture(scope="module")
def images(unpacked: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A real CT and a real PET (in SUV, from DICOM) as NIfTI."""
    from app.suv import run_suv

    pet = tmp_path_factory.mktemp("parity") / "pet.nii.gz"
    assert run_suv(next(unpacked("sts/STS_009.tar.xz").rglob("PET/image")), None, pet) == 0
    ct = max(
        unpacked("totalsegmentator_ct.tar.xz").rglob("*ct*.nii.gz"), key=lambda path: path.stat().st_size
    )
    return {"ct": ct, "pet": pet}


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", BUNDLES)
def test_gives_the_label_map_of_monai(images: dict[str, Path], tmp_path: Path, name: str):
    bundle = BUNDLES[name]
    path = images[bundle.image]
    folder = bundles.write_bundle(tmp_path / "bundle", **bundle.sections)
    labels, probabilities = run_in_monai(folder, path)
    (tmp_path / "package").mkdir()
    package = convert_bundle(folder, tmp_path / "package", bundles.request())
    ours = predict(package, read(path), Options(device="cpu", skip_air=False, probabilities=True))
    values = sorted({label.value for label in package.labels})
    dice = {value: dice_of(ours.labels, labels, value) for value in values}
    print(f"{name}: Dice {dice}, different voxels {np.count_nonzero(ours.labels != labels)} of {labels.size}")
    assert len(np.unique(labels)) == len(values) + 1, (
        "the network must find every label for this to be a test"
    )
    assert min(dice.values()) >= 0.998
    if probabilities is not None:
        assert ours.probabilities is not None
        difference = np.abs(ours.probabilities.astype(np.float32) - probabilities).max()
        print(f"{name}: largest difference of a probability {difference:.2e}")
        assert difference < 1e-3


def run_in_monai(folder: Path, image: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """Run a bundle as its own evaluator does; return its label map, and probabilities if it inverts them."""
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    parser.read_meta(str(folder / "configs" / "metadata.json"))
    parser["bundle_root"] = str(folder)
    parser["datalist"] = [str(image)]
    network = parser.get_parsed_content("network").eval()
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    item = parser.get_parsed_content("dataset")[0]
    with torch.inference_mode():
        logits = parser.get_parsed_content("inferer")(item["image"][None], network)[0]
    steps = [
        step
        for step in parser.get_parsed_content("postprocessing").transforms
        if not isinstance(step, SaveImaged)
    ]
    result = Compose(steps)({"image": item["image"], "pred": logits.clone()})["pred"]
    names = [type(step).__name__ for step in steps]
    until = next(i for i, step in enumerate(steps) if isinstance(step, AsDiscreted))
    probabilities = None
    if "Invertd" in names[:until]:
        found = Compose(steps[:until])({"image": item["image"], "pred": logits.clone()})["pred"]
        probabilities = np.asarray(found).transpose(0, 3, 2, 1)
    return np.asarray(result)[0].astype(np.uint8).transpose(2, 1, 0), probabilities


def read(path: Path) -> Image:
    """Read a NIfTI file as the volume step would give it."""
    file: Any = nibabel.load(path)
    values = np.asanyarray(file.dataobj, dtype=np.float32).transpose(2, 1, 0)
    affine = RAS_TO_LPS @ file.affine
    affine[:, :3] = affine[:, 2::-1]
    z, y, x = values.shape
    return Image(np.ascontiguousarray(values)[None], Geometry((z, y, x), affine, "1.2.3"))


def dice_of(ours: NDArray[Any], theirs: NDArray[Any], value: int) -> float:
    a, b = ours == value, theirs == value
    return float(2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b)))
