"""First-order statistics of intensities, as the IBSI defines them.

Source: IBSI reference manual, intensity-based statistical features (arXiv:1612.07003, section 3.3). A
statistic whose denominator vanishes is None. Percentiles interpolate linearly between ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
"""Intensities of a region, shape (n,), finite and at least one."""


def mean(values: Values) -> float:
    """Mean."""
    return float(values.mean())


def variance(values: Values) -> float:
    """Population variance."""
    return float(values.var())


def skewness(values: Values) -> float | None:
    """Third standardised moment; None when all values are equal."""
    deviation = values - values.mean()
    spread = float(np.mean(deviation**2))
    return float(np.mean(deviation**3)) / spread**1.5 if np.ptp(values) else None


def kurtosis(values: Values) -> float | None:
    """Fourth standardised moment less 3; None when all values are equal."""
    deviation = values - values.mean()
    spread = float(np.mean(deviation**2))
    return float(np.mean(deviation**4)) / spread**2 - 3.0 if np.ptp(values) else None


def median(values: Values) -> float:
    """Median."""
    return float(np.median(values))


def minimum(values: Values) -> float:
    """Smallest value."""
    return float(values.min())


def percentile_10(values: Values) -> float:
    """10th percentile."""
    return float(np.percentile(values, 10))


def percentile_90(values: Values) -> float:
    """90th percentile."""
    return float(np.percentile(values, 90))


def maximum(values: Values) -> float:
    """Largest value."""
    return float(values.max())


def interquartile_range(values: Values) -> float:
    """75th less 25th percentile."""
    low, high = np.percentile(values, (25, 75))
    return float(high - low)


def value_range(values: Values) -> float:
    """Largest less smallest value."""
    return float(np.ptp(values))


def mean_absolute_deviation(values: Values) -> float:
    """Mean distance from the mean."""
    return float(np.abs(values - values.mean()).mean())


def robust_mean_absolute_deviation(values: Values) -> float:
    """Mean absolute deviation of the values from the 10th to the 90th percentile."""
    low, high = np.percentile(values, (10, 90))
    return mean_absolute_deviation(values[(values >= low) & (values <= high)])


def median_absolute_deviation(values: Values) -> float:
    """Mean distance from the median."""
    return float(np.abs(values - np.median(values)).mean())


def coefficient_of_variation(values: Values) -> float | None:
    """Standard deviation over mean; None when the mean is zero."""
    centre = float(values.mean())
    return float(values.std()) / centre if centre else None


def quartile_coefficient_of_dispersion(values: Values) -> float | None:
    """Interquartile range over the sum of both quartiles; None when that sum is zero."""
    low, high = np.percentile(values, (25, 75))
    return float((high - low) / (high + low)) if high + low else None


def energy(values: Values) -> float:
    """Sum of squares."""
    return float(np.dot(values, values))


def root_mean_square(values: Values) -> float:
    """Square root of the mean square."""
    return float(np.sqrt(np.dot(values, values) / len(values)))


STATISTICS: Mapping[str, Callable[[Values], float | None]] = MappingProxyType(
    {
        "mean": mean,
        "var": variance,
        "skew": skewness,
        "kurt": kurtosis,
        "median": median,
        "min": minimum,
        "p10": percentile_10,
        "p90": percentile_90,
        "max": maximum,
        "iqr": interquartile_range,
        "range": value_range,
        "mad": mean_absolute_deviation,
        "rmad": robust_mean_absolute_deviation,
        "medad": median_absolute_deviation,
        "cov": coefficient_of_variation,
        "qcod": quartile_coefficient_of_dispersion,
        "energy": energy,
        "rms": root_mean_square,
    }
)
"""The 18 statistics by the names of the IBSI's tables (there with the prefix ``stat_``)."""
