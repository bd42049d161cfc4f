"""Taps on tickets: the actions of people at a station. Each takes effect once, or not at all.

A tap states which status of the order was on the screen, so that of two people who tap on one
ticket the second gets the error that the order has changed. It also has an idempotency key: a tap
that is repeated because its response was lost does not take effect again, even if it was undone
meanwhile.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from restaurant_system.config import KitchenSettings
from restaurant_system.database import (
    audit,
    held_starts,
    idempotency,
    orders,
    tickets,
    tracking_queries,
)
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.orders import MovedOrder
from restaurant_system.database.preparation_times import LearnedTimes
from restaurant_system.database.tickets import LockedOrder
from restaurant_system.errors import (
    HandedOverAlready,
    ItemNotFound,
    NotOfStation,
    NotReleased,
    OrderNotFound,
    TicketChanged,
    TooLateToUndo,
)
from restaurant_system.logger import get_logger
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.relay import Relay
from restaurant_system.metrics.order_moves import observe_move
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.ticket import OF_ITEM, TARGET_STATUS, Action
from restaurant_system.services.display.ticket_contents import (
    TicketHead,
    TicketItem,
    head_of,
    item_of,
)
from restaurant_system.worker.start_writer import StartWriter

NAME = "kitchen-display"

log = get_logger(NAME)


@dataclass(frozen=True, slots=True)
class TapTicket:
    """A person's request for an action on a ticket.

    `expected` and `as_of` are the order's status and its `updated_at` as they were on the screen,
    `item` is the position of the item that an action on one item is about.
    """

    station: str
    number: str
    action: Action
    expected: OrderStatus
    as_of: datetime | None = None
    item: int | None = None

    @property
    def fingerprint(self) -> bytes:
        """A hash that is equal for two requests if they are for the same tap, else different."""
        text = f"{self.action} {self.number} {self.expected} {self.as_of} {self.station}"
        if self.item is not None:
            text = f"{text} {self.item}"
        return hashlib.sha256(text.encode()).digest()

    @property
    def target(self) -> OrderStatus:
        """The status on the ticket after the tap."""
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
    """The status on the ticket after a tap; `replayed` if the tap had taken effect before."""

    status: OrderStatus
    replayed: bool = False


class BumpedTicket(TicketHead):
    """An order that a station has bumped and that is still ready."""

    items: list[TicketItem]
    bumped_at: str


class Taps:
    """Perform the actions that people tap on tickets, and record who opens stations."""

    def __init__(
        self,
        database: Database,
        relay: Relay,
        *,
        kitchen: KitchenSettings,
        times: LearnedTimes,
        starts: StartWriter,
        clock: Clock,
        business_day: BusinessDay,
    ) -> None:
        self._starts = starts
        self._database = database
        self._relay = relay
        self._kitchen = kitchen
        self._times = times
        self._clock = clock
        self._business_day = business_day

    async def perform(
        self, tap: TapTicket, *, key: str | None, request_id: str, by: Actor | None = None
    ) -> TapResult:
        """Perform the action of a tap, once for each idempotency key, and record who taps.

        A start is held until `UNDO_WINDOW` has passed, or until the order is bumped.

        Raises `TicketChanged` when the order has changed since it was shown, `TooLateToUndo` for a
        start that is held no more, `NotReleased` when the order is scheduled or held,
        `HandedOverAlready` for a recall of an order that was handed over, `NotOfStation`,
        `OrderNotFound`, `ItemNotFound`, and `IdempotencyKeyReused` for a key that was used for
        another tap.
        """
        if tap.target is OrderStatus.COOKING:
            await self._times.latest()
        async with self._database.transaction() as tx:
            order = await tickets.lock_order(tx, tap.station, tap.number)
            if order is None:
                raise OrderNotFound(tap.number)
            if key is not None and not await idempotency.take_for_action(
                tx, f"tap {key}", tap.fingerprint, tap.number
            ):
                return TapResult(tap.target, replayed=True)
            if tap.action is Action.RECALL and order.is_handed_over:
                raise HandedOverAlready(tap.number, tap.target)
            if not tap.matches(order):
                raise tap.ticket_changed(order)
            started = await self._finish_start(tx, tap, order)
            message = await self._perform(tx, tap, order, request_id)
            if by is not None and tap.action not in OF_ITEM:
                await audit.write(tx, [tap.act(by, self._clock(), request_id)])
        self._starts.announce(started)
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
                **head_of(row),
                items=[item_of(item) for item in items[row.order_id]],
                bumped_at=rfc_3339(row.bumped_at),
            )
            for row in rows
        ]

    async def _perform(
        self, tx: Connection, tap: TapTicket, order: LockedOrder, request_id: str
    ) -> MovedOrder | None:
        """Perform the action of a tap; return the outbox message of a status change, if any."""
        match tap.action:
            case Action.RUSH:
                self._check_rush(tap, order)
                await tickets.rush(tx, tap.number, at=self._clock())
            case Action.UNRUSH:
                await tickets.unrush(tx, tap.number)
            case Action.CROSS_OFF | Action.RESTORE:
                await self._cross_off(tx, tap, order)
            case Action.START:
                self._check_released(tap, order)
                if not await self._hold_start(tx, tap, order):
                    return await self._move(tx, tap, order, request_id)
            case Action.UNSTART:
                if not (order.is_assigned and order.is_start_held):
                    raise TooLateToUndo(tap.number, order.status)
                await held_starts.undo(tx, tap.station, tap.number)
            case Action.ACKNOWLEDGE:
                await tickets.unassign_order(tx, tap.station, tap.number)
            case _:
                return await self._move(tx, tap, order, request_id)
        return None

    async def _hold_start(self, tx: Connection, tap: TapTicket, order: LockedOrder) -> bool:
        """Hold a start; return `False` if it is not on the rail of an online station.

        No rail would write it later then. A station that takes over orders gives up those that it
        has no slot for, so that an order that was assigned a moment ago may not be any more.
        """
        if not (order.is_assigned and order.is_online):
            return False
        return await held_starts.hold(tx, tap.station, tap.number, at=self._clock())

    async def _finish_start(
        self, tx: Connection, tap: TapTicket, order: LockedOrder
    ) -> MovedOrder | None:
        """Write the start of an order before it is bumped; return its outbox message, if any."""
        if not (tap.action is Action.BUMP and order.is_assigned and order.is_start_held):
            return None
        return await self._starts.write(tx, tap.number, order.updated_at)

    async def _cross_off(self, tx: Connection, tap: TapTicket, order: LockedOrder) -> None:
        """Mark an item of an order that the station shows as done, or as not done."""
        if tap.item is None or not order.is_assigned:
            raise tap.ticket_changed(order)
        is_done = tap.action is Action.CROSS_OFF
        if not await tickets.cross_off(tx, tap.station, tap.number, tap.item, is_done=is_done):
            raise ItemNotFound(tap.number, tap.item)

    def _check_rush(self, tap: TapTicket, order: LockedOrder) -> None:
        """Refuse to rush an order that neither is on the station's rail nor can come there."""
        if order.is_assigned:
            return
        if order.status is not OrderStatus.RECEIVED:
            raise tap.ticket_changed(order)
        self._check_released(tap, order)
        if not order.is_taken:
            raise NotOfStation(tap.number, order.status, tap.target, tap.station)

    def _check_released(self, tap: TapTicket, order: LockedOrder) -> None:
        """Refuse a scheduled or a held order, unless the station has had it since before."""
        day_start = self._business_day.current_start(self._clock())
        if not (order.is_assigned or order.is_waiting(released_since=day_start)):
            is_scheduled = order.released_at is None
            raise NotReleased(tap.number, order.status, tap.target, is_scheduled=is_scheduled)

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
            estimated_completion=now + self._starts.expected(order.order_type)
            if is_cooking
            else None,
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
