"""Calculate percentiles and medians of measurements."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the percentile at `share` (0 to 1) by the nearest-rank method, without interpolation.

    Raises `ValueError` if there are no values.
    """
    if not sorted_values:
        raise ValueError("no values")
    rank = -int(-share * len(sorted_values) // 1)  # rounded up
    return sorted_values[max(rank, 1) - 1]


def median_by(measured: Iterable[T], key: Callable[[T], float]) -> T:
    """Return the measurement with the median key; of two, the higher one."""
    ranked = sorted(measured, key=key)
    return ranked[len(ranked) // 2]
