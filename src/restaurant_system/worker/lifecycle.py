"""The lifecycle of one worker: register, claim orders, drain, deregister."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias
from uuid import UUID

from restaurant_system import tracing
from restaurant_system.cancellation import cancel
from restaurant_system.database import claims, orders
from restaurant_system.database.claims import Claim, ClaimedOrder
from restaurant_system.database.connection import Connection, Database
from restaurant_system.errors import BrokerUnavailable, DatabaseUnavailable
from restaurant_system.logger import error_text, get_logger, request_id
from restaurant_system.logger import reason as error_reason
from restaurant_system.messaging import retry_policy, topology
from restaurant_system.messaging.broker import Broker, Delivery
from restaurant_system.messaging.resilient_consumer import ResilientConsumer
from restaurant_system.messaging.retry_policy import Cause, RetryPolicy
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.message import OrderReceived, Undecodable, decode
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.order_processor import ClaimRules, OrderProcessor
from restaurant_system.worker.registration import Registration
from restaurant_system.worker.retries import MAX_RETRY_DELAY

POLL_INTERVAL = 1.0  # s between two claims of a worker that no message wakes
MAX_CLAIMED = 256  # orders that are claimed together
MAX_FAILURE_DELAY = 60.0  # s until an order whose processing failed is claimed again, at most
MAX_RETURNS = 100  # of a message, which may end each process that receives it
FIRST_PAUSE = 0.25  # s without claims after the first of several failures in a row

SettlingStep: TypeAlias = Callable[[], Coroutine[None, None, object]]

log = get_logger("kitchen-worker")


@dataclass(frozen=True, slots=True)
class WakingMessage:
    """A message that wakes the worker: the order with this number was placed, or another one."""

    delivery: Delivery
    number: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The last of several failures in a row of an order, and when it may be claimed again."""

    number: str
    reason: str
    count: int
    claimed_again_at: float


class KitchenWorker:
    """Process the orders of a simulated cook or a station, at most `prefetch` at once.

    A message says that an order of its type waits; the database says which order is next. So each
    message that is received lets the worker claim one order, which may be another one. The message
    is acknowledged when that order is finished, or at once when no order waits.

    While it is connected to the broker, a worker also claims orders without a message at intervals:
    another worker may have used up the message of an order, or the broker may have lost it.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        policy: RetryPolicy,
        processor: OrderProcessor,
        rules: ClaimRules,
        *,
        session: UUID,
        signer: Signer = UNSIGNED,
    ) -> None:
        self._database = database
        self._policy = policy
        self._processor = processor
        self._rules = rules
        self._name = rules.worker
        self._order_types = rules.order_types
        self._prefetch = rules.kitchen.prefetch
        self._registration = Registration(
            database,
            name=rules.worker,
            order_types=rules.order_types,
            heartbeat_interval=rules.kitchen.heartbeat_interval,
            session=session,
            capacity=processor.capacity,
            is_station=processor.is_station,
            is_available=lambda: self.is_consuming or processor.is_busy,
        )
        self._tasks = asyncio.TaskGroup()
        self._waking: deque[WakingMessage] = deque()
        self._settling: set[asyncio.Task[None]] = set()
        self._in_flight: dict[int, asyncio.Task[None]] = {}  # by order id
        self._failures: dict[int, Failure] = {}  # by order id
        self._claiming: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._poll_at = 0.0
        self._take_over_at = 0.0
        self._logged_reason = ""
        self._paused_until = 0.0
        self._pauses = 0  # since the last claim that did not fail
        self._is_stopping = False
        queues = topology.kitchen_queues(rules.order_types)
        self._consumer = ResilientConsumer(
            broker,
            policy,
            open_consumer=lambda: broker.consume(queues, prefetch=self._prefetch),
            handle=self._receive,
            drain=self._drain,
            signer=signer,
            message_type=OrderReceived.TYPE,
        )

    @property
    def is_consuming(self) -> bool:
        """Return whether the worker is connected to the broker and receives orders."""
        return self._consumer.is_connected

    async def run(self, shutdown: Shutdown) -> None:
        """Process orders until a stop is requested, then finish those in flight.

        A second stop request gives them back at once. Raises `WorkerNameTaken` when another worker
        of this name is online, or takes the name over later.
        """
        try:
            if await self._is_registered_before_stop(shutdown):
                await self._process_orders(shutdown)
        finally:
            await self._registration.deregister()

    async def _is_registered_before_stop(self, shutdown: Shutdown) -> bool:
        """Register the worker, unless a stop is requested while the database is unavailable."""
        registering = asyncio.create_task(self._registration.register())
        stopping = asyncio.create_task(shutdown.requested.wait())
        try:
            await asyncio.wait({registering, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if registering.done():
                registering.result()
                return True
            return False
        finally:
            await cancel(registering, stopping)

    async def _process_orders(self, shutdown: Shutdown) -> None:
        """Process orders until a stop is requested, then finish those in flight."""
        async with self._tasks:
            consuming = self._tasks.create_task(self._consumer.run())
            claiming = self._claiming = self._tasks.create_task(self._claim_orders())
            background = [
                claiming,
                self._tasks.create_task(self._registration.send_heartbeats()),
                self._tasks.create_task(self._processor.poll_orders()),
                self._tasks.create_task(self._wait_for_stop(shutdown, consuming, claiming)),
            ]
            try:
                await asyncio.wait({consuming})
            finally:
                for task in background:
                    task.cancel()

    async def _wait_for_stop(self, shutdown: Shutdown, *running: "asyncio.Task[None]") -> None:
        """Stop consuming when a stop is requested; at the second request, cancel what is running.

        The broker redelivers the messages that are not settled once the consumer is closed.
        """
        await shutdown.requested.wait()
        log.info(
            "graceful_shutdown",
            message=f"Worker {self._name} stopping: {len(self._in_flight)} orders in flight.",
        )
        self._is_stopping = True
        self._changed.set()
        self._consumer.stop()
        await shutdown.forced.wait()
        log.warning(
            "graceful_shutdown",
            message=f"Worker {self._name} forced to stop: orders in flight are given back.",
        )
        # Before the orders are given back: their next worker need not wait for this one's lease.
        await self._registration.deregister()
        await cancel(*running, *self._in_flight.values(), *self._settling)

    async def _drain(self) -> None:
        """Forget the messages of a broken connection, or finish the worker's orders at a stop.

        The broker redelivers the former; orders in flight go on meanwhile.
        """
        waking = list(self._waking)
        self._waking.clear()
        if not self._is_stopping:
            return
        self._processor.release_orders()
        if self._claiming is not None:
            await asyncio.wait({self._claiming})
        for each in (*waking, *self._waking):
            with contextlib.suppress(BrokerUnavailable):  # the broker has requeued it
                await each.delivery.requeue()
        while running := {*self._in_flight.values(), *self._settling}:
            self._processor.release_orders()
            await asyncio.wait(running)

    async def _receive(self, delivery: Delivery) -> None:
        """Add a message to those that wake the worker, unless it is for no order of its types."""
        if delivery.returns >= MAX_RETURNS:
            reason = f"{delivery.returns} workers returned it, or ended before they settled it"
            dead_letter = partial(self._policy.dead_letter, delivery, reason)
            self._settle(delivery, partial(dead_letter, Cause.ATTEMPTS_EXHAUSTED))
            return
        try:
            order = decode(delivery.message, OrderReceived)
        except Undecodable as error:
            letter = partial(self._policy.dead_letter, delivery, str(error), Cause.INVALID)
            self._settle(delivery, letter)
            return
        if order.order_type not in self._order_types:
            self._settle(delivery, partial(_move_to_own_queue, delivery, order))
            return
        self._waking.append(WakingMessage(delivery, order.order_number))
        self._changed.set()

    def _settle(self, delivery: Delivery, step: SettlingStep) -> None:
        """Settle a message in the background, in its own trace.

        Raises `RuntimeError` after the worker has failed: then its consumer ends, and the broker
        redelivers the message.
        """
        settling = _settle_in_trace(delivery, step)
        try:
            task = self._tasks.create_task(settling)
        except RuntimeError:
            settling.close()
            raise
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _claim_orders(self) -> None:
        """Claim an order for each message, and at intervals as many as can be processed."""
        while not self._is_stopping:
            self._changed.clear()
            free = min(self._prefetch - len(self._in_flight), MAX_CLAIMED)
            now = time.monotonic()
            is_paused = now < self._paused_until
            seconds = max(self._poll_at, self._paused_until) - now
            is_poll = seconds <= 0 and self.is_consuming
            limit = free if is_poll else 0 if is_paused else min(free, len(self._waking))
            if limit > 0:
                await self._claim(limit, is_poll=is_poll)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(seconds, 0.1) if free > 0 else None):
                        await self._changed.wait()

    async def _claim(self, limit: int, *, is_poll: bool) -> None:
        """Claim up to `limit` orders, and start to process them.

        While the database is unavailable, the messages wait, and are requeued at a stop.
        """
        if is_poll:
            self._poll_at = time.monotonic() + POLL_INTERVAL
        received = [self._waking.popleft() for _ in range(min(limit, len(self._waking)))]
        numbers = {each.number for each in received}
        try:
            unknown, claimed = await self._claim_once(numbers, limit)
        except DatabaseUnavailable as error:
            self._take_over_at = 0.0  # orders may have been claimed before the answer was lost
            self._waking.extendleft(reversed(received))
            delay = self._pause()
            log.warning(error.action, message=f"{error_reason(error)}; retrying in {delay:.1f} s.")
            return
        for each in received:
            if each.number in unknown:
                reason = f"there is no order {each.number}"
                dead_letter = partial(self._policy.dead_letter, each.delivery)
                self._settle(each.delivery, partial(dead_letter, reason, Cause.UNKNOWN_ORDER))
        known = [each for each in received if each.number not in unknown]
        self._start_processing(claimed, known)

    async def _claim_once(
        self, numbers: Collection[str], limit: int
    ) -> tuple[set[str], list[ClaimedOrder]]:
        """Return which of the `numbers` no order has, and up to `limit` claimed orders.

        After a stop was requested, no further order is claimed.
        """
        unknown: set[str] = set()
        claimed: list[ClaimedOrder] = []
        async with self._database.connection() as connection:
            if numbers:
                unknown = await orders.unknown_among(connection, list(numbers))
            if not self._is_stopping and time.monotonic() >= self._take_over_at:
                self._take_over_at = time.monotonic() + POLL_INTERVAL
                claimed += await self._take_over(connection, limit)
            if not self._is_stopping and limit > len(claimed):
                claimed += await self._claim_waiting(connection, limit - len(claimed))
        return unknown, claimed

    def _pause(self) -> float:
        """Claim nothing for a time that doubles with each failure in a row; return the seconds."""
        delay = min(FIRST_PAUSE * 2.0 ** min(self._pauses, 10), MAX_RETRY_DELAY)
        self._pauses += 1
        self._paused_until = time.monotonic() + delay
        return delay

    async def _take_over(self, connection: Connection, limit: int) -> Sequence[ClaimedOrder]:
        """Take over abandoned orders; exclude one for a while if it cannot be taken over."""
        claim = self._make_claim(limit)
        try:
            return await self._processor.take_over(connection, claim)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - logged
            if limit > 1:
                return await self._take_over(connection, 1)
            self._exclude(await claims.first_abandoned(connection, claim), error)
        return []

    async def _claim_waiting(self, connection: Connection, limit: int) -> Sequence[ClaimedOrder]:
        """Claim waiting orders; exclude one for a while if it cannot be claimed."""
        claim = self._make_claim(limit)
        try:
            claimed = await self._processor.claim(connection, claim)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - logged
            if limit > 1:
                return await self._claim_waiting(connection, 1)
            self._exclude(await claims.first_waiting(connection, claim), error)
            self._pause()  # the next order may fail as well
            self._poll_at = 0.0
            return []
        self._pauses = 0
        return claimed

    def _exclude(self, failed: Sequence[ClaimedOrder], error: Exception) -> None:
        """Exclude orders from claims for a while; log the stack of an error that is a new one."""
        reason = error_text(error)
        for order in failed:
            self._record_failure(order, reason)
        log.error(
            "message_processing_failed",
            message=f"Claiming an order failed, it is tried again later: {reason}.",
            order_number=", ".join(order.number for order in failed),
            exc_info=error if reason != self._logged_reason else None,
        )
        self._logged_reason = reason

    def _make_claim(self, limit: int) -> Claim:
        now = time.monotonic()
        failed = [order for order, each in self._failures.items() if each.claimed_again_at > now]
        return self._rules.claim(limit, excluded=[*self._in_flight, *failed])

    def _record_failure(self, order: ClaimedOrder, reason: str) -> None:
        """Exclude an order from claims for a time that doubles with each failure in a row."""
        now = time.monotonic()
        self._failures = {  # of orders that others have finished, none is kept for ever
            order_id: each
            for order_id, each in self._failures.items()
            if each.claimed_again_at > now - 10 * MAX_FAILURE_DELAY
        }
        earlier = self._failures.get(order.id)
        count = 1 if earlier is None else earlier.count + 1
        delay = min(2.0 ** min(count - 1, 10), MAX_FAILURE_DELAY)
        self._failures[order.id] = Failure(order.number, reason, count, now + delay)

    def _start_processing(
        self, claimed: Sequence[ClaimedOrder], received: Sequence[WakingMessage]
    ) -> None:
        """Process each order, with its own message if that was received; settle the rest.

        The message of an order that has failed is retried, until it is dead-lettered.
        """
        failed = {each.number: each for each in self._failures.values()}
        usable = [each for each in received if each.number not in failed]
        by_number = {each.number: each for each in usable}
        own = [by_number.get(order.number) for order in claimed]
        spare = deque(each for each in usable if each not in own)
        for order, message in zip(claimed, own, strict=True):
            used = message or (spare.popleft() if spare else None)
            delivery = None if used is None else used.delivery
            task = self._tasks.create_task(self._process(order, delivery))
            self._in_flight[order.id] = task
            task.add_done_callback(
                partial(self._remove, order.id, is_without_message=delivery is None)
            )
        for each in spare:
            delivery = each.delivery
            self._settle(delivery, delivery.requeue if self._is_stopping else delivery.ack)
        for each in received:
            if each.number in failed:
                retry = partial(self._policy.retry, each.delivery, failed[each.number].reason)
                self._settle(each.delivery, retry)

    def _remove(
        self, order_id: int, _task: "asyncio.Task[None]", *, is_without_message: bool
    ) -> None:
        del self._in_flight[order_id]
        if is_without_message:  # no message may be left for the next order either
            self._poll_at = 0.0
        self._changed.set()

    async def _process(self, order: ClaimedOrder, delivery: Delivery | None) -> None:
        with request_id(order.request_id), _traced(order, delivery):
            tracing.set_order_number(order.number)
            try:
                is_done = await self._processor.process(order)
            except Exception as error:
                log.exception(
                    "message_processing_failed",
                    message=f"Order {order.number} failed unexpectedly; it is claimed again later.",
                    order_number=order.number,
                )
                reason = f"order {order.number}: {error_text(error)}"
                self._record_failure(order, reason)
                if delivery is not None:
                    await _settle_unless_broken(self._policy.retry(delivery, reason))
            else:
                self._failures.pop(order.id, None)
                if delivery is not None:
                    await _settle_unless_broken(delivery.ack() if is_done else delivery.requeue())


def _traced(order: ClaimedOrder, delivery: Delivery | None) -> AbstractContextManager[object]:
    """Continue the trace of the order, from its message if that is the one that was received."""
    if delivery is not None and delivery.message.correlation_id == order.request_id:
        return tracing.processing(delivery.message, delivery.queue)
    return tracing.continuing(order.trace)


async def _settle_in_trace(delivery: Delivery, step: SettlingStep) -> None:
    message = delivery.message
    with request_id(message.correlation_id), tracing.processing(message, delivery.queue):
        await _settle_unless_broken(step())


async def _settle_unless_broken(step: Coroutine[None, None, object]) -> None:
    """Settle a message, unless the connection broke: then the broker redelivers it."""
    try:
        await step
    except BrokerUnavailable as error:
        log.warning(error.action, message=f"Message not settled, it will be redelivered: {error}")


async def _move_to_own_queue(delivery: Delivery, order: OrderReceived) -> None:
    """Move an order from the general queue to the queue of its type.

    The general queue holds orders of every type, and no worker may be registered for all of them.
    """
    queue = topology.SPECIALISED[order.order_type].name
    await retry_policy.move(delivery, queue)
    log.info(
        "order_moved",
        message=f"Order {order.order_number} moved from {delivery.queue} to {queue}.",
        order_number=order.order_number,
    )
