"""What an import is asked to make: everything a converter needs to know beside the source itself.

It crosses from the parent to the sandboxed child as JSON, so it holds plain values only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from operators.errors import SegmentationRefusal
from operators.segmentation.package.form import NAME
from operators.segmentation.package.types import Modality, Task


class ImportRefusal(SegmentationRefusal):
    """A foreign model that is not imported, and why."""

    step = "import"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """One conversion.

    Raises
    ------
    ValueError
        The name, the orientation or the digest is malformed.
    """

    name: str
    """Name of the package to write, which is its folder's name too."""
    task: Task
    sha256: str
    """Digest of the source (`allow.digest_of`), for the package's `Origin`."""
    importer: str
    """``theramap 0.1.0``."""
    version: str = "1.0.0"
    orientation: str | None = None
    """Axes such as ``RAS``; ``none``: as stored; None: what the format says or its reader implies."""
    modalities: tuple[Modality, ...] | None = None
    """One for each input channel in order; None: from the channels' names."""
    configuration: str | None = None
    """nnU-Net: the one of several configurations to convert; None: the only one."""
    folds: tuple[str, ...] | None = None
    """nnU-Net: such as ``("0", "all")``; None: every one that has a checkpoint."""
    describe: Mapping[str, Any] | None = None
    """Draft of ``model.json`` (no files, no digests) for formats that do not describe themselves."""
    licence: str = ""
    training_data: str = ""
    citation: str = ""
    tracers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} cannot be a package's name: 1 to 64 of a-z, 0-9 and _, the first a letter"
            )
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("the source's digest is no SHA-256")
        if self.orientation not in {None, "none"}:
            check_orientation(str(self.orientation))

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ImportRequest:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            It is not an import request.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or content.keys() - {field.name for field in fields(cls)}:
            raise ValueError("not an import request")
        for name in ("modalities", "folds", "tracers"):
            if content.get(name) is not None:
                content[name] = tuple(content[name])
        if content.get("modalities") is not None:
            content["modalities"] = tuple(Modality(value) for value in content["modalities"])
        content["task"] = Task(content["task"])
        return cls(**content)


def check_orientation(orientation: str) -> str:
    """Return the three letters in upper case.

    Raises
    ------
    ValueError
        They do not name each body axis once.
    """
    letters = orientation.upper()
    pairs = [{"R", "L"}, {"A", "P"}, {"S", "I"}]
    if len(letters) != 3 or any(len(pair & set(letters)) != 1 for pair in pairs):
        raise ValueError(f"{orientation!r} is no orientation: three letters such as RAS or LPS")
    return letters
