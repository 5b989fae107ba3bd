"""How a package is to be run: what the site and the job ask of engines and window."""

from __future__ import annotations

from dataclasses import dataclass

from operators.segmentation.engines.names import EngineName, Precision


@dataclass(frozen=True, slots=True)
class Options:
    """How a package is to be run. The defaults are the ones of `theramap run`."""

    device: str = "auto"
    engine: EngineName = EngineName.AUTO
    precision: Precision = Precision.AUTO
    mirroring: bool = False
    """Over the axes that the package allows."""
    folds: tuple[str, ...] | None = None
    """None: all."""
    step: float | None = None
    """Of the tile; None: the package's."""
    skip_air: bool = True
    """Whether tiles without body are left out and the image is cropped to the body."""
    labels: tuple[int, ...] | None = None
    """Values of the label map to keep; None: all. The others become background."""
    probabilities: bool = False
    """Whether those of all channels are wanted as well."""
    probability_of: tuple[int, ...] = ()
    """Values of labels whose summed probability is wanted: one map, not one for each channel."""
    memory_bytes: int | None = None
    """Most memory to take on the host; None: what is free."""
