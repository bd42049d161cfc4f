"""A station's rail: the tickets on its screen.

The hand holds the messages, as any worker's does, and the database says what has become of the
orders. Twice a second the two are held against each other: what nobody else has is shown, and a
message is settled once its order needs no cook any more. So it makes no difference who moved an
order, a tap here or there, a guest who cancelled, or a cook: each screen shows what is.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from restaurant_system.config import KitchenSettings
from restaurant_system.database import tickets, tracking_queries
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.tickets import TicketRow
from restaurant_system.errors import DatabaseUnavailable, MessageRejected
from restaurant_system.logger import get_logger
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.ticket import UNDO
from restaurant_system.services.display.taps import NAME
from restaurant_system.web.live import Entries, Feed
from restaurant_system.worker.order_processor import OrderProcessor, Outcome, take_over_abandoned

log = get_logger(NAME)

LOOK_INTERVAL = 0.5  # s between two looks at what has become of the orders
# For how long a waiting order may be entered as ours whose message we do not have: it comes again
# when the line is back, or was given to somebody else; if it is lost, it is sent again only once
# nobody has it on a screen.
LONGEST_ABSENCE = timedelta(seconds=30)


class Rail(OrderProcessor):
    """The tickets of one station, and everyone who watches them."""

    def __init__(
        self, database: Database, *, station: str, kitchen: KitchenSettings, clock: Clock
    ) -> None:
        self.feed = Feed(clock=clock)
        self._database = database
        self._station = station
        self._kitchen = kitchen
        self._clock = clock
        self._claims: dict[str, asyncio.Future[Outcome]] = {}  # messages in hand, by order
        self._shown: dict[str, TicketRow] = {}
        self._items: dict[int, list[JsonValue]] = {}
        self._absent: dict[int, datetime] = {}  # orders entered as ours that are not, since when
        self._about: dict[str, JsonValue] = {}
        self._woken = asyncio.Event()

    def tell(self, about: Mapping[str, JsonValue]) -> None:
        """Say how the station itself is."""
        self._about = dict(about)
        self.wake()

    def wake(self) -> None:
        """Look at once."""
        self._woken.set()

    @property
    def is_busy(self) -> bool:
        """Whether somebody has begun a ticket that is shown here."""
        return any(row.status is OrderStatus.COOKING for row in self._shown.values())

    async def process(self, order: OrderReceived, request_id: str) -> Outcome:  # noqa: ARG002 - who taps has a request of his own
        """Have an order on the rail until it needs no cook any more."""
        number = order.order_number
        if number in self._claims:  # the same message twice
            return Outcome.OTHER_WORKER
        claim: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._claims[number] = claim
        self.wake()
        try:
            return await claim
        finally:
            self._claims.pop(number, None)

    def release_orders(self) -> None:
        """Give every message back; tickets stay in sight until it is known who has them next."""
        self._settle(self._claims, Outcome.RELEASED)

    async def poll_orders(self) -> None:
        """Look, again and again; while the database is away, nothing is shown."""
        while True:
            self._woken.clear()
            try:
                self.feed.show(await self._look())
            except DatabaseUnavailable:
                self.feed.doubt()
            except Exception:
                log.exception("look_failed", message=f"{self._station} could not be looked at.")
                self.feed.doubt()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._woken.wait()

    async def _look(self) -> Entries:
        """Hold messages against orders; return what is to be shown."""
        claimed = list(self._claims)
        async with self._database.connection() as connection:
            rows = await tickets.list_for_station(
                connection,
                self._station,
                [*claimed, *self._shown],
                bumped_since=self._clock() - UNDO,
            )
            self._refuse_unknown(claimed, rows)
            shown = [row for row in rows if await self._keeps(connection, row)]
            await self._enter(connection, rows, shown)
            await self._read_items(connection, shown)
        self._shown = {row.number: row for row in shown}
        return {
            "station": self._about,
            **{row.number: self._ticket(row) for row in shown},
        }

    async def _keeps(self, connection: Connection, row: TicketRow) -> bool:
        """Decide whether an order is on this rail, and settle its message if it needs none."""
        held_here = row.station == self._station
        match row.status:
            case OrderStatus.RECEIVED:
                return self._may_have(row)
            case OrderStatus.COOKING if row.processed_by == self._station:
                return True
            case OrderStatus.COOKING:
                await self._ask_for(connection, row)
                return False  # if it is ours now, the next look shows it
            case OrderStatus.READY:
                self._settle([row.number], Outcome.COOKED)
                return held_here and self._may_be_undone(row)
            case OrderStatus.CANCELLED:
                self._settle([row.number], Outcome.NOT_NEEDED)
                return held_here  # until somebody has seen it
            case _:
                self._settle([row.number], Outcome.NOT_NEEDED)
                return False

    def _may_be_undone(self, row: TicketRow) -> bool:
        return row.bumped_at is not None and row.bumped_at >= self._clock() - UNDO

    def _may_have(self, row: TicketRow) -> bool:
        """Tell whether a waiting order is ours: its message is in our hand, or has just been."""
        if row.station not in {None, self._station} and row.station_is_online:
            self._settle([row.number], Outcome.OTHER_WORKER)
            return False
        detached = row.station == self._station and row.number in self._shown
        return row.number in self._claims or detached

    async def _ask_for(self, connection: Connection, row: TicketRow) -> None:
        """Take over what somebody else has begun, if its message came to us and he is gone."""
        if row.number not in self._claims:
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
            self.wake()
        else:
            self._settle([row.number], refusal)

    def _refuse_unknown(self, claimed: Sequence[str], rows: Iterable[TicketRow]) -> None:
        known = {row.number for row in rows}
        for number in claimed:
            claim = self._claims.get(number)
            if number not in known and claim is not None and not claim.done():
                claim.set_exception(MessageRejected(f"there is no order {number}"))

    async def _enter(
        self, connection: Connection, rows: Iterable[TicketRow], shown: Sequence[TicketRow]
    ) -> None:
        """Write down what is new on the rail, and strike off what is over."""
        new = [row.order_id for row in shown if row.station != self._station]
        if new:
            await tickets.assign_orders(connection, self._station, new)
        over = self._over(rows, {row.order_id for row in shown})
        if over:
            await tickets.unassign_orders(connection, self._station, over)

    def _over(self, rows: Iterable[TicketRow], shown: AbstractSet[int]) -> list[int]:
        """Find what is entered as ours, and is not on the rail any more."""
        now = self._clock()
        gone = [
            row
            for row in rows
            if row.station == self._station and row.order_id not in shown and row.bumped_at is None
        ]
        self._absent = {
            row.order_id: self._absent.get(row.order_id, now)
            for row in gone
            if row.status is OrderStatus.RECEIVED
        }
        return [
            row.order_id
            for row in gone
            if row.status is not OrderStatus.RECEIVED
            or now - self._absent[row.order_id] > LONGEST_ABSENCE
        ]

    async def _read_items(self, connection: Connection, shown: Sequence[TicketRow]) -> None:
        """Keep the items of what is shown at hand: they never change."""
        known = self._items
        missing = [row.order_id for row in shown if row.order_id not in known]
        if missing:
            for order_id, items in (await tracking_queries.items(connection, missing)).items():
                known[order_id] = [_line(item) for item in items]
        self._items = {row.order_id: known[row.order_id] for row in shown}

    def _settle(self, numbers: Iterable[str], outcome: Outcome) -> None:
        for number in tuple(numbers):
            claim = self._claims.get(number)
            if claim is not None and not claim.done():
                claim.set_result(outcome)

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
            "bumped_at": _written(row.bumped_at),
            "rushed_at": _written(row.rushed_at),
            "updated_at": rfc_3339(row.updated_at),
        }


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else rfc_3339(moment)


def _line(item: Mapping[str, Any]) -> JsonValue:
    return {"name": item["name"], "quantity": item["quantity"], "notes": item["notes"]}
