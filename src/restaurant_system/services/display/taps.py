"""Taps on tickets: the actions of people at a station. Each takes effect once, or not at all.

A tap states which status of the order was on the screen, so that of two people who tap on one
ticket the second gets the error that the order has changed. It also has an idempotency key: a tap
that is repeated because its response was lost does not take effect again, even if it was undone
meanwhile.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel

from restaurant_system.config import KitchenSettings
from restaurant_system.database import audit, idempotency, orders, tickets, tracking_queries
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.orders import MovedOrder
from restaurant_system.database.tickets import LockedOrder
from restaurant_system.errors import IdempotencyKeyReused, OrderNotFound, TicketChanged
from restaurant_system.logger import get_logger
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.relay import Relay
from restaurant_system.metrics.order_moves import observe_move
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.models.order import OrderType
from restaurant_system.models.privacy import ERASED_FINGERPRINT
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.ticket import TARGET_STATUS, Action

NAME = "kitchen-display"

log = get_logger(NAME)


@dataclass(frozen=True, slots=True)
class TapTicket:
    """A person's request for an action on a ticket.

    `expected` and `as_of` are the order's status and its `updated_at` as they were on the screen.
    """

    station: str
    number: str
    action: Action
    expected: OrderStatus
    as_of: datetime | None = None

    @property
    def fingerprint(self) -> bytes:
        """A hash that is equal for two requests if they are for the same tap, else different."""
        text = f"{self.action} {self.number} {self.expected} {self.as_of} {self.station}"
        return hashlib.sha256(text.encode()).digest()

    @property
    def target(self) -> OrderStatus:
        """The order's status after the tap."""
        return TARGET_STATUS.get(self.action, self.expected)

    def matches(self, order: LockedOrder) -> bool:
        """Tell whether an order is unchanged since it was shown on the ticket.

        Times are compared in milliseconds, because screens get them so.
        """
        return self.expected is order.status and (
            self.as_of is None or rfc_3339(self.as_of) == rfc_3339(order.updated_at)
        )

    def act(self, by: Actor, at: datetime, request_id: str) -> Act:
        """Return the tap as an act of a person."""
        return Act(
            at=at,
            actor=by,
            action=AuditAction(f"{self.action}_ticket"),
            target=self.number,
            request_id=request_id,
            details={"station": self.station},
        )

    def ticket_changed(self, order: LockedOrder) -> TicketChanged:
        """Return the error for an order that has changed since it was shown."""
        return TicketChanged(self.number, order.status, self.target, order.processed_by)


@dataclass(frozen=True, slots=True)
class TapResult:
    """The order's status after a tap; `replayed` if the tap had taken effect before."""

    status: OrderStatus
    replayed: bool = False


class BumpedItem(BaseModel):
    """An item of a bumped order."""

    name: str
    quantity: int
    notes: str | None


class BumpedTicket(BaseModel):
    """An order that a station has bumped and that is still ready; times are RFC 3339, in UTC."""

    order_number: str
    order_type: OrderType
    table_number: int | None
    items: list[BumpedItem]
    bumped_at: str
    updated_at: str


class Taps:
    """Perform the actions that people tap on tickets, and record who opens stations."""

    def __init__(
        self, database: Database, relay: Relay, *, kitchen: KitchenSettings, clock: Clock
    ) -> None:
        self._database = database
        self._relay = relay
        self._kitchen = kitchen
        self._clock = clock

    async def perform(
        self, tap: TapTicket, *, key: str | None, request_id: str, by: Actor | None = None
    ) -> TapResult:
        """Perform the action of a tap, once for each idempotency key, and record who taps.

        Raises `TicketChanged` when the order has changed since it was shown, `OrderNotFound`, and
        `IdempotencyKeyReused` for a key that was used for another tap.
        """
        async with self._database.transaction() as tx:
            order = await tickets.lock_order(tx, tap.number)
            if order is None:
                raise OrderNotFound(tap.number)
            if key is not None and not await _take_key(tx, key, tap):
                return TapResult(tap.target, replayed=True)
            if not tap.matches(order):
                raise tap.ticket_changed(order)
            message = await self._perform(tx, tap, order, request_id)
            if by is not None:
                await audit.write(tx, [tap.act(by, self._clock(), request_id)])
        if message is not None:
            self._relay.enqueue(message)
            observe_move(
                message.order_type,
                tap.expected,
                tap.target,
                message.seconds_since_placed,
                late_after=self._kitchen.late_after(message.order_type),
            )
        log.info(
            "ticket_tapped",
            message=f"Order {tap.number}: {tap.action} at station {tap.station}.",
            order_number=tap.number,
            tap=tap.action,
        )
        return TapResult(tap.target)

    async def record_opening(self, station: str, by: Actor, request_id: str) -> None:
        """Record who opens a station."""
        act = Act(
            at=self._clock(),
            actor=by,
            action=AuditAction.OPEN_STATION,
            target=station,
            request_id=request_id,
        )
        async with self._database.transaction() as tx:
            await audit.write(tx, [act])

    async def list_bumped(self, station: str) -> list[BumpedTicket]:
        """Return the last 50 orders that a station has bumped and can recall, the latest first."""
        async with self._database.connection() as connection:
            rows = await tickets.list_bumped(connection, station)
            items = await tracking_queries.items(connection, [row.order_id for row in rows])
        return [
            BumpedTicket(
                order_number=row.number,
                order_type=row.order_type,
                table_number=row.table_number,
                items=[
                    BumpedItem(name=item["name"], quantity=item["quantity"], notes=item["notes"])
                    for item in items[row.order_id]
                ],
                bumped_at=rfc_3339(row.bumped_at),
                updated_at=rfc_3339(row.updated_at),
            )
            for row in rows
        ]

    async def _perform(
        self, tx: Connection, tap: TapTicket, order: LockedOrder, request_id: str
    ) -> MovedOrder | None:
        """Perform the action of a tap; return the outbox message of a status change, if any."""
        match tap.action:
            case Action.RUSH:
                if not await tickets.rush(tx, tap.station, tap.number, at=self._clock()):
                    raise tap.ticket_changed(order)
            case Action.ACKNOWLEDGE:
                await tickets.unassign_order(tx, tap.station, tap.number)
            case _:
                return await self._move(tx, tap, order, request_id)
        return None

    async def _move(
        self, tx: Connection, tap: TapTicket, order: LockedOrder, request_id: str
    ) -> MovedOrder:
        now = self._clock()
        is_cooking = tap.target is OrderStatus.COOKING
        move = move_with_update(
            tap.number,
            origin=tap.expected,
            target=tap.target,
            at=now,
            by=tap.station,
            sender=Sender(NAME, request_id),
            estimated_completion=now + self._cooking_time(order) if is_cooking else None,
            notes="recalled" if tap.action is Action.RECALL else None,
        )
        (message,) = await orders.move(tx, [move])
        if message is None:  # another worker processes the order
            raise tap.ticket_changed(order)
        if tap.action is Action.BUMP:
            await tickets.record_bump(tx, tap.station, tap.number, now)
        elif tap.action is Action.RECALL:
            await tickets.record_recall(tx, tap.station, tap.number)
        return message

    def _cooking_time(self, order: LockedOrder) -> timedelta:
        return self._kitchen.cooking_time(order.order_type)


async def _take_key(tx: Connection, key: str, tap: TapTicket) -> bool:
    """Store the idempotency key of a tap; return `False` if the same tap has used it before.

    The prefix keeps the keys of taps apart from those of new orders.
    """
    name = f"tap/{key}"
    if await idempotency.store(tx, name, tap.fingerprint, tap.number):
        return True
    used_for = await idempotency.look_up(tx, name)
    # The fingerprints of an erased order are erased; a repeated tap still gets its answer.
    if used_for is None or used_for.fingerprint not in (tap.fingerprint, ERASED_FINGERPRINT):
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used for something else; send a new one."
        )
    return False
