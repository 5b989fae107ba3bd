"""From logits or probabilities to labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from operators.segmentation.package.types import Activation, Resampled, Stage


class Decision:
    """What a stage's values at a voxel mean.

    A key is what is decided: the greatest channel (softmax), or one more than the last channel above one half
    and 0 for none (sigmoid, where later channels overwrite earlier ones). ``table`` has the label of each
    key. A convex combination of values with the same key has that key.

    Parameters
    ----------
    stage : Stage
    labels : tuple of int, optional
        Values of the label map to keep; by default all. The others become background.
    """

    def __init__(self, stage: Stage, labels: tuple[int, ...] | None) -> None:
        self._softmax = stage.activation is Activation.SOFTMAX
        self._channel_labels = stage.channel_labels
        self._activated = stage.resampled is not Resampled.LOGITS
        kept = [value if labels is None or value in labels else 0 for value in stage.channel_labels]
        self.table: NDArray[Any] = np.array(
            kept if self._softmax else [0, *kept], label_type(stage.channel_labels)
        )

    def values(self, logits: torch.Tensor) -> torch.Tensor:
        """What is brought back to the image, from logits (class, …)."""
        return self._activate(logits) if self._activated else logits

    def probabilities(self, values: torch.Tensor) -> torch.Tensor:
        """Of values (class, …) that were brought back, float32."""
        return values if self._activated else self._activate(values)

    def summed(self, values: torch.Tensor, labels: tuple[int, ...]) -> torch.Tensor:
        """Summed probability of some labels, float32 (…), of values (class, …).

        Of channels that stand alone (sigmoid) the greatest: they overlap.
        """
        chosen = [value in labels for value in self._channel_labels]
        found = self.probabilities(values)[torch.tensor(chosen, device=values.device)]
        return found.sum(0) if self._softmax else found.amax(0)

    def keys(self, values: torch.Tensor) -> torch.Tensor:
        """Keys, int16 (…), of values (class, …)."""
        if values.device.type == "cpu":
            return self._greatest(values) if self._softmax else self._last(values)
        if self._softmax:
            return values.argmax(0).to(torch.int16)
        numbers = torch.arange(1, len(values) + 1, dtype=torch.int16, device=values.device)
        return (self._above(values) * numbers.view(-1, *[1] * (values.ndim - 1))).amax(0)

    def _activate(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.float().softmax(0) if self._softmax else logits.float().sigmoid()

    def _above(self, values: torch.Tensor) -> torch.Tensor:
        # nnU-Net compares the sigmoid, which is one half for the smallest positive logits too
        return (values if self._activated else values.float().sigmoid()) > 0.5

    def _last(self, values: torch.Tensor) -> torch.Tensor:
        keys = torch.zeros(values.shape[1:], dtype=torch.int16)
        for number, channel in enumerate(values, start=1):
            keys.masked_fill_(self._above(channel), number)
        return keys

    @staticmethod
    def _greatest(values: torch.Tensor) -> torch.Tensor:
        """Index of the first of the greatest channels, three times as fast as argmax over the first axis."""
        keys = torch.zeros(values.shape[1:], dtype=torch.int16)
        greatest = values[0].clone()
        greater = torch.empty(values.shape[1:], dtype=torch.bool)
        for number, channel in enumerate(values[1:], start=1):
            torch.gt(channel, greatest, out=greater)
            keys.masked_fill_(greater, number)
            torch.maximum(greatest, channel, out=greatest)
        return keys


def label_type(values: tuple[int, ...]) -> type[np.uint8] | type[np.uint16]:
    """The smallest type that holds the label values."""
    return np.uint8 if max(values) < 256 else np.uint16
