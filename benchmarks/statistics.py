"""What is made of many measurements."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of all are not above.

    Nothing is interpolated: it is a value that was measured. Raises `ValueError` without any.
    """
    if not sorted_values:
        raise ValueError("there is no percentile of nothing")
    place = -int(-share * len(sorted_values) // 1)  # rounded up
    return sorted_values[max(place, 1) - 1]


def median_by(measured: Iterable[T], rank: Callable[[T], float]) -> T:
    """Return the measurement whose rank is neither the best nor the worst; of two, the higher."""
    ranked = sorted(measured, key=rank)
    return ranked[len(ranked) // 2]
