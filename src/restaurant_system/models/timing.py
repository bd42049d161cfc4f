"""Estimate when a waiting order will be ready, and count late orders."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import Worker, WorkerStatus


@dataclass(frozen=True, slots=True)
class Crew:
    """The online workers that cook one order type.

    `order_types` are all types that they cook; `remaining` is the cooking time left of the orders
    that they cook now.
    """

    cooks: int
    order_types: frozenset[OrderType]
    remaining: timedelta


def crew_for(
    order_type: OrderType,
    workers: Iterable[Worker],
    cooking_until: Iterable[tuple[str, datetime]],
    now: datetime,
) -> Crew:
    """Return the crew for an order type; `cooking_until` has each cooking order's worker and end.

    An overdue order has no time left. Without an online worker, the crew cooks all types.
    """
    cooks = [
        worker
        for worker in workers
        if worker.status is WorkerStatus.ONLINE and worker.can_cook(order_type)
    ]
    names = {cook.name for cook in cooks}
    remaining = (max(until - now, timedelta()) for name, until in cooking_until if name in names)
    return Crew(
        cooks=len(cooks),
        order_types=frozenset(kind for cook in cooks for kind in cook.order_types)
        or frozenset(OrderType),
        remaining=sum(remaining, timedelta()),
    )


def completion_of_waiting(
    *,
    now: datetime,
    own: timedelta,
    ahead: Mapping[OrderType, int],
    durations: Mapping[OrderType, timedelta],
    crew: Crew,
) -> datetime:
    """Estimate when a waiting order will be ready.

    The cooks share the work before it evenly: the orders `ahead` of the types that they cook, and
    the rest of what they cook now. Then the order takes its `own` cooking time.
    """
    waiting = sum((durations[kind] * ahead.get(kind, 0) for kind in crew.order_types), timedelta())
    return now + (waiting + crew.remaining) / max(crew.cooks, 1) + own


@dataclass(frozen=True, slots=True)
class Lateness:
    """The number of late orders among all orders that were not cancelled.

    An order is late once its age exceeds the limit that is configured for its type: for good if it
    was not ready by then, and so far if it is not ready yet.
    """

    orders: int = 0
    late: int = 0

    def __add__(self, other: "Lateness") -> "Lateness":
        return Lateness(self.orders + other.orders, self.late + other.late)

    @property
    def share(self) -> float | None:
        """The share of late orders, from 0 to 1; `None` without orders."""
        return self.late / self.orders if self.orders else None
