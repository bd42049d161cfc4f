"""Estimate when a waiting order will be ready, and count late orders."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import Worker, WorkerStatus


@dataclass(frozen=True, slots=True)
class Crew:
    """Those on duty who cook orders of one type: what they cook besides, and have in hand."""

    cooks: int
    order_types: frozenset[OrderType]
    under_way: timedelta


def crew_for(
    order_type: OrderType,
    workers: Iterable[Worker],
    cooking_until: Iterable[tuple[str, datetime]],
    now: datetime,
) -> Crew:
    """Find who cooks orders of this type; with nobody on duty, it is as if one came for all types.

    Of each order that is cooking, by its cook, the rest counts; nothing of one that is overdue.
    """
    cooks = [
        worker
        for worker in workers
        if worker.status is WorkerStatus.ONLINE and worker.can_cook(order_type)
    ]
    names = {cook.name for cook in cooks}
    rests = (max(until - now, timedelta()) for name, until in cooking_until if name in names)
    return Crew(
        cooks=len(cooks),
        order_types=frozenset(kind for cook in cooks for kind in cook.order_types)
        or frozenset(OrderType),
        under_way=sum(rests, timedelta()),
    )


def completion_of_waiting(
    *,
    now: datetime,
    own: timedelta,
    ahead: Mapping[OrderType, int],
    durations: Mapping[OrderType, timedelta],
    crew: Crew,
) -> datetime:
    """Estimate when an order that waits will be ready.

    The work before it (of the orders `ahead`, by type, those that its crew cooks, and the rest of
    what the crew has in hand) is shared evenly among the cooks; then it cooks for its `own` time.
    """
    waiting = sum((durations[kind] * ahead.get(kind, 0) for kind in crew.order_types), timedelta())
    return now + (waiting + crew.under_way) / max(crew.cooks, 1) + own


@dataclass(frozen=True, slots=True)
class Lateness:
    """How many of some orders are late; orders that were cancelled are not among them.

    An order is late from the age on that the configuration names for its type: for good if it was
    not ready before, for now if it is not ready yet.
    """

    orders: int = 0
    late: int = 0

    def __add__(self, other: "Lateness") -> "Lateness":
        return Lateness(self.orders + other.orders, self.late + other.late)

    @property
    def share(self) -> float | None:
        """The share that is late, from 0 to 1; of no orders there is none."""
        return self.late / self.orders if self.orders else None
