"""Place, cancel and complete orders."""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from restaurant_system import tracing
from restaurant_system.batching import Batcher
from restaurant_system.database import audit, idempotency, orders
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.order_placement import (
    IdempotencyKey,
    PlaceOrder,
    StoredOrder,
    place,
)
from restaurant_system.database.orders import MovedOrder, MoveOrder
from restaurant_system.errors import (
    DatabaseUnavailable,
    IdempotencyKeyReused,
    IllegalMove,
    OrderNotFound,
)
from restaurant_system.logger import get_logger, joined_lines
from restaurant_system.messaging import topology
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.relay import Relay
from restaurant_system.metrics import definitions as metrics
from restaurant_system.metrics.order_moves import observe_move
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.clock import Clock
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.order import Move, NewOrder
from restaurant_system.models.privacy import ERASED_FINGERPRINT
from restaurant_system.models.status import ORIGINS, OrderStatus, may_move
from restaurant_system.models.tracking_link import tracking_path

NAME = "order-service"
MOVES_OF_PEOPLE = {
    OrderStatus.CANCELLED: AuditAction.CANCEL_ORDER,
    OrderStatus.COMPLETED: AuditAction.COMPLETE_ORDER,
}
MAX_BATCH_SIZE = 128  # orders in one transaction

log = get_logger(NAME)


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """A stored order; `replayed` if an earlier request with the same key stored it.

    `tracking_url` is the customer's link; a replayed order may have none (any more).
    """

    order_number: str
    total_amount: Decimal
    tracking_url: str | None
    replayed: bool = False


class OrderService:
    """Places, cancels and completes orders; needs only the database, not the broker.

    Every method returns once its transaction is committed. Links for customers begin with
    `public_url`, an origin; if it is empty, they are paths.
    """

    def __init__(
        self,
        database: Database,
        relay: Relay,
        *,
        clock: Clock,
        timezone: ZoneInfo,
        key_lifetime: timedelta,
        public_url: str = "",
    ) -> None:
        self._database = database
        self._relay = relay
        self._clock = clock
        self._timezone = timezone
        self._key_lifetime = key_lifetime
        self._public_url = public_url
        self._batcher = Batcher(self._place_batch, max_batch_size=MAX_BATCH_SIZE)

    async def place(
        self, order: NewOrder, *, request_id: str, key: str | None, by: Actor | None = None
    ) -> PlacedOrder:
        """Store an order with its items, first log row and message, all or nothing.

        Concurrent orders are stored together. If `key` was used before for the same order, return
        the result of that request; raise `IdempotencyKeyReused` if it was used for another order.
        """
        command = PlaceOrder(
            order=order,
            unnumbered_body=OrderReceived.encode_without_number(order),
            routing_key=topology.routing_key(order.order_type, order.priority),
            request_id=request_id,
            key=None if key is None else IdempotencyKey(key, _fingerprint(order)),
            by=by,
            headers=tracing.current_context(),
        )
        while True:
            stored = await self._batcher.submit(command)
            if stored is not None:
                tracing.set_order_number(stored.number)
                link = self._tracking_url(stored.number, command.tracking_token)
                return PlacedOrder(stored.number, order.total_amount, link)
            if command.key is not None and (earlier := await self._earlier_result(command.key)):
                return earlier

    async def _place_batch(self, commands: Sequence[PlaceOrder]) -> list[StoredOrder | None]:
        """Store orders in one transaction; the result is `None` for an order whose key is used.

        Of several orders with one key, the first is stored. Messages are handed to the relay here,
        so that they are published even if the caller was cancelled.
        """
        now = self._clock()
        first = {each.key.name: each for each in reversed(commands) if each.key is not None}
        chosen = [each for each in commands if each.key is None or first[each.key.name] is each]
        metrics.order_batch_size.observe(len(chosen))
        with (
            _failure_logged(f"Orders could not be stored: {len(chosen)}."),
            metrics.order_batch_duration_seconds.time(),
        ):
            async with self._recording(is_recorded=any(each.by for each in chosen)) as connection:
                results = await place(
                    connection,
                    chosen,
                    exchange=topology.ORDERS_TOPIC.name,
                    placed_by=NAME,
                    at=now,
                    business_date=now.astimezone(self._timezone).date(),
                    key_lifetime=self._key_lifetime,
                )
                placed = [
                    (each, stored)
                    for each, stored in zip(chosen, results, strict=True)
                    if stored is not None
                ]
                await _record_placements(connection, placed, now)
        self._relay.enqueue(*(stored.message for _, stored in placed))
        for order_type, count in Counter(each.order.order_type for each, _ in placed).items():
            metrics.orders_placed_total.labels(order_type).inc(count)
        # Before the orders are acknowledged, but after the next batch is sent to the database.
        asyncio.get_running_loop().call_soon(_log_received, placed)
        stored_by = {id(each): stored for each, stored in placed}
        return [stored_by.get(id(each)) for each in commands]

    async def _earlier_result(self, key: IdempotencyKey) -> PlacedOrder | None:
        """Return the result of the request that used `key`; `None` if it has just expired."""
        async with self._database.connection() as connection:
            use = await idempotency.look_up(connection, key.name)
        if use is None:
            return None
        # The hash of an erased order is erased too, so that its key answers every body.
        if use.fingerprint not in (key.fingerprint, ERASED_FINGERPRINT):
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another order; send a new one."
            )
        if use.order_number is None or use.total_amount is None:
            raise IdempotencyKeyReused(
                "The order of this Idempotency-Key is no longer kept; send a new one."
            )
        metrics.orders_replayed_total.inc()
        token = use.tracking_token
        link = None if token is None else self._tracking_url(use.order_number, token)
        return PlacedOrder(use.order_number, use.total_amount, link, replayed=True)

    def _tracking_url(self, number: str, token: bytes) -> str:
        return self._public_url + tracking_path(number, token)

    async def cancel(
        self, number: str, move: Move, *, request_id: str, by: Actor | None = None
    ) -> OrderStatus:
        """Cancel an order that is not ready yet; raise `OrderNotFound` or `IllegalMove`."""
        return await self._move(number, OrderStatus.CANCELLED, move, request_id, by)

    async def complete(
        self, number: str, move: Move, *, request_id: str, by: Actor | None = None
    ) -> OrderStatus:
        """Mark a ready order as completed; raise `OrderNotFound` or `IllegalMove`."""
        return await self._move(number, OrderStatus.COMPLETED, move, request_id, by)

    async def _move(
        self, number: str, target: OrderStatus, move: Move, request_id: str, by: Actor | None
    ) -> OrderStatus:
        for origin in ORIGINS[target]:
            with _failure_logged(f"Order {number} could not be moved."):
                command = self._command(number, origin, target, move, request_id)
                message = await self._try_move(command, request_id, by)
            if message is not None:
                self._relay.enqueue(message)
                observe_move(message.order_type, origin, target, message.seconds_since_placed)
                log.info("order_moved", message=f"Order {number} is {target}.", order_number=number)
                return target
        current = await self._current_status(number)
        if may_move(current, target):  # it has just reached a status from which it may move
            return await self._move(number, target, move, request_id, by)
        raise IllegalMove(number, current, target)

    def _command(
        self, number: str, origin: OrderStatus, target: OrderStatus, move: Move, request_id: str
    ) -> MoveOrder:
        return move_with_update(
            number,
            origin=origin,
            target=target,
            at=self._clock(),
            by=move.changed_by or NAME,
            sender=Sender(NAME, request_id),
            notes=move.reason,
        )

    async def _try_move(
        self, command: MoveOrder, request_id: str, by: Actor | None
    ) -> MovedOrder | None:
        """Make a move, and record it if a person makes it: both or neither."""
        async with self._recording(is_recorded=by is not None) as connection:
            (moved,) = await orders.move(connection, [command])
            if moved is not None and by is not None:
                act = Act(
                    at=command.at,
                    actor=by,
                    action=MOVES_OF_PEOPLE[command.target],
                    target=command.number,
                    request_id=request_id,
                )
                await audit.write(connection, [act])
        return moved

    def _recording(
        self, *, is_recorded: bool
    ) -> contextlib.AbstractAsyncContextManager[Connection]:
        """Acquire a connection, in a transaction if what is done on it is recorded, too."""
        return self._database.transaction() if is_recorded else self._database.connection()

    async def _current_status(self, number: str) -> OrderStatus:
        async with self._database.connection() as connection:
            current = await orders.current_status(connection, number)
        if current is None:
            raise OrderNotFound(number)
        return current.status


async def _record_placements(
    tx: Connection, placed: Sequence[tuple[PlaceOrder, StoredOrder]], at: datetime
) -> None:
    """Record the orders that people have placed."""
    acts = [
        Act(
            at=at,
            actor=command.by,
            action=AuditAction.PLACE_ORDER,
            target=stored.number,
            request_id=command.request_id,
        )
        for command, stored in placed
        if command.by is not None
    ]
    if acts:
        await audit.write(tx, acts)


@contextlib.contextmanager
def _failure_logged(message: str) -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailable:
        log.exception("db_transaction_failed", message=message)
        raise


def _log_received(placed: Sequence[tuple[PlaceOrder, StoredOrder]]) -> None:
    with joined_lines():
        for command, stored in placed:
            log.info(
                "order_received",
                message=f"Order {stored.number} received.",
                request_id=command.request_id,
                order_number=stored.number,
                order_type=command.order.order_type,
                priority=command.order.priority,
                **tracing.log_details(command.headers),
            )


def _fingerprint(order: NewOrder) -> bytes:
    """Return a hash of an order that is equal for equal orders only.

    Fields with their defaults do not count: a key that was used before an upgrade added a field
    still belongs to the same order.
    """
    return hashlib.sha256(order.model_dump_json(exclude_defaults=True).encode()).digest()
