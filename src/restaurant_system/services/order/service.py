"""What can be done with an order from outside: place it, cancel it, complete it."""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from restaurant_system.database import idempotency, orders
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable, IllegalMove, KeyReused, OrderNotFound
from restaurant_system.logger import get_logger
from restaurant_system.messaging.announcements import Sender, announce_order, move_and_announce
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import Clock
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.order import Move, NewOrder
from restaurant_system.models.status import ORIGINS, OrderStatus, may_move

NAME = "order-service"
FORGETTING_INTERVAL = 600.0  # s between two cleanings of expired idempotency keys

log = get_logger(NAME)


@dataclass(frozen=True, slots=True)
class Placed:
    """An order that is stored; `replayed` when an earlier request with the same key stored it."""

    order_number: str
    total_amount: Decimal
    replayed: bool = False


class OrderService:
    """The use cases. Each answers once its transaction is committed, and needs no broker for it."""

    def __init__(
        self,
        database: Database,
        relay: Relay,
        *,
        clock: Clock,
        timezone: ZoneInfo,
        key_lifetime: timedelta,
    ) -> None:
        self._database = database
        self._relay = relay
        self._clock = clock
        self._timezone = timezone
        self._key_lifetime = key_lifetime

    async def place(self, order: NewOrder, *, request_id: str, key: str | None) -> Placed:
        """Store an order with its items, first log row and message, all or nothing.

        With a `key` that was used before, return what was answered then, or raise `KeyReused` if it
        was for another order.
        """
        with _failure_logged("An order could not be stored."):
            placed = await self._place(order, request_id, key)
            if placed is None and key is not None:
                placed = await self._replay(order, key)
        return placed or await self.place(order, request_id=request_id, key=key)

    async def _place(self, order: NewOrder, request_id: str, key: str | None) -> Placed | None:
        """Store the order; `None` when the key is taken."""
        now = self._clock()
        business_date = now.astimezone(self._timezone).date()
        async with self._database.transaction() as tx:
            if key and not await idempotency.take(tx, key, _fingerprint(order), self._key_lifetime):
                return None
            number = await orders.take_number(tx, business_date)
            await orders.insert(
                tx,
                order,
                number=number,
                business_date=business_date,
                placed_at=now,
                placed_by=NAME,
            )
            received = OrderReceived.of(order, number)
            owed = await announce_order(tx, received, at=now, sender=Sender(NAME, request_id))
            if key:
                await idempotency.answer(tx, key, number, order.total_amount)
        self._relay.hand_over(owed)
        log.info(
            "order_received",
            message=f"Order {number} received.",
            order_number=number,
            order_type=order.order_type,
            priority=order.priority,
        )
        return Placed(number, order.total_amount)

    async def _replay(self, order: NewOrder, key: str) -> Placed | None:
        """Return what was answered to the key; `None` when it has just been forgotten."""
        async with self._database.connection() as connection:
            remembered = await idempotency.recall(connection, key)
        if remembered is None:
            return None
        if remembered.fingerprint != _fingerprint(order):
            raise KeyReused("This Idempotency-Key was used for another order; send a new one.")
        return Placed(remembered.order_number, remembered.total_amount, replayed=True)

    async def cancel(self, number: str, stated: Move, *, request_id: str) -> OrderStatus:
        """Cancel an order that is not ready yet; raises `OrderNotFound` or `IllegalMove`."""
        return await self._move(number, OrderStatus.CANCELLED, stated, request_id)

    async def complete(self, number: str, stated: Move, *, request_id: str) -> OrderStatus:
        """Hand over an order that is ready; raises `OrderNotFound` or `IllegalMove`."""
        return await self._move(number, OrderStatus.COMPLETED, stated, request_id)

    async def _move(
        self, number: str, target: OrderStatus, stated: Move, request_id: str
    ) -> OrderStatus:
        for origin in ORIGINS[target]:
            with _failure_logged(f"Order {number} could not be moved."):
                owed = await self._try_move(number, origin, target, stated, request_id)
            if owed is not None:
                self._relay.hand_over(owed)
                log.info("order_moved", message=f"Order {number} is {target}.", order_number=number)
                return target
        current = await self._current_status(number)
        if may_move(current, target):  # it has come there just now
            return await self._move(number, target, stated, request_id)
        raise IllegalMove(number, current, target)

    async def _try_move(
        self, number: str, origin: OrderStatus, target: OrderStatus, stated: Move, request_id: str
    ) -> int | None:
        async with self._database.transaction() as tx:
            return await move_and_announce(
                tx,
                number,
                origin=origin,
                target=target,
                at=self._clock(),
                by=stated.changed_by or NAME,
                sender=Sender(NAME, request_id),
                notes=stated.reason,
            )

    async def _current_status(self, number: str) -> OrderStatus:
        async with self._database.connection() as connection:
            current = await orders.current_status(connection, number)
        if current is None:
            raise OrderNotFound(number)
        return current.status

    async def forget_expired_keys(self) -> None:
        """Clean up what is older than a key's lifetime, now and then, for as long as it runs."""
        while True:
            try:
                async with self._database.connection() as connection:
                    forgotten = await idempotency.forget(connection, self._key_lifetime)
            except DatabaseUnavailable:
                forgotten = 0  # the next round makes up for it
            if forgotten:
                log.info("keys_forgotten", message=f"Forgot {forgotten} expired idempotency keys.")
            await asyncio.sleep(FORGETTING_INTERVAL)


@contextlib.contextmanager
def _failure_logged(message: str) -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailable:
        log.exception("db_transaction_failed", message=message)
        raise


def _fingerprint(order: NewOrder) -> bytes:
    """Return what two requests share exactly when they ask for the same order."""
    return hashlib.sha256(order.model_dump_json().encode()).digest()
