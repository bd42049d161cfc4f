"""Forecast when each waiting order will be ready, by simulating the kitchen.

Each waiting order, in the sequence in which they are cooked, goes to the cook of its type who is
free first. Times are in seconds since the epoch.
"""

import heapq
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from restaurant_system.models.order import OrderType


@dataclass(frozen=True, slots=True)
class CookOnDuty:
    """An online worker: what it cooks, and when each order that it cooks now will be ready.

    It cooks `capacity` orders at a time, or as many as it does now if these are more.
    """

    order_types: frozenset[OrderType]
    ready_at: tuple[float, ...] = ()
    capacity: int = 1


@dataclass(frozen=True, slots=True)
class WaitingOrders:
    """The waiting orders of one type: their ranks and their ids, sorted by rank and id."""

    ranks: Sequence[float] = ()
    ids: Sequence[int] = ()


class Forecast:
    """When the waiting orders will be ready; complete once `advance` has returned `False`.

    It is about the orders that were released since the start of the business date. Its cost grows
    with the number of waiting orders; that of a look-up does not.
    """

    def __init__(
        self,
        *,
        now: float,
        released_since: datetime,
        cooks: Iterable[CookOnDuty],
        waiting: Mapping[OrderType, WaitingOrders],
        preparation: Mapping[OrderType, float],
    ) -> None:
        self.released_since = released_since
        self._preparation = preparation
        self._crews = _crews(cooks, now)
        self._waiting = waiting
        self._ready_at: dict[OrderType, list[float]] = {kind: [] for kind in self._crews}
        self._queue = iter(
            sorted(
                (rank, order_id, kind)
                for kind in self._crews
                if (orders := waiting.get(kind))
                for rank, order_id in zip(orders.ranks, orders.ids, strict=True)
            )
        )

    def advance(self, count: int) -> bool:
        """Simulate up to `count` more orders; return whether there were as many."""
        simulated = 0
        for _, _, kind in itertools.islice(self._queue, count):
            simulated += 1
            crew = _first_free(self._crews[kind])
            ready_at = crew[0] + self._preparation[kind]
            heapq.heapreplace(crew, ready_at)
            self._ready_at[kind].append(ready_at)
        return simulated == count

    def ready_at(self, order_type: OrderType, rank: float, order_id: int) -> float | None:
        """Return when an order will be ready; `None` while no cook on duty prepares its type.

        An order that was not waiting yet when the forecast was made gets the time of the one whose
        place it takes.
        """
        if order_type not in self._crews:
            return None
        orders = self._waiting.get(order_type, WaitingOrders())
        ready_at = self._ready_at[order_type]
        first = bisect_left(orders.ranks, rank)
        place = bisect_left(orders.ids, order_id, first, bisect_right(orders.ranks, rank, first))
        if place < len(ready_at):
            return ready_at[place]
        return _first_free(self._crews[order_type])[0] + self._preparation[order_type]


Crew = list[float]  # of cooks of the same types: when each can start one more order, as a heap


def _crews(cooks: Iterable[CookOnDuty], now: float) -> dict[OrderType, list[Crew]]:
    """Return the crews that cook each type; a type that none of them cooks is left out."""
    crews: dict[frozenset[OrderType], Crew] = {}
    for cook in cooks:
        crew = crews.setdefault(cook.order_types, [])
        crew.extend(max(each, now) for each in cook.ready_at)
        crew.extend([now] * (cook.capacity - len(cook.ready_at)))
    by_type: dict[OrderType, list[Crew]] = {}
    for order_types, crew in crews.items():
        heapq.heapify(crew)
        for kind in order_types:
            by_type.setdefault(kind, []).append(crew)
    return by_type


def _first_free(crews: Sequence[Crew]) -> Crew:
    """Return the crew with the cook who is free first."""
    return min(crews) if len(crews) > 1 else crews[0]
