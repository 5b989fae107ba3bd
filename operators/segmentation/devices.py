"""Which device computes: asked for by name, or found."""

from __future__ import annotations

import ctypes
from functools import cache

from operators.errors import SegmentationRefusal

_CUDA_DRIVER = "libcuda.so.1"
_CUDA_SUCCESS = 0


def resolve_device(asked: str) -> str:
    """The device to compute on.

    Parameters
    ----------
    asked : str
        ``cpu``; ``cuda``, which must then work; or ``auto``: ``cuda`` where it works, else ``cpu``.

    Returns
    -------
    str
        ``cpu`` or ``cuda``.

    Raises
    ------
    SegmentationRefusal
        ``DEVICE_UNAVAILABLE`` when ``cuda`` is asked for and does not work: it is never replaced by the
        CPU without a word. ``DEVICE_UNKNOWN`` for any other name.
    """
    if asked == "cpu":
        return "cpu"
    if asked not in ("auto", "cuda"):
        raise SegmentationRefusal(
            "DEVICE_UNKNOWN", f"There is no device {asked!r}; choose auto, cpu or cuda."
        )
    obstacle = cuda_obstacle()
    if obstacle is None:
        return "cuda"
    if asked == "auto":
        return "cpu"
    raise SegmentationRefusal(
        "DEVICE_UNAVAILABLE",
        f"The device cuda was asked for, but {obstacle}. Choose auto or cpu, or repair the accelerator.",
    )


@cache
def cuda_obstacle() -> str | None:
    """Why CUDA does not work here; None when it works.

    The driver is asked first, through its C library, in milliseconds; PyTorch, which takes seconds to
    import, is asked only when the driver has a device to offer.
    """
    if driver_devices() == 0:
        return "the NVIDIA driver offers no device"
    import torch  # noqa: PLC0415

    if torch.version.cuda is None:
        return "the installed PyTorch is the CPU build"
    return None if torch.cuda.is_available() else "PyTorch cannot use the NVIDIA driver's device"


def driver_devices() -> int:
    """Number of devices that the NVIDIA driver offers; 0 without a driver."""
    try:
        driver = ctypes.CDLL(_CUDA_DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != _CUDA_SUCCESS or driver.cuDeviceGetCount(ctypes.byref(count)) != _CUDA_SUCCESS:
        return 0
    return count.value
