"""A cook's evening: comes on duty, takes orders as they come, goes off duty with clean hands."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID

import stamina

from restaurant_system.config import KitchenSettings
from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    MessageRejected,
    WorkerNameTaken,
)
from restaurant_system.logger import error_text, get_logger, request_id
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Delivery
from restaurant_system.messaging.listener import Listener
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.message import OrderReceived, Undecodable, decode
from restaurant_system.models.order import OrderType
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.order_processor import OrderProcessor, Outcome

# s without a connection to the broker after which a worker that has begun nothing is offline
CUT_OFF_AFTER = 5.0
PRESENCE_INTERVAL = 1.0  # s between two checks whether that has changed

log = get_logger("kitchen-worker")


class KitchenWorker:
    """One cook, or the people at one screen, with at most `prefetch` orders in hand."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        processor: OrderProcessor,
        *,
        name: str,
        order_types: Sequence[OrderType],
        kitchen: KitchenSettings,
        session: UUID,
        signer: Signer = UNSIGNED,
    ) -> None:
        self._database = database
        self._processor = processor
        self._name = name
        self._order_types = order_types
        self._heartbeat_interval = kitchen.heartbeat_interval
        self._interval = timedelta(seconds=kitchen.heartbeat_interval)
        self._session = session
        self._connected_at = 0.0
        self._tasks = asyncio.TaskGroup()
        self._in_hand: set[asyncio.Task[None]] = set()
        queues = topology.kitchen_queues(order_types)
        self._listener = Listener(
            broker,
            open_line=lambda: broker.consume(queues, prefetch=kitchen.prefetch),
            handle=self._take,
            finish=self._empty_hands,
            signer=signer,
        )

    @property
    def is_consuming(self) -> bool:
        """Whether the line is open on which orders come."""
        return self._listener.is_listening

    async def run(self, shutdown: Shutdown) -> None:
        """Cook until asked to stop, then finish what is in hand.

        A second wish to stop gives the orders back at once. Raises `WorkerNameTaken` when somebody
        else works under this name, or takes it over.
        """
        async with self._on_duty(), self._tasks:
            beside = [
                self._tasks.create_task(self._beat()),
                self._tasks.create_task(self._processor.poll_orders()),
                self._tasks.create_task(self._obey(shutdown)),
            ]
            try:
                await self._listener.run()
            finally:
                for task in beside:
                    task.cancel()

    @contextlib.asynccontextmanager
    async def _on_duty(self) -> AsyncIterator[None]:
        await self._register()
        try:
            yield
        finally:
            await self._leave()

    async def _register(self) -> None:
        async with self._database.connection() as connection:
            registered = await workers.register(
                connection, self._name, self._order_types, self._interval, self._session
            )
        if not registered:
            log.error(
                "worker_registration_failed", message=f"A worker named {self._name} is online."
            )
            raise WorkerNameTaken(
                f"A worker named {self._name} is online; stop it, or choose another --worker-name."
                " (The name of one that was killed is free after two missed heartbeats.)"
            )
        log.info(
            "worker_registered",
            message=f"{self._name} is on duty for {', '.join(self._order_types)}.",
            worker_name=self._name,
        )

    async def _leave(self) -> None:
        try:
            async with self._database.connection() as connection:
                await workers.deregister(connection, self._name, self._session)
        except DatabaseUnavailable:
            log.warning(
                "db_connection_failed",
                message=f"{self._name} could not sign off; its lease will run out.",
            )

    async def _beat(self) -> None:
        """Prolong the lease on our name and our orders in time, or give it up while cut off.

        A worker that is cut off from the broker gets no orders, so that it must not count as
        online; one that has begun an order keeps its lease until the order is ready.
        """
        self._connected_at = time.monotonic()
        while True:
            await self._wait_for_beat(is_online=self._is_online())
            if not self._is_online():
                await self._leave()
                continue
            async for attempt in stamina.retry_context(
                on=DatabaseUnavailable,
                attempts=None,
                timeout=None,
                wait_max=self._heartbeat_interval / 4,
            ):
                with attempt:
                    await self._prolong()

    async def _wait_for_beat(self, *, is_online: bool) -> None:
        """Wait until a heartbeat is due: at its interval, or when our presence has changed."""
        due = time.monotonic() + self._heartbeat_interval
        while self._is_online() == is_online and (left := due - time.monotonic()) > 0:  # noqa: ASYNC110 - time alone makes us offline
            await asyncio.sleep(min(left, PRESENCE_INTERVAL))

    def _is_online(self) -> bool:
        if self._listener.is_listening or self._processor.is_busy:
            self._connected_at = time.monotonic()
        return time.monotonic() - self._connected_at <= CUT_OFF_AFTER

    async def _prolong(self) -> None:
        async with self._database.connection() as connection:
            still_ours = await workers.heartbeat(
                connection, self._name, self._session
            ) or await workers.reinsert(
                connection, self._name, self._order_types, self._interval, self._session
            )
        if not still_ours:
            raise WorkerNameTaken(
                f"Another process took over the name {self._name} while this one was silent; start"
                " it again under another --worker-name."
            )
        log.debug("heartbeat_sent", message=f"{self._name} is here.")

    async def _obey(self, shutdown: Shutdown) -> None:
        await shutdown.requested.wait()
        log.info(
            "graceful_shutdown",
            message=f"{self._name} takes no more orders and finishes {len(self._in_hand)}.",
        )
        self._listener.stop()
        await shutdown.forced.wait()
        log.warning("graceful_shutdown", message=f"{self._name} gives its orders back.")
        await self._leave()  # first, so that who gets them next need not wait for our lease
        for task in self._in_hand:
            task.cancel()

    async def _take(self, delivery: Delivery) -> None:
        task = self._tasks.create_task(self._handle(delivery))
        self._in_hand.add(task)
        task.add_done_callback(self._in_hand.discard)

    async def _empty_hands(self) -> None:
        self._processor.release_orders()
        while self._in_hand:
            await asyncio.wait(self._in_hand)

    async def _handle(self, delivery: Delivery) -> None:
        with request_id(delivery.message.correlation_id):
            try:
                await self._cook_and_settle(delivery)
            except BrokerUnavailable as error:
                log.warning(
                    error.action,
                    message=f"A message could not be acknowledged, and will come again: {error}",
                )

    async def _cook_and_settle(self, delivery: Delivery) -> None:
        try:
            order = decode(delivery.message, OrderReceived)
            outcome = await self._process(order, delivery.message.correlation_id)
        except asyncio.CancelledError:  # only here: what is being settled is not settled twice
            with contextlib.suppress(BrokerUnavailable):
                await delivery.requeue()
            raise
        except (Undecodable, MessageRejected) as error:
            await delivery.dead_letter(str(error))
        except Exception as error:
            log.exception("message_processing_failed", message="An order could not be processed.")
            await delivery.retry(error_text(error))
        else:
            await _settle(delivery, order, outcome)

    async def _process(self, order: OrderReceived, request_id: str) -> Outcome:
        if order.order_type not in self._order_types:
            return Outcome.OTHER_TYPE
        return await self._processor.process(order, request_id)


async def _settle(delivery: Delivery, order: OrderReceived, outcome: Outcome) -> None:
    match outcome:
        case Outcome.OTHER_WORKER:
            await delivery.defer()
        case Outcome.RELEASED:
            await delivery.requeue()
        case Outcome.OTHER_TYPE:
            await _move_to_its_queue(delivery, order)
        case _:
            await delivery.ack()


async def _move_to_its_queue(delivery: Delivery, order: OrderReceived) -> None:
    """Move an order of another type out of the general queue, to where its cooks look for it.

    The general queue holds orders of every type, and there may be no worker that cooks them all.
    """
    queue = topology.SPECIALISED[order.order_type].name
    await delivery.move_to(queue)
    log.info(
        "order_moved",
        message=f"Order {order.order_number} moved from {delivery.queue} to {queue}.",
        order_number=order.order_number,
    )
