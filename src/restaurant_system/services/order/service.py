"""Place, cancel and complete orders."""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Protocol

from restaurant_system import tracing
from restaurant_system.batching import Batcher
from restaurant_system.config import KitchenSettings
from restaurant_system.database import audit, idempotency, orders, ready_orders, tickets
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.idempotency import FirstUse
from restaurant_system.database.order_months import OrderMonths
from restaurant_system.database.order_placement import (
    PlaceOrder,
    StoredOrder,
    place,
)
from restaurant_system.database.orders import MovedOrder, MoveOrder
from restaurant_system.database.preparation_times import LearnedTimes
from restaurant_system.error_texts import ErrorText
from restaurant_system.errors import (
    DatabaseUnavailable,
    ErasedOrderRepeated,
    ExternalIdTaken,
    HandedOverAlready,
    IdempotencyKeyReused,
    IllegalMove,
    OrderCancelledBefore,
    OrderNotFound,
    ReadyOrderKept,
)
from restaurant_system.logger import get_logger, joined_lines
from restaurant_system.messaging import topology
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.relay import Relay
from restaurant_system.metrics import definitions as metrics
from restaurant_system.metrics.order_moves import observe_move
from restaurant_system.models.access import Caller, Capability
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.models.external_order import ExternalOrder
from restaurant_system.models.menu_check import CheckedOrder, OrderFault
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.order import (
    DEFAULT_THRESHOLDS,
    READY_TOO_LONG_AGO,
    Move,
    NewOrder,
    PriorityThresholds,
    is_too_long_ago,
)
from restaurant_system.models.privacy import ERASED_FINGERPRINT
from restaurant_system.models.status import ORIGINS, OrderStatus, may_move
from restaurant_system.models.text import is_visible
from restaurant_system.models.tracking_link import tracking_path
from restaurant_system.services.order.portions import (
    MissingPortions,
    Reservation,
    reserve,
    sell,
)
from restaurant_system.web.json_body import INVALID_BODY
from restaurant_system.web.problem import Refusal
from restaurant_system.web.validation_errors import FieldError, loggable_fields

NAME = "order-service"
MOVES_OF_PEOPLE = {
    OrderStatus.CANCELLED: AuditAction.CANCEL_ORDER,
    OrderStatus.COMPLETED: AuditAction.COMPLETE_ORDER,
}
DIFFERS_FROM_MENU = ErrorText("The order does not agree with the menu.", "differs_from_menu")
NEEDS_API_KEY = ErrorText(
    "must not be sent without signing in; use an API key of the platform", "api_key_required"
)
RESERVED_CHANNEL = ErrorText(
    "is reserved for the platform of this name in `integrations`; use another channel, or an API"
    " key that may move orders",
    "channel_reserved",
)
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


class OrderCheck(Protocol):
    """Compares orders with the menu."""

    def check(self, order: NewOrder, caller: Caller | None) -> CheckedOrder:
        """Return what is wrong with an order of a caller, and what of it is counted."""


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
        business_day: BusinessDay,
        key_lifetime: timedelta,
        kitchen: KitchenSettings,
        times: LearnedTimes,
        public_url: str = "",
        menu: OrderCheck | None = None,
        thresholds: PriorityThresholds = DEFAULT_THRESHOLDS,
        platforms: Collection[str] = (),
    ) -> None:
        self._database = database
        self._relay = relay
        self._clock = clock
        self._business_day = business_day
        self._key_lifetime = key_lifetime
        self._promise_times = kitchen.promise_times
        self._priority_times = kitchen.priority_times
        self._times = times
        self._public_url = public_url
        self._menu = menu
        self._thresholds = thresholds
        self._platforms = frozenset(platforms)
        self._months = OrderMonths(database)
        self._batcher = Batcher(self._place_batch, max_batch_size=MAX_BATCH_SIZE)

    async def place(
        self,
        order: NewOrder,
        *,
        request_id: str,
        key: str | None,
        by: Actor | None = None,
        caller: Caller | None = None,
        ignore_payment: bool = False,
    ) -> PlacedOrder:
        """Store an order with its items, first log row and message, all or nothing.

        Concurrent orders are stored together. If `key` or the order's external id was used before
        for the same order, return the result of that request. Raise `IdempotencyKeyReused` or
        `ExternalIdTaken` if it was used for another order, `ErasedOrderRepeated` if the order of
        the external id was erased, and `OrderCancelledBefore` if it was cancelled. Of both, the key
        is looked at first; a refused order does not use its key.

        With `ignore_payment`, orders that differ in `amount_due` only are the same order.

        Raises `Refusal` for an order that does not agree with the menu, or that should have been
        ready more than a day ago, unless it was stored before. The rights of `caller` decide whose
        prices hold; without one, those of the order. An anonymous caller may send no external id,
        which would take it from its platform.
        """
        checked = None if self._menu is None else self._menu.check(order, caller)
        faults: Sequence[OrderFault] = () if checked is None else checked.faults
        detail = DIFFERS_FROM_MENU
        if order.ready_at is not None and is_too_long_ago(order.ready_at, self._clock()):
            faults, detail = (OrderFault("ready_at", READY_TOO_LONG_AGO), *faults), INVALID_BODY
        if order.channel is not None and caller is not None:
            self._check_channel(order.channel, caller, faults, request_id)
        external_id = _external_id(order)
        is_repeatable = key is not None or external_id is not None
        priority = self._thresholds.priority_of(order.items_total)
        body = OrderReceived.encode_without_number(order, priority)
        compared = body
        if ignore_payment and order.amount_due is not None:
            unpaid = order.model_copy(update={"amount_due": None})
            compared = OrderReceived.encode_without_number(unpaid, priority)
        command = PlaceOrder(
            order=order,
            priority=priority,
            unnumbered_body=body,
            routing_key=topology.routing_key(order.order_type, priority),
            request_id=request_id,
            key=key,
            external_digest=None if external_id is None else external_id.digest,
            fingerprint=fingerprint(compared) if is_repeatable else None,
            by=by,
            headers=tracing.current_context(),
            portions=() if checked is None else checked.portions,
        )
        if faults:
            return await self._replay_or_refuse(command, faults, detail)
        while True:
            stored = await self._batcher.submit(command)
            if isinstance(stored, MissingPortions):
                if stored.is_certain:
                    return await self._replay_or_refuse(command, stored.faults)
            elif stored is not None:
                tracing.set_order_number(stored.number)
                link = self._tracking_url(stored.number, command.tracking_token)
                return PlacedOrder(stored.number, order.total_amount, link)
            elif earlier := await self._earlier_result(command):
                return earlier

    def _check_channel(
        self, channel: str, caller: Caller, faults: Sequence[OrderFault], request_id: str
    ) -> None:
        """Raise `Refusal` if the caller could take an external id from its platform."""
        if caller.is_anonymous:
            raise _external_id_refused(faults, request_id)
        if channel in self._platforms and not caller.may(Capability.MOVE_ORDERS):
            errors = [FieldError("channel", RESERVED_CHANNEL)]
            errors += [FieldError(each.field, each.message) for each in faults]
            raise _refusal(INVALID_BODY, errors, request_id)

    async def _replay_or_refuse(
        self,
        command: PlaceOrder,
        faults: Sequence[OrderFault],
        detail: ErrorText = DIFFERS_FROM_MENU,
    ) -> PlacedOrder:
        """Return the result of an order that was stored before; raise `Refusal` for a new one."""
        is_repeatable = command.key is not None or command.external_digest is not None
        if is_repeatable and (earlier := await self._earlier_result(command)):
            return earlier
        errors = [FieldError(each.field, each.message) for each in faults]
        raise _refusal(detail, errors, command.request_id)

    async def _place_batch(
        self, commands: Sequence[PlaceOrder]
    ) -> list[StoredOrder | MissingPortions | None]:
        """Store orders in one transaction; the result is `None` for one whose key or id is used.

        What the menu counts is subtracted in the same transaction, and an order that wants more
        than is left is not stored.
        Of several orders with one key, the first is stored. Messages are handed to the relay here,
        so that they are published even if the caller was cancelled.
        """
        now = self._clock()
        first = {each.key: each for each in reversed(commands) if each.key is not None}
        chosen = [each for each in commands if each.key is None or first[each.key] is each]
        is_recorded = any(each.by for each in chosen)
        may_free_keys = any(each.key and each.external_digest for each in chosen)
        is_counted = self._menu is not None and any(each.portions for each in chosen)
        reservation: Reservation | None = None
        metrics.order_batch_size.observe(len(chosen))
        with (
            _failure_logged(f"Orders could not be stored: {len(chosen)}."),
            metrics.order_batch_duration_seconds.time(),
        ):
            business_date = self._business_day.date_of(now)
            await self._months.ensure(business_date)
            in_transaction = is_recorded or may_free_keys or is_counted
            async with self._connection(in_transaction=in_transaction) as connection:
                if is_counted:
                    reservation = await reserve(connection, chosen, now)
                    chosen = reservation.accepted
                results = await place(
                    connection,
                    chosen,
                    exchange=topology.ORDERS_TOPIC.name,
                    placed_by=NAME,
                    at=now,
                    business_date=business_date,
                    next_day=self._business_day.next_start(now),
                    key_lifetime=self._key_lifetime,
                    promise_times=self._promise_times,
                    priority_times=self._priority_times,
                    lead_times=self._times.known.by_type,
                )
                placed = [
                    (each, stored)
                    for each, stored in zip(chosen, results, strict=True)
                    if stored is not None
                ]
                await _record_placements(connection, placed, now)
                if reservation is not None:
                    await sell(connection, reservation, [each for each, _ in placed])
        self._relay.enqueue(*(stored.message for _, stored in placed if stored.message is not None))
        for order_type, count in Counter(each.order.order_type for each, _ in placed).items():
            metrics.orders_placed_total.labels(order_type).inc(count)
        # Before the orders are acknowledged, but after the next batch is sent to the database.
        asyncio.get_running_loop().call_soon(_log_received, placed)
        results_by: dict[int, StoredOrder | MissingPortions] = {
            id(each): stored for each, stored in placed
        }
        if reservation is not None:
            results_by |= reservation.refusals(is_certain=len(placed) == len(chosen))
        return [results_by.get(id(each)) for each in commands]

    async def _earlier_result(self, command: PlaceOrder) -> PlacedOrder | None:
        """Return the result of the request that used the key or the external id of an order.

        `None` if neither is used any more: the key has just expired, or the order of the same batch
        that had it was refused itself.
        """
        use, has_key = await self._first_use(command)
        if use is None:
            return None
        if use.is_cancelled:
            log.info("order_refused", message="An order was cancelled before it arrived.")
            raise OrderCancelledBefore
        # The hash of an erased order is erased too. Its key then answers every body, because it is
        # kept for hours; its id, which is kept for ever, answers none.
        if not has_key and use.fingerprint == ERASED_FINGERPRINT:
            raise ErasedOrderRepeated(str(use.order_number))
        if use.fingerprint not in (command.fingerprint, ERASED_FINGERPRINT):
            if not has_key:
                raise ExternalIdTaken(str(use.order_number))
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another order; send a new one."
            )
        if use.order_number is None or use.total_amount is None:
            raise IdempotencyKeyReused(
                "The order of this Idempotency-Key is no longer kept; send a new one."
            )
        if not has_key and not await self._bind_key(command, use.order_number):
            return await self._earlier_result(command)
        metrics.orders_replayed_total.inc()
        token = use.tracking_token
        link = None if token is None else self._tracking_url(use.order_number, token)
        return PlacedOrder(use.order_number, use.total_amount, link, replayed=True)

    async def _bind_key(self, command: PlaceOrder, order_number: str) -> bool:
        """Store the key of an order that its external id answers, so that it cancels that order.

        `False` if another request has stored the key meanwhile.
        """
        if command.key is None or command.fingerprint is None:
            return True
        async with self._database.connection() as connection:
            if await idempotency.store(connection, command.key, command.fingerprint, order_number):
                return True
            # A deleted order has nothing to bind the key to.
            return await idempotency.look_up(connection, command.key) is None

    async def _first_use(self, command: PlaceOrder) -> tuple[FirstUse | None, bool]:
        """Return the first use of an order's key, else of its external id; and whether of a key."""
        async with self._database.connection() as connection:
            if command.key is not None:
                use = await idempotency.look_up(connection, command.key)
                if use is not None:
                    return use, True
            if command.external_digest is not None:
                return await idempotency.look_up_external(
                    connection, command.external_digest
                ), False
        return None, False

    def _tracking_url(self, number: str, token: bytes) -> str:
        return self._public_url + tracking_path(number, token)

    async def cancel(
        self,
        number: str,
        move: Move,
        *,
        request_id: str,
        by: Actor | None = None,
        by_person: bool = False,
    ) -> OrderStatus:
        """Cancel an order; raise `OrderNotFound` or `IllegalMove`.

        An order that is ready is cancelled only if a person requests it (`by_person`) and `move`
        has a reason; `HandedOverAlready` if it was handed over.
        """
        target = OrderStatus.CANCELLED
        origins = ORIGINS[target]
        if not by_person or move.reason is None or not is_visible(move.reason):
            origins = tuple(each for each in origins if each is not OrderStatus.READY)
        return await self._move(number, target, origins, move, request_id=request_id, by=by)

    async def cancel_external(
        self,
        order: ExternalOrder,
        move: Move,
        *,
        request_id: str,
        by: Actor | None = None,
        by_person: bool = False,
    ) -> str | None:
        """Cancel an order by its channel's id; return its number.

        `None` if it has not arrived: then it is refused when it arrives. An order that is cancelled
        already stays so. Raises as `cancel`.
        """
        name = f"{order.channel}/{order.external_id}"
        act = None if by is None else self._cancellation(by, name, request_id)
        async with self._connection(in_transaction=act is not None) as connection:
            is_early = await idempotency.cancel_external(connection, order.digest)
            if is_early and act is not None:
                await audit.write(connection, [act])
            digest = order.digest
            use = None if is_early else await idempotency.look_up_external(connection, digest)
        if is_early:
            _log_early_cancellation(order.channel)
        if use is None or use.order_number is None:
            return None
        return await self._cancel_arrived(
            use.order_number, move, request_id=request_id, by=by, by_person=by_person
        )

    async def cancel_by_key(
        self,
        key: str,
        move: Move,
        *,
        request_id: str,
        by: Actor | None = None,
        by_person: bool = False,
    ) -> str | None:
        """Cancel an order by its idempotency key; return its number.

        `None` if it has not arrived: then it is refused if it arrives while the key is kept. Raises
        as `cancel_external`, and `OrderNotFound` if the order has been deleted.
        """
        act = None if by is None else self._cancellation(by, None, request_id)
        while True:
            async with self._connection(in_transaction=act is not None) as connection:
                is_early = await idempotency.cancel_key(connection, key, self._key_lifetime)
                if is_early and act is not None:
                    await audit.write(connection, [act])
                use = None if is_early else await idempotency.look_up(connection, key)
            if is_early:
                _log_early_cancellation()
                return None
            if use is not None:
                break  # else it has just expired, and was deleted
        if use.is_cancelled:
            return None
        if use.order_number is None:
            raise OrderNotFound("of this Idempotency-Key")
        return await self._cancel_arrived(
            use.order_number, move, request_id=request_id, by=by, by_person=by_person
        )

    async def _cancel_arrived(
        self, number: str, move: Move, *, request_id: str, by: Actor | None, by_person: bool
    ) -> str:
        """Cancel an order unless it is cancelled already; return its number."""
        try:
            await self.cancel(number, move, request_id=request_id, by=by, by_person=by_person)
        except IllegalMove as refusal:
            if refusal.current != OrderStatus.CANCELLED:
                raise
        return number

    def _cancellation(self, by: Actor, target: str | None, request_id: str) -> Act:
        return Act(
            at=self._clock(),
            actor=by,
            action=AuditAction.CANCEL_ORDER,
            target=target,
            request_id=request_id,
        )

    async def complete(
        self, number: str, move: Move, *, request_id: str, by: Actor | None = None
    ) -> OrderStatus:
        """Mark a ready order as completed; raise `OrderNotFound` or `IllegalMove`."""
        target = OrderStatus.COMPLETED
        origins = ORIGINS[target]
        return await self._move(number, target, origins, move, request_id=request_id, by=by)

    async def _move(
        self,
        number: str,
        target: OrderStatus,
        origins: Sequence[OrderStatus],
        move: Move,
        *,
        request_id: str,
        by: Actor | None,
    ) -> OrderStatus:
        for origin in origins:
            with _failure_logged(f"Order {number} could not be moved."):
                command = self._command(number, origin, target, move, request_id)
                message = await self._try_move(command, request_id, by)
            if message is not None:
                self._relay.enqueue(message)
                observe_move(message.order_type, origin, target, message.seconds_since_placed)
                log.info("order_moved", message=f"Order {number} is {target}.", order_number=number)
                return target
        current = await self._current_status(number)
        if current in origins:  # it has just reached a status from which it may move
            return await self._move(number, target, origins, move, request_id=request_id, by=by)
        if may_move(current, target):
            raise ReadyOrderKept(number, current, target)
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
        """Make a move, and record it if a person makes it: both or neither.

        A station whose screens do not show an order any more, because it is ready, shows that it is
        cancelled.
        """
        is_withdrawn = (command.origin, command.target) == (
            OrderStatus.READY,
            OrderStatus.CANCELLED,
        )
        async with self._connection(in_transaction=is_withdrawn or by is not None) as connection:
            if is_withdrawn:
                await _check_not_handed_over(connection, command.number)
            (moved,) = await orders.move(connection, [command])
            if moved is not None and is_withdrawn:
                await tickets.show_again(connection, command.number)
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

    def _connection(
        self, *, in_transaction: bool
    ) -> contextlib.AbstractAsyncContextManager[Connection]:
        """Acquire a connection, in a transaction for more than one statement."""
        return self._database.transaction() if in_transaction else self._database.connection()

    async def _current_status(self, number: str) -> OrderStatus:
        async with self._database.connection() as connection:
            current = await orders.current_status(connection, number)
        if current is None:
            raise OrderNotFound(number)
        return current.status


def _external_id(order: NewOrder) -> ExternalOrder | None:
    if order.channel is None or order.external_id is None:
        return None
    return ExternalOrder(channel=order.channel, external_id=order.external_id)


def _external_id_refused(faults: Iterable[OrderFault], request_id: str) -> Refusal:
    """Return the refusal of an external id of an anonymous caller, with the other faults."""
    errors = [FieldError(each, NEEDS_API_KEY) for each in ("channel", "external_id")]
    errors += [FieldError(each.field, each.message) for each in faults]
    return _refusal(INVALID_BODY, errors, request_id)


def _refusal(detail: ErrorText, errors: list[FieldError], request_id: str) -> Refusal:
    log.info(
        "validation_failed",
        message=f"An order was refused: {detail}",
        request_id=request_id,
        fields=loggable_fields(errors),
    )
    return Refusal(HTTPStatus.BAD_REQUEST, detail, errors)


def _log_early_cancellation(channel: str | None = None) -> None:
    log.info(
        "cancellation_stored",
        message="An order was cancelled before it arrived; it will be refused.",
        channel=channel,
    )


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


async def _check_not_handed_over(tx: Connection, number: str) -> None:
    """Lock an order that is to be cancelled; raise `HandedOverAlready`."""
    order = await ready_orders.lock(tx, number)
    if order is not None and order.handed_over_at is not None:
        raise HandedOverAlready(number, OrderStatus.CANCELLED)


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
                priority=command.priority,
                **tracing.log_details(command.headers),
            )


def fingerprint(unnumbered_body: bytes) -> bytes:
    """Return a hash of an order that is equal for equal orders only.

    What is hashed is the body of its message, without fields that are null and without what
    follows from the others, as earlier releases wrote it: a key that was used before an upgrade
    still belongs to the same order. None of these bytes can be in a text, where quotes are escaped.
    """
    fields = unnumbered_body[: unnumbered_body.rindex(b',"total_amount":')]
    for absent in ABSENT:
        fields = fields.replace(absent, b"")
    return hashlib.sha256(b"{%b}" % fields).digest()


ABSENT = (b',"notes":null', b',"table_number":null', b',"delivery_address":null')
