"""A draft of model.json and the network that it describes."""

from __future__ import annotations

from typing import Any

import torch

DRAFT: dict[str, Any] = {
    "inputs": [
        {"name": "CT", "modality": "CT", "unit": "[hnsf'U]", "normalisation": {"scheme": "none"}},
    ],
    "grid": "CT",
    "labels": [{"value": 1, "name": "lesion"}],
    "stages": [
        {
            "name": "one",
            "dimensions": 3,
            "channels_in": 1,
            "channels_out": 2,
            "transpose": [0, 1, 2],
            "spacing_mm": [2, 2, 2],
            "crop": "none",
            "image_resampling": {"interpolation": "world_linear"},
            "output_resampling": {"interpolation": "world_linear"},
            "resampled": "logits",
            "tile": {"size": [8, 8, 8]},
            "mirror_axes": [],
            "activation": "softmax",
            "channel_labels": [0, 1],
        }
    ],
}


class Network(torch.nn.Module):
    """One convolution from one channel to two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(image))
