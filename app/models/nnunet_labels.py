"""nnU-Net's labels and regions as a package's output channels and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.models.request import ImportRefusal
from app.models.words import line
from operators.segmentation.package.terms import anatomy_of
from operators.segmentation.package.types import Activation, Label, Task


@dataclass(frozen=True, slots=True)
class LabelScheme:
    """What the network's channels mean."""

    activation: Activation
    channel_labels: tuple[int, ...]
    """Value of the label map for each channel."""
    names: Mapping[int, str]
    """Of the label map's values, without background."""

    @property
    def channels(self) -> int:
        return len(self.channel_labels)

    @property
    def values(self) -> tuple[int, ...]:
        return tuple(sorted(self.names))


def read_labels(dataset: Mapping[str, Any]) -> LabelScheme:
    """Read dataset.json's ``labels`` and ``regions_class_order``.

    Channels of regions are in the order of ``labels``; a voxel takes the value of the last one above 0.5 in
    that order. The ignore label is no output.

    Raises
    ------
    ImportRefusal
        ``LABELS_INVALID``.
    """
    listed = dataset.get("labels")
    if not isinstance(listed, Mapping) or "background" not in listed:
        raise ImportRefusal("LABELS_INVALID", "dataset.json has no labels, or no background among them.")
    labels = {str(name): _values(value) for name, value in listed.items() if name != "ignore"}
    foreground = {name: values for name, values in labels.items() if set(values) != {0}}
    if not foreground:
        raise ImportRefusal("LABELS_INVALID", "dataset.json has no label but background.")
    if all(len(values) == 1 for values in foreground.values()):
        return _exclusive(foreground)
    return _regions(foreground, dataset.get("regions_class_order"))


def _values(value: Any) -> tuple[int, ...]:
    # some data sets write their numbers as text, and nnU-Net reads them
    listed = value if isinstance(value, list) else [value]
    values = [int(each) if isinstance(each, str) and each.isdecimal() else each for each in listed]
    if not values or not all(isinstance(each, int) and 0 <= each <= 65535 for each in values):
        raise ImportRefusal("LABELS_INVALID", f"dataset.json has the label value {str(value)[:80]!r}.")
    return tuple(values)


def _exclusive(foreground: Mapping[str, tuple[int, ...]]) -> LabelScheme:
    names = {values[0]: name for name, values in foreground.items()}
    if sorted(names) != list(range(1, len(foreground) + 1)):
        raise ImportRefusal("LABELS_INVALID", "dataset.json's label values are not 0, 1, 2, and so on.")
    return LabelScheme(Activation.SOFTMAX, tuple(range(len(names) + 1)), names)


def _regions(foreground: Mapping[str, tuple[int, ...]], order: Any) -> LabelScheme:
    if (
        not isinstance(order, list)
        or len(order) != len(foreground)
        or not all(isinstance(value, int) and 0 < value <= 65535 for value in order)
        or len(set(order)) != len(order)
    ):
        raise ImportRefusal(
            "LABELS_INVALID", "dataset.json has regions without a usable regions_class_order."
        )
    return LabelScheme(Activation.SIGMOID, tuple(order), dict(zip(order, foreground, strict=True)))


def labels_of(scheme: LabelScheme, task: Task) -> tuple[Label, ...]:
    """Return the labels with the codes that are known for their names."""
    return tuple(_label(value, scheme.names[value], task) for value in scheme.values)


def _label(value: int, name: str, task: Task) -> Label:
    short = line(name, 64)
    if task is Task.LESIONS:
        return Label(value, short, physiological="physiolog" in name.lower())
    anatomy = anatomy_of(short)
    return Label(value, short, code=anatomy.code, side=anatomy.side)
