"""The rail of a station: the tickets on its screens.

The station's worker claims orders, as any worker does: they are assigned to the station, and wait
for people. The rail polls the database twice a second: it shows the orders that are assigned here
or that people have started here, writes their starts once these cannot be undone any more, and ends
the processing of an order that needs no cooking any more. So every screen shows the same, whether
an order was moved by a tap, by a simulated cook or by a cancellation.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from pydantic import JsonValue

from restaurant_system import tracing
from restaurant_system.database import claims, tickets, tracking_queries
from restaurant_system.database.claims import Claim, ClaimedOrder
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.tickets import TicketRow
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.ticket import UNDO_WINDOW
from restaurant_system.services.display.taps import NAME
from restaurant_system.services.display.ticket_contents import head_of, item_of
from restaurant_system.services.display.waiting_orders import WaitingOrders
from restaurant_system.tracing import NO_CONTEXT, TraceContext
from restaurant_system.web.event_stream import Entries, Feed
from restaurant_system.worker.order_processor import OrderProcessor
from restaurant_system.worker.start_writer import StartWriter

log = get_logger(NAME)

POLL_INTERVAL = 0.5  # s


class Rail(OrderProcessor):
    """Keep the orders of one station until people have finished them, and show their tickets."""

    capacity = 1  # people cook as many orders at a time as they start, which is not known before
    is_station = True

    def __init__(
        self,
        database: Database,
        starts: StartWriter,
        *,
        station: str,
        clock: Clock,
        business_day: BusinessDay,
    ) -> None:
        self.feed = Feed(clock=clock)
        self._database = database
        self._starts = starts
        self._station = station
        self._clock = clock
        self._waiting = WaitingOrders(station, business_day, clock)
        self._in_flight: dict[str, asyncio.Future[bool]] = {}  # by order number
        self._traces: dict[str, TraceContext] = {}  # of the orders in flight
        self._shown: dict[str, TicketRow] = {}
        self._items: dict[int, list[JsonValue]] = {}
        self._station_entry: dict[str, JsonValue] = {}
        self._must_refresh = asyncio.Event()

    def show_station(self, entry: Mapping[str, JsonValue]) -> None:
        """Show the station's own state next to its tickets."""
        self._station_entry = dict(entry)
        self.refresh()

    def refresh(self) -> None:
        """Update the tickets of the station from the database now."""
        self._must_refresh.set()

    async def watch(self, last_id: str | None) -> AsyncGenerator[bytes, None]:
        """Yield the events for a screen, from the database as it is now; see `Feed.watch`."""
        self.refresh()
        async with contextlib.aclosing(self.feed.watch(last_id)) as stream:
            async for events in stream:
                yield events

    @property
    def is_busy(self) -> bool:
        """Return whether people have started an order that is on the rail."""
        return any(row.status is OrderStatus.COOKING for row in self._shown.values())

    async def take_over(self, connection: Connection, claim: Claim) -> Sequence[ClaimedOrder]:
        """Take over abandoned orders; give up those that wait here without a slot.

        Starts that are held, here without a slot or at a station that is offline, are written. The
        orders that wait were assigned to the station before it was closed or its process died.
        Until they are claimed again, here or by another worker, they are not shown.
        """
        await self._starts.write_due(
            connection, self._station, until=claim.at, excluded=claim.excluded
        )
        await tickets.unassign_others(connection, self._station, claim.excluded)
        taken = await claims.take_over_abandoned(connection, claim)
        if taken:
            await tickets.assign_orders(connection, self._station, [each.id for each in taken])
        return taken

    async def claim(self, connection: Connection, claim: Claim) -> Sequence[ClaimedOrder]:
        """Assign the next waiting orders to the station."""
        return await claims.assign_next(connection, claim)

    async def process(self, order: ClaimedOrder) -> bool:
        """Keep an order on the rail until it needs no cooking any more."""
        number = order.number
        self._in_flight[number] = asyncio.get_running_loop().create_future()
        self._traces[number] = tracing.current_context()
        self.refresh()
        try:
            is_done = await self._in_flight[number]
        finally:
            self._in_flight.pop(number, None)
            self._traces.pop(number, None)
        if not is_done:
            await self._write_starts(until=self._clock())
        return is_done

    async def _write_starts(self, *, until: datetime) -> None:
        """Write the starts that are held here until then.

        If the database is unavailable, the next worker that takes over orders writes them.
        """
        with contextlib.suppress(DatabaseUnavailable):
            async with self._database.connection() as connection:
                await self._starts.write_due(connection, self._station, until=until)

    def trace_of(self, number: str) -> TraceContext:
        """Return the trace of an order in flight, in which it was claimed here."""
        return self._traces.get(number, NO_CONTEXT)

    def release_orders(self) -> None:
        """Release every order; those assigned here stay on the rail until the station closes."""
        for number in self._in_flight:
            self._end(number, is_done=False)

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
        """Read the orders of the station; return the tickets of the live view."""
        undoable_since = self._clock() - UNDO_WINDOW
        async with self._database.connection() as connection:
            rows = await tickets.list_for_station(
                connection,
                self._station,
                [*self._in_flight, *self._shown],
                bumped_since=undoable_since,
            )
            if any(row.started_at is not None and row.started_at <= undoable_since for row in rows):
                await self._starts.write_due(connection, self._station, until=undoable_since)
            shown = [row for row in rows if self._is_shown(row)]
            await self._unassign_gone(connection, rows, {row.order_id for row in shown})
            await self._load_items(connection, shown)
            waiting = await self._waiting.poll(connection)
        self._shown = {row.number: row for row in shown}
        return {
            "station": {**self._station_entry, "waiting": waiting},
            **{row.number: self._ticket(row) for row in shown},
        }

    def _is_shown(self, row: TicketRow) -> bool:
        """Tell whether an order belongs on this rail; end its processing if it is not cooked here.

        An order that was released because the station stops, stays until another worker has it.
        """
        is_assigned_here = row.station == self._station
        match row.status:
            case OrderStatus.RECEIVED if is_assigned_here:
                return row.number in self._in_flight or row.number in self._shown
            case OrderStatus.COOKING if row.processed_by == self._station:
                return True
        self._end(row.number, is_done=True)
        match row.status:
            case OrderStatus.READY:
                return is_assigned_here and self._can_be_undone(row)
            case OrderStatus.CANCELLED:
                return is_assigned_here  # until it is acknowledged on the screen
            case _:
                return False

    def _can_be_undone(self, row: TicketRow) -> bool:
        return row.bumped_at is not None and row.bumped_at >= self._clock() - UNDO_WINDOW

    async def _unassign_gone(
        self, connection: Connection, rows: Iterable[TicketRow], shown: AbstractSet[int]
    ) -> None:
        """Unassign the orders that have left the rail: other workers cook or have cooked them."""
        gone = [
            row.order_id
            for row in rows
            if row.station == self._station
            and row.order_id not in shown
            and row.bumped_at is None
            and row.status is not OrderStatus.RECEIVED
        ]
        if gone:
            await tickets.unassign_orders(connection, self._station, gone)

    async def _load_items(self, connection: Connection, shown: Sequence[TicketRow]) -> None:
        """Cache the items of the orders on the rail, because items never change."""
        known = self._items
        missing = [row.order_id for row in shown if row.order_id not in known]
        if missing:
            for order_id, items in (await tracking_queries.items(connection, missing)).items():
                known[order_id] = [item_of(item).model_dump() for item in items]
        self._items = {row.order_id: known[row.order_id] for row in shown}

    def _end(self, number: str, *, is_done: bool) -> None:
        """End the processing of an order, if it is in flight."""
        future = self._in_flight.get(number)
        if future is not None and not future.done():
            future.set_result(is_done)

    def _ticket(self, row: TicketRow) -> JsonValue:
        return {
            **head_of(row),
            "priority": row.priority,
            "items": self._items[row.order_id],
            "status": row.status.value,
            "received_at": rfc_3339(row.received_at),
            "rank_at": _optional_rfc_3339(row.rank_at),
            "bumped_at": _optional_rfc_3339(row.bumped_at),
            "started_at": _optional_rfc_3339(row.started_at),
            "rushed_at": _optional_rfc_3339(row.rushed_at),
            "can_be_unrushed": bool(row.can_be_unrushed),
            "crossed_off": sorted(row.crossed_off or []),
            "cancel_reason": row.cancel_reason,
        }


def _optional_rfc_3339(moment: datetime | None) -> str | None:
    return None if moment is None else rfc_3339(moment)
