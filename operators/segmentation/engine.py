"""The choice of an engine: the table of methods, and the engine of one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version as installed_version
from types import MappingProxyType

from operators.errors import SegmentationRefusal
from operators.segmentation import networks, thresholds
from operators.segmentation.devices import resolve_device
from operators.segmentation.method import Engine, Method
from operators.segmentation.site import SegmentationSite

__all__ = ["METHODS", "Engine", "Method", "choose_engine"]

METHODS: Mapping[str, Method] = MappingProxyType(
    {method.name: method for method in (*thresholds.METHODS, *networks.METHODS)}
)
"""Every known method by its name."""


def choose_engine(
    name: str, parameters: Mapping[str, float], site: SegmentationSite, version: str | None = None
) -> Engine:
    """Build the engine of a method.

    Parameters
    ----------
    name : str
        A key of `METHODS`.
    parameters : mapping
        Values by name; what is not given takes the method's published default.
    site : SegmentationSite
        The site's choices. A device ``cuda`` that does not work is refused even for a method that has no
        use for it: who asks for it by name wants to know.
    version : str, optional
        The software's version, for the results; by default that of the installed distribution.

    Raises
    ------
    SegmentationRefusal
        ``METHOD_UNKNOWN``, ``PARAMETER_INVALID``, ``DEVICE_UNKNOWN`` or ``DEVICE_UNAVAILABLE``.
    """
    method = METHODS.get(name)
    if method is None:
        raise SegmentationRefusal(
            "METHOD_UNKNOWN",
            f"There is no segmentation method {name!r}; the known ones are {', '.join(sorted(METHODS))}.",
        )
    checked = method.check(parameters)
    if site.device != "auto":
        resolve_device(site.device)
    # "auto" stays: a network's run finds what really works, and other methods need not look
    own = site if method.accelerated else replace(site, device="cpu")
    return method.build(method, checked, own, version or installed_version("theramap"))
