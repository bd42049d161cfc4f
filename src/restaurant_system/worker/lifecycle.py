"""The lifecycle of one worker: register, consume orders, drain, deregister."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from restaurant_system import tracing
from restaurant_system.config import KitchenSettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import BrokerUnavailable, MessageRejected
from restaurant_system.logger import error_text, get_logger, request_id
from restaurant_system.messaging import retry_policy, topology
from restaurant_system.messaging.broker import Broker, Delivery
from restaurant_system.messaging.resilient_consumer import ResilientConsumer
from restaurant_system.messaging.retry_policy import Cause, RetryPolicy
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.message import OrderReceived, Undecodable, decode
from restaurant_system.models.order import OrderType
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.order_processor import OrderProcessor, Outcome
from restaurant_system.worker.registration import Registration

log = get_logger("kitchen-worker")


class KitchenWorker:
    """Consume the orders of a simulated cook or a station, at most `prefetch` at once."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        policy: RetryPolicy,
        processor: OrderProcessor,
        *,
        name: str,
        order_types: Sequence[OrderType],
        kitchen: KitchenSettings,
        session: UUID,
        signer: Signer = UNSIGNED,
    ) -> None:
        self._policy = policy
        self._processor = processor
        self._name = name
        self._order_types = order_types
        self._registration = Registration(
            database,
            name=name,
            order_types=order_types,
            heartbeat_interval=kitchen.heartbeat_interval,
            session=session,
            is_available=lambda: self.is_consuming or processor.is_busy,
        )
        self._tasks = asyncio.TaskGroup()
        self._in_flight: set[asyncio.Task[None]] = set()
        queues = topology.kitchen_queues(order_types)
        self._consumer = ResilientConsumer(
            broker,
            policy,
            open_consumer=lambda: broker.consume(queues, prefetch=kitchen.prefetch),
            handle=self._start_handling,
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

        A second stop request requeues them at once. Raises `WorkerNameTaken` when another worker
        of this name is online, or takes the name over later.
        """
        async with self._registered(), self._tasks:
            background = [
                self._tasks.create_task(self._registration.send_heartbeats()),
                self._tasks.create_task(self._processor.poll_orders()),
                self._tasks.create_task(self._wait_for_stop(shutdown)),
            ]
            try:
                await self._consumer.run()
            finally:
                for task in background:
                    task.cancel()

    @contextlib.asynccontextmanager
    async def _registered(self) -> AsyncIterator[None]:
        await self._registration.register()
        try:
            yield
        finally:
            await self._registration.deregister()

    async def _wait_for_stop(self, shutdown: Shutdown) -> None:
        await shutdown.requested.wait()
        log.info(
            "graceful_shutdown",
            message=f"Worker {self._name} stopping: {len(self._in_flight)} orders in flight.",
        )
        self._consumer.stop()
        await shutdown.forced.wait()
        log.warning(
            "graceful_shutdown",
            message=f"Worker {self._name} forced to stop: orders in flight are requeued.",
        )
        # Before the orders are requeued: their next worker need not wait for this one's lease.
        await self._registration.deregister()
        for task in self._in_flight:
            task.cancel()

    async def _start_handling(self, delivery: Delivery) -> None:
        task = self._tasks.create_task(self._handle(delivery))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _drain(self) -> None:
        """Wait until no order is in flight."""
        self._processor.release_orders()
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    async def _handle(self, delivery: Delivery) -> None:
        message = delivery.message
        with request_id(message.correlation_id), tracing.processing(message, delivery.queue):
            try:
                await self._process_and_settle(delivery)
            except BrokerUnavailable as error:
                log.warning(
                    error.action, message=f"Message not settled, it will be redelivered: {error}"
                )

    async def _process_and_settle(self, delivery: Delivery) -> None:
        try:
            order = decode(delivery.message, OrderReceived)
            tracing.set_order_number(order.order_number)
            outcome = await self._process(order, delivery.message.correlation_id)
        except asyncio.CancelledError:  # not around `_settle`: no message is settled twice
            with contextlib.suppress(BrokerUnavailable):
                await delivery.requeue()
            raise
        except Undecodable as error:
            await self._policy.dead_letter(delivery, str(error), Cause.INVALID)
        except MessageRejected as error:
            await self._policy.dead_letter(delivery, str(error), Cause.UNKNOWN_ORDER)
        except Exception as error:
            log.exception(
                "message_processing_failed", message="An order failed unexpectedly; it is retried."
            )
            await self._policy.retry(delivery, error_text(error))
        else:
            await self._settle(delivery, order, outcome)

    async def _process(self, order: OrderReceived, request_id: str) -> Outcome:
        if order.order_type not in self._order_types:
            return Outcome.OTHER_TYPE
        return await self._processor.process(order, request_id)

    async def _settle(self, delivery: Delivery, order: OrderReceived, outcome: Outcome) -> None:
        match outcome:
            case Outcome.OTHER_WORKER:
                await self._policy.defer(delivery)
            case Outcome.RELEASED:
                await delivery.requeue()
            case Outcome.OTHER_TYPE:
                await _move_to_own_queue(delivery, order)
            case _:
                await delivery.ack()


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
