"""The interface between a worker and the part that cooks its orders or shows them to people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from restaurant_system.config import KitchenSettings
from restaurant_system.database.claims import Claim, ClaimedOrder
from restaurant_system.database.connection import Connection
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.models.order import OrderType


class OrderProcessor(Protocol):
    """Claim and process the orders of one worker, any number concurrently."""

    @property
    def capacity(self) -> int:
        """Return how many orders are cooked at a time, from which others estimate their times."""

    @property
    def is_station(self) -> bool:
        """Return whether people prepare the orders, at a station."""

    @property
    def is_busy(self) -> bool:
        """Return whether the processor has started an order that is not ready yet."""

    async def take_over(self, connection: Connection, claim: Claim) -> Sequence[ClaimedOrder]:
        """Claim orders that were started and then abandoned."""

    async def claim(self, connection: Connection, claim: Claim) -> Sequence[ClaimedOrder]:
        """Claim the next waiting orders."""

    async def process(self, order: ClaimedOrder) -> bool:
        """Process a claimed order until it needs no cooking any more.

        Returns `False` if it was released before. Waits without limit while the database is
        unavailable.
        """

    async def poll_orders(self) -> None:
        """Poll the database for changes that others make to the orders, until cancelled."""

    def release_orders(self) -> None:
        """Release the orders that wait for people, because the worker stops.

        Those of simulated cooks are finished.
        """


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What one worker may claim: of its types, what is not held from an earlier business date."""

    worker: str
    order_types: Sequence[OrderType]
    kitchen: KitchenSettings
    clock: Clock
    business_day: BusinessDay

    def claim(self, limit: int, excluded: Sequence[int]) -> Claim:
        """Return a claim at this time."""
        now = self.clock()
        return Claim(
            worker=self.worker,
            order_types=self.order_types,
            cooking_times={kind: self.kitchen.cooking_time(kind) for kind in OrderType},
            released_since=self.business_day.start_of(self.business_day.date_of(now)),
            at=now,
            limit=limit,
            excluded=excluded,
        )
