"""The orders that wait beyond the capacity of a station, for the screens of the station."""

import json
import time
from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from restaurant_system.database import tickets, tracking_queries
from restaurant_system.database.connection import Connection
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.services.display.ticket_contents import TicketItem, item_of

POLL_INTERVAL = 1.0  # s
MAX_COUNTED = 500


class WaitingOrders:
    """Count the orders that a station may claim when it has room, and add up their items."""

    def __init__(self, station: str, business_day: BusinessDay, clock: Clock) -> None:
        self._station = station
        self._business_day = business_day
        self._clock = clock
        self._polled_at = float("-inf")
        self._items: dict[int, list[TicketItem]] = {}  # by order id
        self._summary: JsonValue = _summarize({})

    async def poll(self, connection: Connection) -> JsonValue:
        """Return the number of waiting orders, at most `MAX_COUNTED`, and their items.

        The database is read once in `POLL_INTERVAL`. Other stations and workers may claim the same
        orders.
        """
        if time.monotonic() - self._polled_at < POLL_INTERVAL:
            return self._summary
        waiting = await tickets.list_waiting(
            connection,
            self._station,
            released_since=self._business_day.current_start(self._clock()),
            limit=MAX_COUNTED,
        )
        if list(self._items) != waiting:
            self._items = await self._load(connection, waiting)
            self._summary = _summarize(self._items)
        self._polled_at = time.monotonic()
        return self._summary

    async def _load(
        self, connection: Connection, order_ids: Sequence[int]
    ) -> dict[int, list[TicketItem]]:
        """Read the items of the orders that have not waited before."""
        known = self._items
        missing = [each for each in order_ids if each not in known]
        if missing:
            for order_id, items in (await tracking_queries.items(connection, missing)).items():
                known[order_id] = [item_of(item) for item in items]
        return {each: known[each] for each in order_ids}


def _summarize(orders: dict[int, list[TicketItem]]) -> JsonValue:
    return {
        "count": len(orders),
        "is_more": len(orders) == MAX_COUNTED,
        "items": add_up(item for items in orders.values() for item in items),
    }


def add_up(items: Iterable[TicketItem]) -> list[JsonValue]:
    """Return each item with its modifiers once, with the quantity of all that are equal."""
    totals: dict[str, dict[str, JsonValue]] = {}
    quantities: dict[str, int] = {}
    for item in items:
        contents = item.model_dump(include={"name", "modifiers"})
        key = json.dumps(contents)
        totals[key] = contents
        quantities[key] = quantities.get(key, 0) + item.quantity
    return [{**contents, "quantity": quantities[key]} for key, contents in totals.items()]
