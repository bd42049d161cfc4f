"""Live views: the board on the wall, the progress of one order, and the list of orders for staff.

Those for customers contain neither names nor addresses, notes or tables; the board shows the
reference by which a courier or a till calls an order. By its number, an order is shown with its
status and its estimate, and to callers that may read orders with its steps. By its tracking link it
is shown with its steps, its items, its charges, its total and its amount due.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.database import live_view_queries, tracking_queries
from restaurant_system.database.reader import Reader
from restaurant_system.database.tracking_queries import Row
from restaurant_system.error_texts import ErrorText
from restaurant_system.errors import DatabaseUnavailable, OrderNotFound
from restaurant_system.models.access import Capability
from restaurant_system.models.board import BoardSelection, UnknownOrderTypes
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock, optional_rfc_3339, rfc_3339, round_up_to_minute
from restaurant_system.models.money import json_number
from restaurant_system.models.tracking_link import is_token_of
from restaurant_system.services.tracking.order_list import READY_SHOWN_FOR, OrderList
from restaurant_system.services.tracking.status_lookup import (
    OrderProgress,
    StatusLookup,
    is_complete,
)
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
from restaurant_system.web.problem import Refusal
from restaurant_system.web.request_checks import valid_order_number
from restaurant_system.web.validation_errors import FieldError

POLL_INTERVAL = 0.5  # s
MAX_SHOWN = 200  # numbers in each column of the board, over all of its pages
MAX_COUNTED = 100  # further ones, of which the board says how many there are
LEFT_OUT = "left_out"  # the key of the entry of a board that counts these
ORDERS = "orders"
STATUS_OF = "status/"  # begins the key of an order of which only the status is shown
LINK_OF = "link/"  # begins the key of an order that is shown by its tracking link


class LiveViews:
    """Polls the database for the views with open streams, and serves them over HTTP."""

    def __init__(
        self,
        database: Reader,
        lookup: StatusLookup,
        *,
        clock: Clock,
        business_day: BusinessDay,
    ) -> None:
        self._database = database
        self._clock = clock
        self._business_day = business_day
        self._lookup = lookup
        self._board = FeedPoller(self._poll_board, interval=POLL_INTERVAL)
        self._orders = FeedPoller(self._poll_orders, interval=POLL_INTERVAL)
        order_list = OrderList(database, self._lookup, clock=clock, business_day=business_day)
        self._order_list = FeedPoller(order_list.poll, interval=POLL_INTERVAL)

    def feature(self) -> Feature:
        """Return the routes of the event streams, which OpenAPI does not document."""
        router = GuardedRouter(include_in_schema=False)
        for path, endpoint, requires in (
            ("/live/board", self._send_board, PUBLIC),
            ("/live/orders", self._send_order_list, Capability.READ_ORDERS),
            ("/live/track/{order_number}", self._send_order, Capability.READ_STATUS),
            ("/live/track/{order_number}/{token}", self._send_linked_order, PUBLIC),
        ):
            router.add_api_route(path, endpoint, methods=["GET"], requires=requires)
        return Feature(router)

    async def run(self, shutdown: Shutdown) -> None:
        """Poll until a stop is requested, then end all event streams."""
        async with asyncio.TaskGroup() as group:
            for source in (self._board, self._orders, self._order_list):
                group.create_task(source.run(shutdown))

    def board(self, selection: BoardSelection, last_event_id: str | None) -> AsyncIterator[bytes]:
        """Return the events of a board: one entry per order number, with its status."""
        return self._board.watch(str(selection), last_event_id)

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
        stored = await self._database.find(lambda it: tracking_queries.tracking_token(it, number))
        if not is_token_of(stored, token):
            raise OrderNotFound(number)
        return self._orders.watch(LINK_OF + number, last_event_id)

    async def _send_board(self, request: Request) -> Response:
        try:
            selection = BoardSelection.of(request.query_params.get("order_types"))
        except UnknownOrderTypes as error:
            fault = FieldError("order_types", error.fault)
            invalid = ErrorText("The query is invalid.", "invalid_request")
            raise Refusal(HTTPStatus.BAD_REQUEST, invalid, [fault]) from None
        return EventStreamResponse(self.board(selection, last_event_id(request)))

    async def _send_order_list(self, request: Request) -> Response:
        return EventStreamResponse(self._order_list.watch(ORDERS, last_event_id(request)))

    async def _send_order(self, order_number: str, request: Request) -> Response:
        number, after = valid_order_number(order_number), last_event_id(request)
        is_complete = caller_of(request).may(Capability.READ_ORDERS)
        return EventStreamResponse(await self.order(number, after, is_complete=is_complete))

    async def _send_linked_order(self, order_number: str, token: str, request: Request) -> Response:
        number, after = valid_order_number(order_number), last_event_id(request)
        return EventStreamResponse(await self.linked_order(number, token, after))

    async def _poll_board(self, keys: Sequence[str]) -> Mapping[str, Entries]:
        """Return the entries of the boards with these selections."""
        now = self._clock()
        since = now - READY_SHOWN_FOR
        day_started_at = self._business_day.start_of(self._business_day.date_of(now))
        boards: dict[str, Entries] = {}
        async with self._database.connection() as connection:
            for key in keys:
                selection = BoardSelection.of(key)
                limit = MAX_SHOWN + MAX_COUNTED
                preparing = await live_view_queries.preparing(
                    connection, selection, released_since=day_started_at, limit=limit
                )
                ready = await live_view_queries.ready(
                    connection, selection, since=since, limit=limit
                )
                boards[key] = _board(preparing, ready)
        return boards

    async def _poll_orders(self, keys: Sequence[str]) -> Mapping[str, Entries]:
        """Return the entries of all tracked orders.

        Deleted orders are left out, and those by a link that has ended: their streams end. So do
        those of orders that a replica lacks while the primary is unavailable; the others go on.
        """
        number_in = {key: key.rpartition("/")[2] for key in keys}
        linked = [number for key, number in number_in.items() if key.startswith(LINK_OF)]
        with_steps = [number for key, number in number_in.items() if not key.startswith(STATUS_OF)]
        found = await asyncio.gather(*map(self._progress_of, dict.fromkeys(number_in.values())))
        progresses = {each.order_number: each for each in found if isinstance(each, OrderProgress)}
        for each in found:
            if isinstance(each, DatabaseUnavailable) and not progresses:
                raise each
        steps, items = await _read(self._database, with_steps, linked)
        # What a replica does not have yet; that it is missing would end the stream.
        behind = {
            number
            for number in (with_steps if self._database.staleness else ())
            if number in progresses and not is_complete(steps.get(number, ()), progresses[number])
        }
        if behind:
            with contextlib.suppress(DatabaseUnavailable):
                newer = await _read(self._database.primary, list(behind), list(behind & {*linked}))
                steps, items = steps | newer[0], items | newer[1]
        views: dict[str, Entries] = {}
        for progress in progresses.values():
            number = progress.order_number
            views[STATUS_OF + number] = {"order": _status(progress)}
            if number in steps:
                views[number] = _with_steps(progress, steps[number])
            if number in steps and number in items:
                views[LINK_OF + number] = _with_items(views[number], items[number])
        return {key: views[key] for key in keys if key in views}

    async def _progress_of(
        self, number: str
    ) -> OrderProgress | OrderNotFound | DatabaseUnavailable:
        try:
            return await self._lookup.find(number)
        except (OrderNotFound, DatabaseUnavailable) as error:
            return error


async def _read(
    database: Reader, with_steps: Sequence[str], linked: Sequence[str]
) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """Return the steps of these orders, and the items of those that are shown by their link."""
    async with database.connection() as connection:
        steps = await live_view_queries.steps(connection, with_steps)
        items = await live_view_queries.items(connection, linked) if linked else {}
    return steps, items


def _board(preparing: Sequence[Row], ready: Sequence[Row]) -> Entries:
    """Return the entries of the first orders, and how many more there are, if there are any."""
    entries = {row["number"]: _board_entry(row, None) for row in preparing[:MAX_SHOWN]}
    entries |= {row["number"]: _board_entry(row, row["completed_at"]) for row in ready[:MAX_SHOWN]}
    counts: dict[str, JsonValue] = {
        name: {"count": len(rows) - MAX_SHOWN, "is_more": len(rows) == MAX_SHOWN + MAX_COUNTED}
        for name, rows in (("preparing", preparing), ("ready", ready))
        if len(rows) > MAX_SHOWN
    }
    return {**entries, LEFT_OUT: counts} if counts else entries


def _board_entry(row: Row, ready_at: datetime | None) -> JsonValue:
    return {
        "status": row["status"],
        "ready_at": optional_rfc_3339(ready_at),
        "reference": row["reference"],
    }


def _with_steps(progress: OrderProgress, steps: Sequence[Row]) -> Entries:
    return {
        "order": {
            **_status(progress),
            "order_type": steps[0]["type"],
            "handoff": steps[0]["handoff"],
            "ready_at": optional_rfc_3339(steps[0]["ready_at"]),
        },
        "steps": [{"status": row["status"], "at": rfc_3339(row["changed_at"])} for row in steps],
    }


def _with_items(entries: Mapping[str, Any], items: Sequence[Row]) -> Mapping[str, Any]:
    amount_due = items[0]["amount_due"]
    return {
        "order": {
            **entries["order"],
            "total_amount": json_number(items[0]["total_amount"]),
            **({} if amount_due is None else {"amount_due": json_number(amount_due)}),
        },
        "steps": entries["steps"],
        "items": [_item(row) for row in items],
        "charges": [
            {"name": charge["name"], "amount": json_number(charge["amount"])}
            for charge in live_view_queries.charges(items[0])
        ],
    }


def _item(row: Row) -> JsonValue:
    item = {"name": row["name"], "quantity": row["quantity"], "price": json_number(row["price"])}
    modifiers = _modifiers(live_view_queries.public_modifiers(row))
    return {**item, "modifiers": modifiers} if modifiers else item


def _modifiers(modifiers: Sequence[Mapping[str, Any]]) -> list[JsonValue]:
    return [
        {
            "name": each["name"],
            "kind": each["kind"],
            "quantity": each["quantity"],
            "price": json_number(each["price"]),
            "modifiers": _modifiers(each["modifiers"]),
        }
        for each in modifiers
    ]


def _status(progress: OrderProgress) -> dict[str, JsonValue]:
    """Return what customers see: no estimate that does not rest on recent orders."""
    due = progress.estimated_completion if progress.is_learned else None
    scheduled = progress.scheduled_for
    return {
        "order_number": progress.order_number,
        "status": progress.current_status,
        "estimated_completion": None if due is None else rfc_3339(round_up_to_minute(due)),
        **({} if scheduled is None else {"is_scheduled": True, "ready_at": rfc_3339(scheduled)}),
    }
