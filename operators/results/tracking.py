"""How lesions and other regions are coloured and an algorithm described in every result."""

from __future__ import annotations

import math
from typing import Final

from highdicom.color import CIELabColor

from operators.domain import Algorithm, Lesion, NetworkRun

Lab = tuple[int, int, int]
"""A colour as CIELab in 16 bits each (PS3.3 C.10.7.1.1)."""

PALETTE_RGB = (
    (230, 25, 75),
    (60, 180, 75),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (0, 160, 160),
    (240, 50, 230),
    (170, 110, 40),
    (128, 128, 0),
    (0, 0, 160),
)
"""Display colours, by lesion number, over again after the last."""


REMOVED_LAB: Final[Lab] = CIELabColor.from_rgb(0, 90, 200).value
"""Of uptake that was removed: one blue, as in its picture."""
REFERENCE_LAB: Final[Lab] = CIELabColor.from_rgb(0, 150, 60).value
"""Of reference regions: one green, as in their picture."""

_ORGAN_LIGHTNESS: Final = 78.0
_ORGAN_CHROMA: Final = 24.0
_GOLDEN_ANGLE: Final = math.pi * (3 - math.sqrt(5))
"""Steps of it part neighbouring values' hues, however many there are."""


def organ_lab(value: int) -> Lab:
    """The display colour of an organ, pale, by its value in the label map: the same in every study."""
    hue = value * _GOLDEN_ANGLE
    a, b = _ORGAN_CHROMA * math.cos(hue), _ORGAN_CHROMA * math.sin(hue)
    lab: Lab = CIELabColor(_ORGAN_LIGHTNESS, a, b).value
    return lab


def colour_of(lesion: Lesion) -> tuple[int, int, int]:
    """The display colour of a lesion, RGB 0..255."""
    return PALETTE_RGB[(lesion.number - 1) % len(PALETTE_RGB)]


def parameters_of(algorithm: Algorithm) -> dict[str, str]:
    """The parameters with which an algorithm ran, as text, with units, device, model and source."""
    texts = {
        parameter.name: f"{parameter.value:g}"
        if parameter.unit == "1"
        else f"{parameter.value:g} {parameter.unit}"
        for parameter in algorithm.parameters
    }
    texts["device"] = algorithm.device
    if algorithm.model_digest is not None:
        texts["model_sha256"] = algorithm.model_digest
    return texts | (_network_parameters(algorithm.network) if algorithm.network is not None else {})


def _network_parameters(run: NetworkRun) -> dict[str, str]:
    return {
        "package": run.package,
        "engine": run.engine,
        "provider": run.provider,
        "precision": run.precision,
        "folds": ", ".join(run.folds),
        "mirrored_axes": ", ".join("zyx"[axis] for axis in run.mirrored_axes) or "none",
    }
