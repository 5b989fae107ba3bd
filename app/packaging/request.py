"""What is to be packaged: variant, platform, models, base image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.packaging.errors import PackagingError


class Variant(StrEnum):
    """What computes networks."""

    CPU = "cpu"
    """OpenVINO, ONNX Runtime and PyTorch without CUDA."""
    GPU = "gpu"
    """CUDA 13: ONNX Runtime with CUDA, PyTorch, cuDNN."""


class Platform(StrEnum):
    """Which processor."""

    X86_64 = "x86_64"
    ARM64 = "arm64"

    @property
    def oci(self) -> str:
        """Return the name that image builders use."""
        return {"x86_64": "linux/amd64", "arm64": "linux/arm64"}[self.value]

    @property
    def machine(self) -> str:
        """Return the name that wheels use."""
        return {"x86_64": "x86_64", "arm64": "aarch64"}[self.value]


PYTHON = "3.11"
"""The interpreter of the image: that of the base, and what the wheels are locked for."""
BASE_IMAGE = f"docker.io/library/python:{PYTHON}-slim-bookworm"
"""Debian 12. The gpu variant needs no CUDA in it: PyTorch's wheels bring CUDA and cuDNN."""


@dataclass(frozen=True, slots=True)
class PackageRequest:
    """One package.

    Parameters
    ----------
    variant : Variant
    platform : Platform
    models : tuple of str or None
        Packages by name; None is every one that the checkout holds, () is none.
    base_image : str
        A reference; pinned with ``@sha256:…``, the build is reproducible.
    tag : str or None
        Of the image; None is ``theramap:VERSION-VARIANT``.
    wheels : Path or None
        A folder of wheels that are put into the context where the lock names them.
    offline : bool
        Put every wheel into the context, so that the build needs no network.
    """

    variant: Variant = Variant.CPU
    platform: Platform = Platform.X86_64
    models: tuple[str, ...] | None = None
    base_image: str = BASE_IMAGE
    tag: str | None = None
    wheels: Path | None = None
    offline: bool = False

    def __post_init__(self) -> None:
        if self.variant is Variant.GPU and self.platform is Platform.ARM64:
            raise PackagingError(
                "no gpu variant for arm64: onnxruntime-gpu has no wheel for it; take --variant cpu"
            )
        if not self.base_image or any(letter.isspace() for letter in self.base_image):
            raise PackagingError(f"--base-image {self.base_image!r} is no image reference")
