"""Live views for customers: the board on the wall, and the progress of one order.

Neither contains names, addresses, notes or tables. By its number, an order is shown with its status
and its estimate, and to callers that may read orders with its steps. By its tracking link it is
shown with its steps, its items and its total.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.config import KitchenSettings
from restaurant_system.database import live_view_queries, tracking_queries
from restaurant_system.database.connection import Database
from restaurant_system.errors import OrderNotFound
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.models.tracking_link import is_token_of
from restaurant_system.services.tracking.status_lookup import OrderProgress, StatusLookup
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.access_control import caller_of
from restaurant_system.web.api import Feature
from restaurant_system.web.event_stream import (
    Entries,
    EventStreamResponse,
    FeedPoller,
    last_event_id,
)
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.request_checks import valid_order_number

POLL_INTERVAL = 0.5  # s
MAX_PREPARING = 200  # numbers on the board, over all of its pages
MAX_READY = 60
READY_SHOWN_FOR = timedelta(minutes=30)  # because not every restaurant completes its orders
BOARD = "board"
STATUS_OF = "status/"  # begins the key of an order of which only the status is shown
LINK_OF = "link/"  # begins the key of an order that is shown by its tracking link
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LiveViews:
    """Polls the database for the views with open streams, and serves them over HTTP."""

    def __init__(self, database: Database, *, clock: Clock, kitchen: KitchenSettings) -> None:
        self._database = database
        self._clock = clock
        self._lookup = StatusLookup(database, clock=clock, kitchen=kitchen)
        self._board = FeedPoller(self._poll_board, interval=POLL_INTERVAL)
        self._orders = FeedPoller(self._poll_orders, interval=POLL_INTERVAL)

    def feature(self) -> Feature:
        """Return the routes of the customers' event streams, which OpenAPI does not document."""
        router = GuardedRouter(include_in_schema=False)
        for path, endpoint, requires in (
            ("/live/board", self._send_board, PUBLIC),
            ("/live/track/{order_number}", self._send_order, Capability.READ_STATUS),
            ("/live/track/{order_number}/{token}", self._send_linked_order, PUBLIC),
        ):
            router.add_api_route(path, endpoint, methods=["GET"], requires=requires)
        return Feature(router)

    async def run(self, shutdown: Shutdown) -> None:
        """Poll until a stop is requested, then end all event streams."""
        async with asyncio.TaskGroup() as group:
            for source in (self._board, self._orders):
                group.create_task(source.run(shutdown))

    def board(self, last_event_id: str | None) -> AsyncIterator[bytes]:
        """Return the events of the board: one entry per order number, with its status."""
        return self._board.watch(BOARD, last_event_id)

    async def order(
        self, number: str, last_event_id: str | None, *, is_complete: bool = True
    ) -> AsyncIterator[bytes]:
        """Return the events of one order: its progress and its steps; raises `OrderNotFound`.

        If they are not to be complete, they contain the status and the estimate alone.
        """
        await self._lookup.find(number)
        return self._orders.watch(number if is_complete else STATUS_OF + number, last_event_id)

    async def linked_order(
        self, number: str, token: str, last_event_id: str | None
    ) -> AsyncIterator[bytes]:
        """Return the events of an order by its tracking link; raises `OrderNotFound`."""
        async with self._database.connection() as connection:
            stored = await tracking_queries.tracking_token(connection, number)
        if not is_token_of(stored, token):
            raise OrderNotFound(number)
        return self._orders.watch(LINK_OF + number, last_event_id)

    async def _send_board(self, request: Request) -> Response:
        return EventStreamResponse(self.board(last_event_id(request)))

    async def _send_order(self, order_number: str, request: Request) -> Response:
        number, after = valid_order_number(order_number), last_event_id(request)
        is_complete = caller_of(request).may(Capability.READ_ORDERS)
        return EventStreamResponse(await self.order(number, after, is_complete=is_complete))

    async def _send_linked_order(self, order_number: str, token: str, request: Request) -> Response:
        number, after = valid_order_number(order_number), last_event_id(request)
        return EventStreamResponse(await self.linked_order(number, token, after))

    async def _poll_board(self, keys: Sequence[str]) -> Mapping[str, Entries]:
        since = self._clock() - READY_SHOWN_FOR
        async with self._database.connection() as connection:
            preparing = await live_view_queries.preparing(connection, limit=MAX_PREPARING)
            ready = await live_view_queries.ready(connection, since=since, limit=MAX_READY)
        board = {row["number"]: _board_entry(row, None) for row in preparing}
        board |= {row["number"]: _board_entry(row, row["completed_at"]) for row in ready}
        return dict.fromkeys(keys, board)

    async def _poll_orders(self, keys: Sequence[str]) -> Mapping[str, Entries]:
        """Return the entries of all tracked orders.

        Deleted orders are left out, and those by a link that has ended: their streams end.
        """
        number_in = {key: key.rpartition("/")[2] for key in keys}
        linked = [number for key, number in number_in.items() if key.startswith(LINK_OF)]
        with_steps = [number for key, number in number_in.items() if not key.startswith(STATUS_OF)]
        found = await asyncio.gather(*map(self._progress_of, dict.fromkeys(number_in.values())))
        async with self._database.connection() as connection:
            steps = await live_view_queries.steps(connection, with_steps)
            items = await live_view_queries.items(connection, linked) if linked else {}
        views: dict[str, Entries] = {}
        for progress in filter(None, found):
            number = progress.order_number
            views[STATUS_OF + number] = {"order": _status(progress)}
            if number in steps:
                views[number] = _with_steps(progress, steps[number])
            if number in steps and number in items:
                views[LINK_OF + number] = _with_items(views[number], items[number])
        return {key: views[key] for key in keys if key in views}

    async def _progress_of(self, number: str) -> OrderProgress | None:
        try:
            return await self._lookup.find(number)
        except OrderNotFound:
            return None


def _board_entry(row: live_view_queries.Row, ready_at: datetime | None) -> JsonValue:
    return {
        "status": row["status"],
        "ready_at": None if ready_at is None else rfc_3339(ready_at),
    }


def _with_steps(progress: OrderProgress, steps: Sequence[live_view_queries.Row]) -> Entries:
    return {
        "order": {**_status(progress), "order_type": steps[0]["type"]},
        "steps": [{"status": row["status"], "at": rfc_3339(row["changed_at"])} for row in steps],
    }


def _with_items(
    entries: Mapping[str, Any], items: Sequence[live_view_queries.Row]
) -> Mapping[str, Any]:
    return {
        "order": {**entries["order"], "total_amount": float(items[0]["total_amount"])},
        "steps": entries["steps"],
        "items": [
            {"name": row["name"], "quantity": row["quantity"], "price": float(row["price"])}
            for row in items
        ],
    }


def _status(progress: OrderProgress) -> dict[str, JsonValue]:
    due = progress.estimated_completion
    return {
        "order_number": progress.order_number,
        "status": progress.current_status,
        "estimated_completion": None if due is None else rfc_3339(_round_up_to_minute(due)),
    }


def _round_up_to_minute(moment: datetime) -> datetime:
    """Round up, so that the estimate of a waiting order does not change at every poll."""
    return moment + (EPOCH - moment) % timedelta(minutes=1)
