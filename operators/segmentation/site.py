"""How this site segments: where its models lie, which of them run, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from operators.segmentation.engines.names import EngineName, Precision
from operators.segmentation.options import Options

AUTO = "auto"
NONE = "none"
RULES = "rules"


@dataclass(frozen=True, slots=True)
class SegmentationSite:
    """The site's choices for the segmentation step; the defaults run no model."""

    device: str = AUTO
    """``auto``, ``cpu`` or ``cuda``."""
    models: Path | None = None
    """Folder of model packages, which has to be there; None: there are none."""
    lesions: str = AUTO
    """Package of the method ``network``: a name, ``none``, or the only one made for the tracer."""
    organs: str = AUTO
    """Organ package: a name, ``none``, or the only one there is."""
    physiological: str = AUTO
    """Who finds physiological uptake for a threshold method where there is no organ package: ``auto`` (the
    lesion package's second output, else rules), ``rules`` alone, or ``none``."""
    engine: EngineName = EngineName.AUTO
    precision: Precision = Precision.AUTO
    mirroring: bool = False
    memory_bytes: int | None = None
    """Most host memory that a network's run may take; None: what is free."""

    def options(self) -> Options:
        """How a network is to be run."""
        return Options(
            device=self.device,
            engine=self.engine,
            precision=self.precision,
            mirroring=self.mirroring,
            memory_bytes=self.memory_bytes,
        )
