"""How long orders take: learned preparation times, and the count of late orders."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from restaurant_system.models.order import OrderType

# Fewer recent orders say little: of two, one that was forgotten would decide.
MIN_RECENT = 3


class PreparationTimes:
    """How long orders of each type take from the start of cooking until they are ready, in seconds.

    Learned from recent orders, and never less than `minimum`.
    """

    def __init__(
        self,
        minimum: Mapping[OrderType, float],
        recent: Mapping[OrderType, Sequence[float]] | None = None,
    ) -> None:
        recent = recent or {}
        self._recent = {
            kind: sorted(max(each, least) for each in recent.get(kind, ()))
            for kind, least in minimum.items()
        }
        self._expected = {
            kind: median(self._recent[kind]) if self.is_learned(kind) else least
            for kind, least in minimum.items()
        }

    @property
    def by_type(self) -> Mapping[OrderType, float]:
        """The expected preparation time of each type."""
        return self._expected

    def expected(self, order_type: OrderType) -> float:
        """Return the expected preparation time: the median of the recent orders."""
        return self._expected[order_type]

    def is_learned(self, order_type: OrderType) -> bool:
        """Tell whether enough recent orders of a type are known to expect their median."""
        return len(self._recent[order_type]) >= MIN_RECENT

    def remaining(self, order_type: OrderType, elapsed: float) -> float:
        """Return the time that is left of an order that has been cooking for `elapsed` seconds.

        Of an order that takes longer than expected, this is the median of the recent orders that
        took longer than it has so far; 0 if there are none.
        """
        if elapsed < self._expected[order_type]:
            return self._expected[order_type] - max(elapsed, 0)
        recent = self._recent[order_type]
        longer = recent[bisect_right(recent, elapsed) :]
        return median(longer) - elapsed if longer else 0


@dataclass(frozen=True, slots=True)
class Lateness:
    """The number of late orders among the orders that were due, without cancelled ones.

    An order is due once it was ready, or should have been. It is late once its age exceeds the
    limit that is configured for its type, or the time has passed for which it was ordered: for good
    if it was not ready by then, and so far if it is not ready yet.
    """

    orders: int = 0
    late: int = 0

    def __add__(self, other: "Lateness") -> "Lateness":
        return Lateness(self.orders + other.orders, self.late + other.late)

    @property
    def share(self) -> float | None:
        """The share of late orders, from 0 to 1; `None` if no order was due."""
        return self.late / self.orders if self.orders else None
