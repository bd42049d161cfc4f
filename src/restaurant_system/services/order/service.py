"""What can be done with an order from outside: place it, cancel it, complete it."""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from restaurant_system.batching import Batcher
from restaurant_system.database import idempotency, orders
from restaurant_system.database.connection import Database
from restaurant_system.database.order_placement import (
    IdempotencyKey,
    PlaceOrder,
    StoredOrder,
    place,
)
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.errors import (
    DatabaseUnavailable,
    IdempotencyKeyReused,
    IllegalMove,
    OrderNotFound,
)
from restaurant_system.logger import get_logger
from restaurant_system.messaging.announcements import Sender, announced_move, order_received
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import Clock
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.order import Move, NewOrder
from restaurant_system.models.status import ORIGINS, OrderStatus, may_move

NAME = "order-service"
TOGETHER = 128  # orders that share a transaction at the most
FORGETTING_INTERVAL = 600.0  # s between two cleanings of expired idempotency keys
KEYS_AT_ONCE = 5_000  # that are forgotten in one transaction

log = get_logger(NAME)


@dataclass(frozen=True, slots=True)
class PlacedOrder:
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
        self._placing = Batcher(self._place_together, max_batch_size=TOGETHER)

    async def place(self, order: NewOrder, *, request_id: str, key: str | None) -> PlacedOrder:
        """Store an order with its items, first log row and message, all or nothing.

        Orders that come at the same time are stored together. With a `key` that was used before,
        return what was answered then, or raise `IdempotencyKeyReused` if it was for another order.
        """
        asked = self._asked(order, request_id, key)
        while True:
            placed = await self._placing.submit(asked)
            if placed is not None:
                # The guest is answered first: to write a line takes as long as to read an order.
                asyncio.get_running_loop().call_soon(_log_received, order, placed)
                return PlacedOrder(placed.number, order.total_amount)
            if asked.key is not None and (answered := await self._replay(asked.key)):
                return answered

    def _asked(self, order: NewOrder, request_id: str, key: str | None) -> PlaceOrder:
        unnumbered = order_received(
            order,
            OrderReceived.unnumbered(order),
            at=self._clock(),
            sender=Sender(NAME, request_id),
        )
        return PlaceOrder(
            order, unnumbered, None if key is None else IdempotencyKey(key, _fingerprint(order))
        )

    async def _place_together(self, asked: Sequence[PlaceOrder]) -> list[StoredOrder | None]:
        """Store orders in one transaction; `None` stands for one whose key is taken.

        Of several with one key, the first is stored. What is owed is handed over here, so that it
        is also for callers that have gone.
        """
        now = self._clock()
        first = {each.key.name: each for each in reversed(asked) if each.key is not None}
        chosen = [each for each in asked if each.key is None or first[each.key.name] is each]
        with _failure_logged(f"Orders could not be stored: {len(chosen)}."):
            async with self._database.connection() as connection:
                stored = await place(
                    connection,
                    chosen,
                    at=now,
                    business_date=now.astimezone(self._timezone).date(),
                    key_lifetime=self._key_lifetime,
                )
        self._relay.hand_over(*(each.owed for each in stored if each is not None))
        outcomes = {id(each): outcome for each, outcome in zip(chosen, stored, strict=True)}
        return [outcomes.get(id(each)) for each in asked]

    async def _replay(self, key: IdempotencyKey) -> PlacedOrder | None:
        """Return what was answered to the key; `None` when it has just been forgotten."""
        async with self._database.connection() as connection:
            remembered = await idempotency.look_up(connection, key.name)
        if remembered is None:
            return None
        if remembered.fingerprint != key.fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another order; send a new one."
            )
        if remembered.order_number is None or remembered.total_amount is None:
            raise IdempotencyKeyReused(
                "The order of this Idempotency-Key is no longer kept; send a new one."
            )
        return PlacedOrder(remembered.order_number, remembered.total_amount, replayed=True)

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
    ) -> OutboxMessage | None:
        move = announced_move(
            number,
            origin=origin,
            target=target,
            at=self._clock(),
            by=stated.changed_by or NAME,
            sender=Sender(NAME, request_id),
            notes=stated.reason,
        )
        async with self._database.connection() as connection:
            (owed,) = await orders.move(connection, [move])
        return owed

    async def _current_status(self, number: str) -> OrderStatus:
        async with self._database.connection() as connection:
            current = await orders.current_status(connection, number)
        if current is None:
            raise OrderNotFound(number)
        return current.status

    async def forget_expired_keys(self) -> None:
        """Clean up what is older than a key's lifetime, now and then, for as long as it runs."""
        while True:
            forgotten = 0
            with contextlib.suppress(DatabaseUnavailable):  # the next round makes up for it
                while some := await self._forget_some_keys():
                    forgotten += some
            if forgotten:
                log.info("keys_forgotten", message=f"Forgot {forgotten} expired idempotency keys.")
            await asyncio.sleep(FORGETTING_INTERVAL)

    async def _forget_some_keys(self) -> int:
        async with self._database.connection() as connection:
            return await idempotency.delete_expired(connection, self._key_lifetime, KEYS_AT_ONCE)


@contextlib.contextmanager
def _failure_logged(message: str) -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailable:
        log.exception("db_transaction_failed", message=message)
        raise


def _log_received(order: NewOrder, placed: StoredOrder) -> None:
    log.info(
        "order_received",
        message=f"Order {placed.number} received.",
        order_number=placed.number,
        order_type=order.order_type,
        priority=order.priority,
    )


def _fingerprint(order: NewOrder) -> bytes:
    """Return what two requests share exactly when they ask for the same order."""
    return hashlib.sha256(order.model_dump_json().encode()).digest()
