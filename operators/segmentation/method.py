"""What a segmentation method is, and what every engine that runs one satisfies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Protocol

from operators.domain import Parameter, ReferenceRegion, Segmented, Volumes
from operators.errors import SegmentationRefusal
from operators.segmentation.site import SegmentationSite


class Engine(Protocol):
    """Something that segments: thresholds, a network, a bundle."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the reference regions without which it declines, such as ``liver``."""

    def segment(self, volumes: Volumes, references: Mapping[str, ReferenceRegion]) -> Segmented:
        """Segment the PET.

        Parameters
        ----------
        volumes : Volumes
        references : mapping
            Uptake of reference regions by name, SUVbw; more than `needs` does no harm.

        Raises
        ------
        SegmentationRefusal
            An input that the engine needs is not there.
        """


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """What a method's parameter may be."""

    name: str
    unit: str
    """UCUM."""
    low: float
    high: float
    default: float | None = None
    """None: there is no value that suits every tracer, so it must be given."""
    whole: bool = False
    """Whole numbers only."""

    def check(self, value: object) -> float:
        """Return the value as a number.

        Raises
        ------
        SegmentationRefusal
            ``PARAMETER_INVALID``: not a number, not finite, or out of range.
        """
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self._allows(value):
            return float(value)
        kind = "a whole number" if self.whole else "a number"
        raise SegmentationRefusal(
            "PARAMETER_INVALID",
            f"The segmentation parameter {self.name} is {shortened(value)}; it must be {kind} from "
            f"{self.low:g} to {self.high:g} ({self.unit}).",
        )

    def _allows(self, value: float) -> bool:
        return self.low <= value <= self.high and (not self.whole or value == int(value))


MIN_VOLUME = ParameterRule("min_volume_ml", "ml", 0.0, 1000.0, default=0.0)
"""Smaller components are left out; every method has it."""


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table of methods."""

    name: str
    title: str
    citation: str
    """Ends with "not verified against the primary source" where that is so."""
    parameters: tuple[ParameterRule, ...]
    build: Callable[[Method, tuple[Parameter, ...], SegmentationSite, str], Engine]
    """Makes the engine from this row, the parameters, the site's choices and the software's version."""
    accelerated: bool = False
    """Whether it can use an accelerator."""

    def check(self, given: Mapping[str, float]) -> tuple[Parameter, ...]:
        """Every parameter with its value: the given one, else the published default.

        Raises
        ------
        SegmentationRefusal
            ``PARAMETER_INVALID``: unknown, missing without a default, not a number or out of range.
        """
        unknown = sorted(set(given) - {rule.name for rule in self.parameters})
        if unknown:
            raise SegmentationRefusal(
                "PARAMETER_INVALID",
                f"The segmentation method {self.name} has no parameter {', '.join(unknown)}; "
                f"it has {', '.join(rule.name for rule in self.parameters)}.",
            )
        return tuple(Parameter(rule.name, self._value(rule, given), rule.unit) for rule in self.parameters)

    def _value(self, rule: ParameterRule, given: Mapping[str, float]) -> float:
        if rule.name in given:
            return rule.check(given[rule.name])
        if rule.default is None:
            raise SegmentationRefusal(
                "PARAMETER_INVALID",
                f"The segmentation method {self.name} needs the parameter {rule.name} ({rule.unit}); "
                "no value suits every tracer, so the protocol or the job must give one.",
            )
        return rule.default
