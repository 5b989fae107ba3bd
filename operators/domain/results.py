"""What was written, and what a run says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class ResultKind(StrEnum):
    SEG = "seg"
    SR = "sr"
    REGIONS = "regions"
    """A second SEG: what was removed as physiological, organs, reference regions."""
    KEY_IMAGES = "key_images"
    """Pictures as DICOM instances, with the Key Object Selection that names them."""
    RTSTRUCT = "rtstruct"
    PDF = "pdf"
    PARAMETRIC_MAP = "parametric_map"
    FHIR = "fhir"
    HL7 = "hl7"
    PICTURE = "picture"
    """Pictures as files."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file that was written."""

    kind: ResultKind
    path: Path
    sha256: str
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the run itself has to say in results.json."""

    versions: Mapping[str, str]
    """Of theramap, Python and the packages that compute or write."""
    device: str
    timings_s: Mapping[str, float]
    """Wall time of each operator for this study."""
    peak_memory_mib: float
    """Largest resident set of the process so far."""


@dataclass(frozen=True, slots=True)
class ResultProfile:
    """How this site's results present themselves; part of what determines their UIDs."""

    software_version: str
    manufacturer: str = "theramap"
    model_name: str = "theramap PET/CT"
    device_serial_number: str = "none"
    seg_series_number: int = 9301
    sr_series_number: int = 9302
    results: frozenset[ResultKind] = frozenset({ResultKind.SEG, ResultKind.SR, ResultKind.PICTURE})
    """What a destination gets that does not say what it wants, and whether pictures are written."""

    def series_number(self, place: int) -> int:
        """Number of a series other than SEG and SR: from ten behind the SR's on."""
        return (self.sr_series_number + 10 + place - 1) % (2**31 - 1) + 1
