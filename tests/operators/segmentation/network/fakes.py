"""Sessions, stages and networks that tests are made of: no engine, no package folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from operators.domain import Geometry
from operators.segmentation.engines.session import Facts
from operators.segmentation.network.types import Image, Outline, Way
from operators.segmentation.package.types import (
    Activation,
    Crop,
    Input,
    Interpolation,
    Modality,
    Normalisation,
    Origin,
    Package,
    Resampled,
    Resampling,
    Scheme,
    Shape,
    Stage,
    Task,
    Tile,
    Triple,
    Weights,
)

Network = Callable[[torch.Tensor], torch.Tensor]
LINEAR = Resampling(Interpolation.SPLINE, order=1, separate_planes=False)


class FakeSession:
    """Python functions as networks; with `gpu` it says that a GPU of this name computes."""

    def __init__(self, *networks: Network, gpu: str = "", precision: str = "single") -> None:
        self._networks = networks
        self._precision = precision
        self._gpu = gpu
        self.device = torch.device("cpu")
        self.calls: list[tuple[int, int]] = []
        """Fold and batch of each run."""

    @property
    def facts(self) -> Facts:
        return Facts("fake", "1.0", "CPU", self._gpu or "cpu", self._precision)

    @property
    def folds(self) -> int:
        return len(self._networks)

    def run(self, fold: int, tiles: torch.Tensor) -> torch.Tensor:
        self.calls.append((fold, len(tiles)))
        assert tiles.is_contiguous()
        with torch.inference_mode():
            return self._networks[fold](tiles).contiguous()

    def close(self) -> None:
        pass


def convolution(channels_in: int, classes: int, seed: int = 0) -> torch.nn.Module:
    """A random network of two layers whose logits vary smoothly enough to have ties and borders."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv3d(channels_in, 8, 3, padding=1),
        torch.nn.LeakyReLU(),
        torch.nn.Conv3d(8, classes, 3, padding=1),
    ).eval()


def stage(size: Shape = (16, 16, 16), classes: int = 3, **changes: Any) -> Stage:
    """A stage of nnU-Net's kind."""
    tile = changes.pop("tile", None) or Tile(size)
    fields: dict[str, Any] = {
        "name": "fullres",
        "dimensions": 2 if size[0] == 1 else 3,
        "channels_in": 1,
        "channels_out": classes,
        "orientation": None,
        "transpose": (0, 1, 2),
        "spacing_mm": None,
        "crop": Crop.NONE,
        "image_resampling": LINEAR,
        "output_resampling": LINEAR,
        "resampled": Resampled.LOGITS,
        "tile": tile,
        "mirror_axes": (0, 1, 2),
        "activation": Activation.SOFTMAX,
        "channel_labels": tuple(range(classes)),
        "weights": (Weights("0"),),
    }
    return Stage(**fields | changes)


def way(
    network: Shape,
    image: Shape | None = None,
    network_mm: Triple = (1.0, 1.0, 1.0),
    image_mm: Triple = (1.0, 1.0, 1.0),
) -> Way:
    """From an image in the network's frame, uncropped."""
    image = image or network
    return Way(
        image_shape=image,
        axes=(0, 1, 2),
        flipped=(False, False, False),
        box=(slice(0, image[0]), slice(0, image[1]), slice(0, image[2])),
        cropped_shape=image,
        cropped_spacing_mm=image_mm,
        network_shape=network,
        network_spacing_mm=network_mm,
    )


def package(*stages: Stage, modality: Modality = Modality.CT) -> Package:
    """A package of these stages with one input that is not normalised."""
    return Package(
        folder=Path(),
        name="fake",
        version="1.0.0",
        title="Fake",
        task=Task.ORGANS,
        description="",
        licence="",
        training_data="",
        citation="",
        tracers=(),
        inputs=(Input("image", modality, "[hnsf'U]", Normalisation(Scheme.NONE)),),
        grid=modality,
        labels=(),
        stages=stages,
        quality=(),
        int8_dice_loss=None,
        origin=Origin("theramap", "0" * 64, "tests"),
        digest="1" * 64,
    )


def outline(mask: NDArray[np.bool_] | torch.Tensor) -> Outline:
    """A body in blocks of one voxel."""
    mask = np.asarray(mask)
    z, y, x = (np.arange(n) for n in mask.shape)
    return Outline(mask, (z, y, x))


def image(array: NDArray[Any], spacing_mm: float = 1.0) -> Image:
    """An image of one channel, (z, y, x)."""
    geometry = Geometry(
        array.shape, np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])[[2, 1, 0, 3]], "1.2.3"
    )
    return Image(array[None].astype(np.float32), geometry)
