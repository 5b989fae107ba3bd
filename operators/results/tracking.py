"""How a lesion is coloured and an algorithm described in every result."""

from __future__ import annotations

from operators.domain import Algorithm, Lesion, NetworkRun

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
