"""Percentiles and medians of measurements."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the percentile at `share` (0 to 1) by the nearest-rank method, without interpolation.

    Raises `ValueError` if there are no values.
    """
    if not sorted_values:
        raise ValueError("no values")
    place = -int(-share * len(sorted_values) // 1)  # rounded up
    return sorted_values[max(place, 1) - 1]


def median_by(measured: Iterable[T], rank: Callable[[T], float]) -> T:
    """Return the measurement with the median rank, the higher one of two."""
    ranked = sorted(measured, key=rank)
    return ranked[len(ranked) // 2]
