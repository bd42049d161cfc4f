"""What people do with the tickets of a station: each tap has its effect once, or not at all.

A tap says what it expects, so that of two hands on one ticket one is told that it was too late. And
it has a key: one whose answer was lost is sent again, and has not been done twice, even if somebody
has undone it in between.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from restaurant_system.config import KitchenSettings
from restaurant_system.database import idempotency, orders, tickets
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.outbox import Owed
from restaurant_system.errors import KeyReused, OrderNotFound, TooLate
from restaurant_system.logger import get_logger
from restaurant_system.messaging.announcements import Sender, announced_move
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import Clock
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.ticket import TARGETS, Action

NAME = "kitchen-display"

log = get_logger(NAME)


@dataclass(frozen=True, slots=True)
class TicketTapped:
    """Somebody has tapped on a ticket of a station, on which he saw a status."""

    station: str
    number: str
    action: Action
    expected: OrderStatus

    @property
    def fingerprint(self) -> bytes:
        """What two requests share exactly when they are about the same tap."""
        stated = f"{self.action} {self.number} {self.expected} {self.station}"
        return hashlib.sha256(stated.encode()).digest()

    @property
    def outcome(self) -> OrderStatus:
        """Where the order stands afterwards."""
        return TARGETS.get(self.action, self.expected)


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

        Raises `TooLate` when the order does not stand there any more, `OrderNotFound`, and
        `KeyReused` for a key that was used for something else.
        """
        async with self._database.transaction() as tx:
            if await tickets.order_type(tx, tapped.number) is None:
                raise OrderNotFound(tapped.number)
            if key is not None and not await _is_new(tx, key, tapped):
                return Done(tapped.outcome, replayed=True)
            owed = await self._effect(tx, tapped, request_id)
        if owed is not None:
            self._relay.hand_over(owed)
        log.info(
            "ticket_tapped",
            message=f"{tapped.station}: {tapped.action} {tapped.number}.",
            order_number=tapped.number,
            tap=tapped.action,
        )
        return Done(tapped.outcome)

    async def _effect(self, tx: Connection, tapped: TicketTapped, request_id: str) -> Owed | None:
        """Do it; return what is owed to everyone for it."""
        now = self._clock()
        match tapped.action:
            case Action.RUSH:
                await self._rush(tx, tapped, now)
            case Action.ACKNOWLEDGE:
                await self._acknowledge(tx, tapped)
            case _:
                return await self._move(tx, tapped, now, request_id)
        return None

    async def _move(
        self, tx: Connection, tapped: TicketTapped, now: datetime, request_id: str
    ) -> Owed:
        due = None
        if tapped.outcome is OrderStatus.COOKING:
            order_type = await tickets.order_type(tx, tapped.number)
            due = now + self._kitchen.cooking_time(str(order_type))
        move = announced_move(
            tapped.number,
            origin=tapped.expected,
            target=tapped.outcome,
            at=now,
            by=tapped.station,
            sender=Sender(NAME, request_id),
            estimated_completion=due,
            notes="recalled" if tapped.action is Action.RECALL else None,
        )
        (owed,) = await orders.move(tx, [move])
        if owed is None:
            raise await _too_late(tx, tapped)
        if tapped.action is Action.BUMP:
            await tickets.note_bumped(tx, tapped.station, tapped.number, now)
        elif tapped.action is Action.RECALL:
            await tickets.note_recalled(tx, tapped.station, tapped.number)
        return owed

    async def _rush(self, tx: Connection, tapped: TicketTapped, now: datetime) -> None:
        rushed = await tickets.rush(
            tx, tapped.station, tapped.number, status=tapped.expected, at=now
        )
        if not rushed:
            raise await _too_late(tx, tapped)

    async def _acknowledge(self, tx: Connection, tapped: TicketTapped) -> None:
        """Take it off; if another hand has done so before, it is off all the same."""
        current = await orders.current_status(tx, tapped.number)
        if current is None or current.status is not tapped.expected:
            raise await _too_late(tx, tapped)
        await tickets.forget_cancelled(tx, tapped.station, tapped.number)


async def _is_new(tx: Connection, key: str, tapped: TicketTapped) -> bool:
    """Take a key for a tap; return whether it was free. Orders and taps share no keys."""
    name = f"tap/{key}"
    if await idempotency.take(tx, name, tapped.fingerprint, tapped.number):
        return True
    remembered = await idempotency.recall(tx, name)
    if remembered is None or remembered.fingerprint != tapped.fingerprint:
        raise KeyReused("This Idempotency-Key was used for something else; send a new one.")
    return False


async def _too_late(tx: Connection, tapped: TicketTapped) -> TooLate:
    current = await orders.current_status(tx, tapped.number)
    if current is None:
        raise OrderNotFound(tapped.number)
    return TooLate(tapped.number, current.status, tapped.outcome, current.processed_by)
