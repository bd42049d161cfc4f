"""What people do with the tickets of a station: each tap has its effect once, or not at all.

A tap says what it expects, so that of two hands on one ticket one is told that it was too late. And
it has a key: one whose answer was lost is sent again, and has not been done twice, even if somebody
has undone it in between.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel

from restaurant_system.config import KitchenSettings
from restaurant_system.database import idempotency, orders, tickets, tracking_queries
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.database.tickets import LockedOrder
from restaurant_system.errors import IdempotencyKeyReused, OrderNotFound, TicketChanged
from restaurant_system.logger import get_logger
from restaurant_system.messaging.announcements import Sender, announced_move
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.ticket import TARGETS, Action

NAME = "kitchen-display"

log = get_logger(NAME)


@dataclass(frozen=True, slots=True)
class TicketTapped:
    """Somebody has tapped on a ticket of a station, on which he saw a status, as of a moment."""

    station: str
    number: str
    action: Action
    expected: OrderStatus
    as_of: datetime | None = None

    @property
    def fingerprint(self) -> bytes:
        """What two requests share exactly when they are about the same tap."""
        stated = f"{self.action} {self.number} {self.expected} {self.as_of} {self.station}"
        return hashlib.sha256(stated.encode()).digest()

    @property
    def outcome(self) -> OrderStatus:
        """Where the order stands afterwards."""
        return TARGETS.get(self.action, self.expected)

    def is_about(self, order: LockedOrder) -> bool:
        """Whether an order is still as it was seen; times are told to the millisecond."""
        return self.expected is order.status and (
            self.as_of is None or rfc_3339(self.as_of) == rfc_3339(order.updated_at)
        )

    def too_late(self, order: LockedOrder) -> TicketChanged:
        """Say that it is not."""
        return TicketChanged(self.number, order.status, self.outcome, order.processed_by)


@dataclass(frozen=True, slots=True)
class Done:
    """What a tap has come to; `replayed` if it had its effect before."""

    status: OrderStatus
    replayed: bool = False


class Taps:
    """Carries out what people tap, at any number of stations."""

    def __init__(
        self, database: Database, relay: Relay, *, kitchen: KitchenSettings, clock: Clock
    ) -> None:
        self._database = database
        self._relay = relay
        self._kitchen = kitchen
        self._clock = clock

    async def carry_out(self, tapped: TicketTapped, *, key: str | None, request_id: str) -> Done:
        """Do what was tapped.

        Raises `TicketChanged` when the order does not stand there any more, `OrderNotFound`, and
        `IdempotencyKeyReused` for a key that was used for something else.
        """
        async with self._database.transaction() as tx:
            order = await tickets.lock_order(tx, tapped.number)
            if order is None:
                raise OrderNotFound(tapped.number)
            if key is not None and not await _is_new(tx, key, tapped):
                return Done(tapped.outcome, replayed=True)
            if not tapped.is_about(order):
                raise tapped.too_late(order)
            owed = await self._effect(tx, tapped, order, request_id)
        if owed is not None:
            self._relay.hand_over(owed)
        log.info(
            "ticket_tapped",
            message=f"{tapped.station}: {tapped.action} {tapped.number}.",
            order_number=tapped.number,
            tap=tapped.action,
        )
        return Done(tapped.outcome)

    async def _effect(
        self, tx: Connection, tapped: TicketTapped, order: LockedOrder, request_id: str
    ) -> OutboxMessage | None:
        """Do it; return what is owed to everyone for it."""
        match tapped.action:
            case Action.RUSH:
                if not await tickets.rush(tx, tapped.station, tapped.number, at=self._clock()):
                    raise tapped.too_late(order)
            case Action.ACKNOWLEDGE:
                await tickets.unassign_order(tx, tapped.station, tapped.number)
            case _:
                return await self._move(tx, tapped, order, request_id)
        return None

    async def _move(
        self, tx: Connection, tapped: TicketTapped, order: LockedOrder, request_id: str
    ) -> OutboxMessage:
        now = self._clock()
        is_begun = tapped.outcome is OrderStatus.COOKING
        move = announced_move(
            tapped.number,
            origin=tapped.expected,
            target=tapped.outcome,
            at=now,
            by=tapped.station,
            sender=Sender(NAME, request_id),
            estimated_completion=now + self._cooking_time(order) if is_begun else None,
            notes="recalled" if tapped.action is Action.RECALL else None,
        )
        (owed,) = await orders.move(tx, [move])
        if owed is None:  # it is another worker's
            raise tapped.too_late(order)
        if tapped.action is Action.BUMP:
            await tickets.record_bump(tx, tapped.station, tapped.number, now)
        elif tapped.action is Action.RECALL:
            await tickets.record_recall(tx, tapped.station, tapped.number)
        return owed

    def _cooking_time(self, order: LockedOrder) -> timedelta:
        return self._kitchen.cooking_time(order.order_type)


async def _is_new(tx: Connection, key: str, tapped: TicketTapped) -> bool:
    """Take a key for a tap; return whether it was free. Orders and taps share no keys."""
    name = f"tap/{key}"
    if await idempotency.store(tx, name, tapped.fingerprint, tapped.number):
        return True
    remembered = await idempotency.look_up(tx, name)
    if remembered is None or remembered.fingerprint != tapped.fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used for something else; send a new one."
        )
    return False


class Line(BaseModel):
    """One line of an order, as the kitchen sees it."""

    name: str
    quantity: int
    notes: str | None


class Bumped(BaseModel):
    """An order that a station has bumped, and that is still ready; times are RFC 3339, in UTC."""

    order_number: str
    order_type: OrderType
    table_number: int | None
    items: list[Line]
    bumped_at: str
    updated_at: str


class Recallable:
    """Looks up what could be recalled."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def at(self, station: str) -> list[Bumped]:
        """Return up to 50 of a station's, the latest first."""
        async with self._database.connection() as connection:
            rows = await tickets.list_bumped(connection, station)
            items = await tracking_queries.items(connection, [row.order_id for row in rows])
        return [
            Bumped(
                order_number=row.number,
                order_type=row.order_type,
                table_number=row.table_number,
                items=[
                    Line(name=item["name"], quantity=item["quantity"], notes=item["notes"])
                    for item in items[row.order_id]
                ],
                bumped_at=rfc_3339(row.bumped_at),
                updated_at=rfc_3339(row.updated_at),
            )
            for row in rows
        ]
