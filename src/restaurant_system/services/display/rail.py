"""The rail of a station: the tickets on its screens.

The station's worker holds the messages, as any worker does, and the database has the orders. The
rail polls the database twice a second and compares the two: it shows the orders that no other
worker has, and settles the message of an order that needs no cooking any more. So every screen
shows the same, whether an order was moved by a tap, by a simulated cook or by a cancellation.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from restaurant_system import tracing
from restaurant_system.config import KitchenSettings
from restaurant_system.database import tickets, tracking_queries
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.tickets import TicketRow
from restaurant_system.errors import DatabaseUnavailable, MessageRejected
from restaurant_system.logger import get_logger
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.ticket import UNDO_WINDOW
from restaurant_system.services.display.taps import NAME
from restaurant_system.tracing import NO_CONTEXT, TraceContext
from restaurant_system.web.event_stream import Entries, Feed
from restaurant_system.worker.order_processor import OrderProcessor, Outcome, take_over_abandoned

log = get_logger(NAME)

POLL_INTERVAL = 0.5  # s
# How long a received order stays assigned to the station without its message here: the message is
# redelivered when the connection is back, or goes to another worker. A lost message is published
# again only for orders that are assigned to no online station.
UNASSIGN_AFTER = timedelta(seconds=30)


class Rail(OrderProcessor):
    """Keep the orders of one station until people have finished them, and show their tickets."""

    def __init__(
        self, database: Database, *, station: str, kitchen: KitchenSettings, clock: Clock
    ) -> None:
        self.feed = Feed(clock=clock)
        self._database = database
        self._station = station
        self._kitchen = kitchen
        self._clock = clock
        self._in_flight: dict[str, asyncio.Future[Outcome]] = {}  # by order number
        self._traces: dict[str, TraceContext] = {}  # of the orders in flight
        self._shown: dict[str, TicketRow] = {}
        self._items: dict[int, list[JsonValue]] = {}
        self._missing_since: dict[int, datetime] = {}  # received, assigned here, without a message
        self._station_entry: dict[str, JsonValue] = {}
        self._must_refresh = asyncio.Event()

    def show_station(self, entry: Mapping[str, JsonValue]) -> None:
        """Show the station's own state next to its tickets."""
        self._station_entry = dict(entry)
        self.refresh()

    def refresh(self) -> None:
        """Update the tickets of the station from the database now."""
        self._must_refresh.set()

    @property
    def is_busy(self) -> bool:
        """Return whether people have started an order that is on the rail."""
        return any(row.status is OrderStatus.COOKING for row in self._shown.values())

    async def process(self, order: OrderReceived, request_id: str) -> Outcome:  # noqa: ARG002 - taps have requests of their own
        """Keep an order on the rail until it needs no cooking any more."""
        number = order.order_number
        if number in self._in_flight:  # a duplicate of the message
            return Outcome.OTHER_WORKER
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._in_flight[number] = outcome
        self._traces[number] = tracing.current_context()
        self.refresh()
        try:
            return await outcome
        finally:
            self._in_flight.pop(number, None)
            self._traces.pop(number, None)

    def trace_of(self, number: str) -> TraceContext:
        """Return the trace of an order in flight, in which its message was delivered here."""
        return self._traces.get(number, NO_CONTEXT)

    def release_orders(self) -> None:
        """Requeue every message; a ticket stays on the rail until another worker has its order."""
        self._settle(self._in_flight, Outcome.RELEASED)

    async def poll_orders(self) -> None:
        """Poll the database and send the tickets to the screens, while it is available."""
        while True:
            self._must_refresh.clear()
            try:
                self.feed.update(await self._poll())
            except DatabaseUnavailable:
                self.feed.invalidate()
            except Exception:
                log.exception(
                    "live_view_failed", message=f"Tickets of station {self._station} not updated."
                )
                self.feed.invalidate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL):
                    await self._must_refresh.wait()

    async def _poll(self) -> Entries:
        """Compare messages in flight with their orders; return the tickets of the live view."""
        in_flight = list(self._in_flight)
        async with self._database.connection() as connection:
            rows = await tickets.list_for_station(
                connection,
                self._station,
                [*in_flight, *self._shown],
                bumped_since=self._clock() - UNDO_WINDOW,
            )
            self._reject_unknown(in_flight, rows)
            shown = [row for row in rows if await self._is_shown(connection, row)]
            await self._update_assignments(connection, rows, shown)
            await self._load_items(connection, shown)
        self._shown = {row.number: row for row in shown}
        return {
            "station": self._station_entry,
            **{row.number: self._ticket(row) for row in shown},
        }

    async def _is_shown(self, connection: Connection, row: TicketRow) -> bool:
        """Tell whether an order belongs on this rail; settle its message if it needs no cooking."""
        is_assigned_here = row.station == self._station
        match row.status:
            case OrderStatus.RECEIVED:
                return self._is_waiting_here(row)
            case OrderStatus.COOKING if row.processed_by == self._station:
                return True
            case OrderStatus.COOKING:
                await self._take_over(connection, row)
                return False  # if it was taken over, the next poll shows it
            case OrderStatus.READY:
                self._settle([row.number], Outcome.COOKED)
                return is_assigned_here and self._can_be_undone(row)
            case OrderStatus.CANCELLED:
                self._settle([row.number], Outcome.NOT_NEEDED)
                return is_assigned_here  # until it is acknowledged on the screen
            case _:
                self._settle([row.number], Outcome.NOT_NEEDED)
                return False

    def _can_be_undone(self, row: TicketRow) -> bool:
        return row.bumped_at is not None and row.bumped_at >= self._clock() - UNDO_WINDOW

    def _is_waiting_here(self, row: TicketRow) -> bool:
        """Tell whether a received order waits here: its message is or was in flight.

        After a lost connection the message comes again, here or at another worker.
        """
        if row.station not in {None, self._station} and row.station_is_online:
            self._settle([row.number], Outcome.OTHER_WORKER)
            return False
        was_shown = row.station == self._station and row.number in self._shown
        return row.number in self._in_flight or was_shown

    async def _take_over(self, connection: Connection, row: TicketRow) -> None:
        """Take over an order of an offline worker, if its message was delivered here."""
        if row.number not in self._in_flight:
            return
        now = self._clock()
        refusal = await take_over_abandoned(
            connection,
            row.number,
            to_worker=self._station,
            estimated_completion=now + self._kitchen.cooking_time(row.order_type),
            at=now,
        )
        if refusal is None:
            self.refresh()
        else:
            self._settle([row.number], refusal)

    def _reject_unknown(self, in_flight: Sequence[str], rows: Iterable[TicketRow]) -> None:
        known = {row.number for row in rows}
        for number in in_flight:
            outcome = self._in_flight.get(number)
            if number not in known and outcome is not None and not outcome.done():
                outcome.set_exception(MessageRejected(f"there is no order {number}"))

    async def _update_assignments(
        self, connection: Connection, rows: Iterable[TicketRow], shown: Sequence[TicketRow]
    ) -> None:
        """Assign new orders on the rail to the station, and unassign those that have left it."""
        new = [row.order_id for row in shown if row.station != self._station]
        if new:
            await tickets.assign_orders(connection, self._station, new)
        gone = self._orders_to_unassign(rows, {row.order_id for row in shown})
        if gone:
            await tickets.unassign_orders(connection, self._station, gone)

    def _orders_to_unassign(self, rows: Iterable[TicketRow], shown: AbstractSet[int]) -> list[int]:
        """Return the orders that are assigned to the station and not on the rail any more."""
        now = self._clock()
        gone = [
            row
            for row in rows
            if row.station == self._station and row.order_id not in shown and row.bumped_at is None
        ]
        self._missing_since = {
            row.order_id: self._missing_since.get(row.order_id, now)
            for row in gone
            if row.status is OrderStatus.RECEIVED
        }
        return [
            row.order_id
            for row in gone
            if row.status is not OrderStatus.RECEIVED
            or now - self._missing_since[row.order_id] > UNASSIGN_AFTER
        ]

    async def _load_items(self, connection: Connection, shown: Sequence[TicketRow]) -> None:
        """Cache the items of the orders on the rail, because items never change."""
        known = self._items
        missing = [row.order_id for row in shown if row.order_id not in known]
        if missing:
            for order_id, items in (await tracking_queries.items(connection, missing)).items():
                known[order_id] = [_item(item) for item in items]
        self._items = {row.order_id: known[row.order_id] for row in shown}

    def _settle(self, numbers: Iterable[str], outcome: Outcome) -> None:
        for number in tuple(numbers):
            future = self._in_flight.get(number)
            if future is not None and not future.done():
                future.set_result(outcome)

    def _ticket(self, row: TicketRow) -> JsonValue:
        return {
            "order_number": row.number,
            "order_type": row.order_type.value,
            "table_number": row.table_number,
            "priority": row.priority,
            "items": self._items[row.order_id],
            "notes": row.notes,
            "status": row.status.value,
            "received_at": rfc_3339(row.received_at),
            "bumped_at": _optional_rfc_3339(row.bumped_at),
            "rushed_at": _optional_rfc_3339(row.rushed_at),
            "updated_at": rfc_3339(row.updated_at),
        }


def _optional_rfc_3339(moment: datetime | None) -> str | None:
    return None if moment is None else rfc_3339(moment)


def _item(item: Mapping[str, Any]) -> JsonValue:
    return {"name": item["name"], "quantity": item["quantity"], "notes": item["notes"]}
