"""Read-only queries about orders and workers."""

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from restaurant_system.config import KitchenSettings
from restaurant_system.database import (
    kitchen_state,
    live_view_queries,
    menu_availability,
    outbox,
    scheduled_orders,
    tracking_queries,
    workers,
)
from restaurant_system.database.connection import Connection
from restaurant_system.database.outbox import Backlog
from restaurant_system.database.reader import Reader
from restaurant_system.database.tickets import TicketContents
from restaurant_system.database.tracking_queries import OrderFilter, Row
from restaurant_system.errors import BrokerUnavailable, NoTrackingLink, OrderNotFound
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.kitchen_warnings import warnings_in
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.models.kitchen_warning import KitchenState, KitchenWarning
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.tracking_link import is_token_of, tracking_path
from restaurant_system.models.worker import Worker
from restaurant_system.services.tracking.statistics import DayStatistics, day_statistics
from restaurant_system.services.tracking.status_lookup import (
    OrderProgress,
    StatusLookup,
    is_complete,
)

NAME = "tracking-service"
OPTIONAL = ("items_total", "handed_over_at", "uncollected_at")  # of every order
BROKER_TIMEOUT = 2.0  # s to wait for queue depths
PERCENTILES = ("p50", "p90", "p99")
MAX_PAGE_SIZE = 256 * 1024  # bytes of JSON, roughly: a page ends with the order that exceeds it
FIRST_ORDERS = 25  # of a page, whose items are read together; their size tells how many follow


class BadCursor(ValueError):
    """The cursor was not returned by this service."""


@dataclass(frozen=True, slots=True)
class Page:
    """Orders with their items, newest first, and the cursor of the next page, if there is one."""

    orders: list[dict[str, Any]]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ScheduledOrders:
    """The number of scheduled orders, and those that are to be ready soonest."""

    count: int
    soonest: Sequence[TicketContents]


class TrackingService:
    """Answers queries. Times are in UTC; an unknown order number raises `OrderNotFound`.

    What is read may be as old as `database` allows, but an order that is not there yet, or older
    than what was read of it before, is read from the primary.
    """

    def __init__(
        self,
        database: Reader,
        broker: Broker,
        *,
        clock: Clock,
        business_day: BusinessDay,
        kitchen: KitchenSettings,
    ) -> None:
        self._database = database
        self._broker = broker
        self._clock = clock
        self._business_day = business_day
        self._late_after = {
            OrderType(kind): timedelta(seconds=seconds)
            for kind, seconds in kitchen.late_seconds.model_dump().items()
        }
        self.lookup = StatusLookup(
            database, clock=clock, business_day=business_day, kitchen=kitchen
        )

    def status(self, number: str) -> "asyncio.Future[OrderProgress]":
        """Return the current status of an order and its estimated completion."""
        return self.lookup.find(number)

    async def history(self, number: str) -> list[dict[str, Any]]:
        """Return the status changes of an order, oldest first."""
        rows = await self._database.find(
            lambda connection: tracking_queries.history(connection, number),
            suffices=lambda found: self._is_newest(
                number, found[-1]["changed_at"] if found else None
            ),
        )
        if not rows:
            raise OrderNotFound(number)
        self.lookup.seen.add(number, rows[-1]["changed_at"])
        return [
            {
                "status": row["status"],
                "timestamp": row["changed_at"],
                "changed_by": row["changed_by"],
            }
            for row in rows
        ]

    async def workers(self) -> list[Worker]:
        """Return the online workers and those with the latest heartbeats, sorted by name."""
        return await self._database.read(workers.list_recent)

    async def order(self, number: str) -> dict[str, Any]:
        """Return an order with its items."""

        async def read(connection: Connection) -> dict[str, Any] | None:
            row = await tracking_queries.order(connection, number)
            if row is None:
                return None
            (order,) = await _with_items(connection, [row])
            if row["status"] == OrderStatus.CANCELLED:
                order["cancel_reason"] = await tracking_queries.cancel_reason(connection, row["id"])
            return order

        order = await self._database.find(
            read,
            suffices=lambda found: self._is_newest(number, found["updated_at"] if found else None),
        )
        if order is None:
            raise OrderNotFound(number)
        self.lookup.seen.add(number, order["updated_at"])
        return order

    async def tracking_path(self, number: str) -> str:
        """Return the path of an order's tracking link; raises `NoTrackingLink` if it has none."""
        if await self._database.find(lambda it: tracking_queries.order(it, number)) is None:
            raise OrderNotFound(number)
        token = await self._database.find(lambda it: tracking_queries.tracking_token(it, number))
        if token is None:
            raise NoTrackingLink(number)
        return tracking_path(number, token)

    async def linked_order(self, number: str, token: str) -> dict[str, Any]:
        """Return what the tracking link of an order shows; nothing in it is personal data.

        Raises `OrderNotFound` also if the token is not that of the order.
        """
        stored = await self._database.find(lambda it: tracking_queries.tracking_token(it, number))
        if not is_token_of(stored, token):
            raise OrderNotFound(number)
        progress = await self.lookup.find(number)

        async def read(connection: Connection) -> tuple[Sequence[Row], Sequence[Row]]:
            steps = await live_view_queries.steps(connection, [number])
            items = await live_view_queries.items(connection, [number])
            return steps.get(number, ()), items.get(number, ())

        steps, items = await self._database.find(
            read, suffices=lambda found: is_complete(found[0], progress)
        )
        if not steps or not items:  # deleted or erased meanwhile
            raise OrderNotFound(number)
        return {
            "order_number": number,
            "order_type": steps[0]["type"],
            "status": progress.current_status,
            "updated_at": progress.updated_at,
            "estimated_completion": progress.estimated_completion,
            "ready_at": steps[0]["ready_at"],
            "charges": live_view_queries.charges(items[0]),
            "amount_due": items[0]["amount_due"],
            "total_amount": items[0]["total_amount"],
            "items": [
                {
                    "name": row["name"],
                    "quantity": row["quantity"],
                    "price": row["price"],
                    "modifiers": live_view_queries.public_modifiers(row),
                }
                for row in items
            ],
            "steps": [{"status": row["status"], "timestamp": row["changed_at"]} for row in steps],
        }

    async def orders(self, wanted: OrderFilter, *, limit: int, cursor: str | None) -> Page:
        """Return a page of orders; raises `BadCursor`.

        A page of large orders has fewer than `limit`: building a larger one would keep all other
        requests waiting.
        """
        before = None if cursor is None else _decode_cursor(cursor)

        async def read(connection: Connection) -> tuple[list[Row], list[dict[str, Any]]]:
            rows = await tracking_queries.orders(connection, wanted, before=before, limit=limit + 1)
            return rows, await _up_to_page_size(connection, rows[:limit])

        is_for_one = wanted.reference is not None or wanted.external_id is not None
        rows, orders = await self._database.find(
            read, suffices=lambda found: bool(found[0]) or not is_for_one
        )
        is_last = len(orders) == len(rows)
        return Page(orders, None if is_last else _encode_cursor(rows[len(orders) - 1]["id"]))

    def _is_newest(self, number: str, updated_at: datetime | None) -> bool:
        """Return whether an order was found, and was not read in a newer version before."""
        return updated_at is not None and not self.lookup.seen.has_newer(number, updated_at)

    async def stats(self) -> dict[str, Any]:
        """Return the statistics of today; `queues` is `None` while the broker is unreachable."""
        day, depths = await self.day_statistics(), await self.queue_depths()
        return {
            "warnings": self.warnings(await self.kitchen_state(), depths),
            "business_date": day.business_date,
            "by_status": day.by_status,
            "by_type": day.by_type,
            "queues": depths,
            "preparation_seconds": {
                kind: dict(zip(PERCENTILES, seconds, strict=True))
                for kind, seconds in day.preparation_seconds.items()
            },
            "per_hour": [{"hour": hour, "orders": orders} for hour, orders in day.per_hour.items()],
            "late_share": {
                kind: of_type.share
                for kind, of_type in day.lateness.items()
                if of_type.share is not None
            },
        }

    async def day_statistics(self) -> DayStatistics:
        """Return the statistics of the current business date."""
        return await self._database.read(
            lambda connection: day_statistics(
                connection,
                now=self._clock(),
                business_day=self._business_day,
                late_after=self._late_after,
            )
        )

    async def kitchen_state(self) -> KitchenState:
        """Return the orders of all business dates that are not ready, and who cooks them."""
        now = self._clock()
        day_start = self._business_day.current_start(now)
        return await self._database.read(
            lambda connection: kitchen_state.read(connection, day_start=day_start, now=now)
        )

    def warnings(
        self, state: KitchenState, depths: Mapping[str, int] | None
    ) -> list[KitchenWarning]:
        """Return what somebody should look at now; `depths` are those of `queue_depths`."""
        return warnings_in(state, depths, self._clock())

    async def queue_depths(self) -> dict[str, int] | None:
        """Return the depth of each queue; `None` if the broker does not answer within 2 s."""
        try:
            async with asyncio.timeout(BROKER_TIMEOUT):
                return await self._broker.depths()
        except (BrokerUnavailable, TimeoutError):
            return None

    async def scheduled_orders(self, limit: int) -> ScheduledOrders:
        """Return the number of scheduled orders, and those that are to be ready soonest."""

        async def read(connection: Connection) -> ScheduledOrders:
            count = await scheduled_orders.count_scheduled(connection)
            soonest = await scheduled_orders.scheduled(connection, list(OrderType), limit=limit)
            return ScheduledOrders(count, soonest)

        return await self._database.read(read)

    async def sold_out_count(self) -> int:
        """Return the number of menu items that somebody has marked as sold out, or that are."""
        now = self._clock()
        limits = await self._database.read(lambda it: menu_availability.limits(it, now))
        return sum(stored.limit.remaining == 0 for stored in limits)

    async def backlog(self) -> Backlog:
        """Return the number of outbox messages and the age of the oldest."""
        return await self._database.read(outbox.backlog)


async def _up_to_page_size(connection: Connection, rows: list[Any]) -> list[dict[str, Any]]:
    """Return orders with their items until they exceed `MAX_PAGE_SIZE`."""
    orders: list[dict[str, Any]] = []
    size, number = 0, FIRST_ORDERS
    while len(orders) < len(rows) and size <= MAX_PAGE_SIZE:
        for order in await _with_items(connection, rows[len(orders) : len(orders) + number]):
            if size > MAX_PAGE_SIZE:
                break
            orders.append(order)
            size += len(json.dumps(order, ensure_ascii=False, default=str).encode())
        number = min(FIRST_ORDERS, (MAX_PAGE_SIZE - size) * len(orders) // size + 1)
    return orders


async def _with_items(connection: Connection, rows: list[Any]) -> list[dict[str, Any]]:
    """Join orders and their items, with the field names of `POST /orders`."""
    items = await tracking_queries.items(connection, [row["id"] for row in rows])
    return [
        {
            "order_number": row["number"],
            "customer_name": row["customer_name"],
            "order_type": row["type"],
            "table_number": row["table_number"],
            "delivery_address": row["delivery_address"],
            "items": items[row["id"]],
            "notes": row["notes"],
            "total_amount": row["total_amount"],
            "priority": row["priority"],
            "status": row["status"],
            "processed_by": row["processed_by"],
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
            "completed_at": row["completed_at"],
            "estimated_completion": row["estimated_completion"],
            "scheduled": row["status"] == OrderStatus.RECEIVED and row["released_at"] is None,
            "released_at": row["released_at"],
            **tracking_queries.optional_fields(row),
            **{name: row[name] for name in OPTIONAL if row[name] is not None},
        }
        for row in rows
    ]


def _encode_cursor(order_id: int) -> str:
    return base64.urlsafe_b64encode(str(order_id).encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> int:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        order_id = int(base64.urlsafe_b64decode(padded.encode("ascii")).decode("ascii"))
    except (ValueError, binascii.Error):
        raise BadCursor(cursor) from None
    if not 0 < order_id < 2**63:
        raise BadCursor(cursor)
    return order_id
