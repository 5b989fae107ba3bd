"""Our engine against nnUNetPredictor itself: the same weights, the same real images, voxel by voxel.

The weights are random, so that most voxels lie near a tie between labels: trained networks agree better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from app.models.nnunet import convert_nnunet
from app.models.request import ImportRequest
from operators.domain import Geometry
from operators.segmentation.engines.names import EngineName
from operators.segmentation.network import predict as predict_module
from operators.segmentation.network.grid import image_of
from operators.segmentation.network.predict import predict
from operators.segmentation.network.types import Image
from operators.segmentation.options import Options
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Modality, Package, Task
from operators.study.load import load_cases
from operators.volume.build import build_ct, build_pet
from tests import nnunet_peer as peer

DICE = 0.998
FEW = 1000
DIFFERING = 2e-4
"""Share of all voxels whose label may differ."""
PROBABILITY = 1e-3
STEPS = 1e-3
"""Part of all probabilities that may be farther apart where nnU-Net sums in half precision: its own differ
from its own in single precision by more than that in nearly one voxel of a hundred."""
SINGLE = (peer.REGIONS,)

pytestmark = pytest.mark.data

PART = (slice(30, 78), slice(10, 76), slice(14, 88))
"""Of the CT: of the trunk."""
CT, PATIENT = "totalsegmentator_ct", "STS_001"


@dataclass(frozen=True)
class Study:
    """A real image, made into a package's input."""

    volumes: Any = None
    """With `pet` and `ct`."""
    image: Image | None = None

    def image_of(self, package: Package) -> Image:
        if self.volumes is not None:
            return image_of(package, self.volumes)
        assert self.image is not None
        return self.image


@pytest.fixture(scope="session")
def studies(unpacked: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Study]:
    torch.set_num_threads(2)
    nifti = nibabel.load(unpacked("totalsegmentator_ct.tar.xz") / "tests/reference_files/example_ct.nii.gz")
    array = np.ascontiguousarray(np.asarray(nifti.dataobj).T[PART], np.float32)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ nifti.affine[:, [2, 1, 0, 3]]
    (case,) = load_cases(unpacked("sts/STS_001.tar.xz"), tmp_path_factory.mktemp("unused"))
    series = {one.header.Modality: one for one in case.study.series}
    return {
        CT: Study(image=Image(array[None], Geometry(array.shape, affine, "1.2.3"))),
        PATIENT: Study(volumes=SimpleNamespace(pet=build_pet(series["PT"])[0], ct=build_ct(series["CT"]))),
    }


def imported(folder: Path, model: peer.Model, target: Path) -> Package:
    """What `theramap models import` makes of a results folder, without the sandbox."""
    request = ImportRequest(
        name=model.name,
        task=Task.ORGANS,
        sha256="0" * 64,
        importer="test",
        orientation="none",
        modalities=tuple(Modality.PET if name == "PET" else Modality.CT for name in model.channels),
        configuration=model.configuration,
    )
    target.mkdir()
    convert_nnunet(folder.parent, target, request)
    return read_package(target)


def dice(ours: Any, theirs: Any) -> dict[int, float]:
    """By label; a label that is absent in both agrees.

    Of a label with fewer than `FEW` voxels, which random weights may give, four voxels on ties would decide:
    these are held by the share of all voxels that differ.
    """
    found = {}
    for label in np.union1d(np.unique(ours), np.unique(theirs)):
        a, b = ours == label, theirs == label
        if np.count_nonzero(b) < FEW and np.count_nonzero(a) < FEW:
            continue
        found[int(label)] = 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
    return found


FAST = (
    (peer.PLAIN, CT, True),
    (peer.PET_CT, PATIENT, False),
    (peer.ANISOTROPIC, CT, False),
    (peer.CASCADE, CT, False),
)
OTHER_ENGINES = (EngineName.TORCH, EngineName.ONNXRUNTIME)


def every_case() -> list[Any]:
    """A few fast; under `slow` all models on both images, mirrored and not, and every engine."""
    cases = [(*case, EngineName.AUTO) for case in FAST]
    for model in peer.EVERY:
        for study in (CT, PATIENT) if "PET" not in model.channels else (PATIENT,):
            cases += [(model, study, mirroring, EngineName.AUTO) for mirroring in (False, True)]
    cases += [(peer.PLAIN, CT, False, engine) for engine in OTHER_ENGINES]
    return [named(*case, slow=place >= len(FAST)) for place, case in enumerate(dict.fromkeys(cases))]


def named(model: peer.Model, study: str, mirroring: bool, engine: EngineName, *, slow: bool) -> Any:
    words = (model.name, study, "mirrored" if mirroring else "straight", engine)
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(model, study, mirroring, engine, id="-".join(words), marks=marks)


def both(
    model: peer.Model, image: Image, package: Package, folder: Path, options: Options, *, single: bool
) -> tuple[dict[int, float], Any]:
    """Agreement of the label maps, and how far apart the probabilities are.

    With `single` a cascade's second stage gets our first stage's label map in nnU-Net too: one voxel of it
    that lies on a tie moves the second stage's probabilities.
    """
    former = None
    if single and model.previous is not None:
        first = replace(package, stages=package.stages[:1])
        former = predict(first, image, replace(options, probabilities=False)).labels
    theirs, probabilities = peer.predict(
        folder,
        image.array,
        image.geometry.spacing_mm,
        mirroring=options.mirroring,
        former=former,
        single=single,
    )
    ours = predict(package, image, options)
    assert ours.probabilities is not None
    assert ours.run.tiles_skipped == 0
    agreement = dice(ours.labels, theirs)
    apart = np.abs(ours.probabilities.astype(np.float32) - probabilities)
    print(
        f"{model.name} {ours.run.engine} mirrored {options.mirroring} single {single}: least Dice "
        f"{min(agreement.values()):.6f}, probabilities apart {apart.max():.1e}, beyond {PROBABILITY} in "
        f"{(apart > PROBABILITY).mean():.1e}"
    )
    assert len(np.unique(theirs)) > 2
    assert (ours.labels != theirs).mean() <= DIFFERING
    return agreement, apart


@pytest.mark.parametrize(("model", "study", "mirroring", "engine"), every_case())
def test_label_map_is_nnunets(
    model: peer.Model,
    study: str,
    mirroring: bool,
    engine: EngineName,
    studies: dict[str, Study],
    tmp_path: Path,
) -> None:
    """As nnU-Net is: sums in half precision, where another last bit of a tile moves a sum by a whole step."""
    folder = peer.write_results(tmp_path, model)
    package = imported(folder, model, tmp_path / model.name)
    options = Options(device="cpu", engine=engine, mirroring=mirroring, skip_air=False, probabilities=True)
    agreement, apart = both(model, studies[study].image_of(package), package, folder, options, single=False)
    assert min(agreement.values()) >= DICE
    assert model.previous is not None or (apart > PROBABILITY).mean() <= STEPS


@pytest.mark.parametrize(
    "model",
    [pytest.param(one, id=one.name, marks=[] if one in SINGLE else [pytest.mark.slow]) for one in peer.EVERY],
)
def test_probabilities_are_nnunets_when_both_sum_in_single_precision(
    model: peer.Model, studies: dict[str, Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = predict_module.first_attempt
    monkeypatch.setattr(
        predict_module, "first_attempt", lambda *given: replace(first(*given), sums=torch.float32)
    )
    folder = peer.write_results(tmp_path, model)
    package = imported(folder, model, tmp_path / model.name)
    image = studies[PATIENT if "PET" in model.channels else CT].image_of(package)
    options = Options(device="cpu", skip_air=False, probabilities=True)
    agreement, apart = both(model, image, package, folder, options, single=True)
    assert min(agreement.values()) >= DICE
    assert apart.max() <= PROBABILITY
