"""Print a line for every status change."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import TextIO
from uuid import UUID

from restaurant_system import tracing
from restaurant_system.errors import BrokerUnavailable, StartupError
from restaurant_system.logger import get_logger
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Consumer, Delivery, UpdateSource
from restaurant_system.messaging.resilient_consumer import ResilientConsumer
from restaurant_system.messaging.retry_policy import Cause, RetryPolicy
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.message import StatusChanged, Undecodable, decode
from restaurant_system.models.text import escape_nonprintable
from restaurant_system.shutdown import Shutdown

NAME = "notification-subscriber"
# The name of its queue in the names of spans; the queue of an unnamed subscriber has a random one.
QUEUE_TEMPLATE = topology.subscriber_queue("{name}")
MAX_PRINTED_IDS = 20_000  # message ids of printed updates that are remembered; about 3 MB

log = get_logger(NAME)


class NotificationSubscriber:
    """Subscribes to status updates and prints them.

    A subscriber with a name has a durable queue and also receives the updates published while it
    was not running. An update is acknowledged after it was printed: after a crash, the last ones
    may be printed again, and none is lost.

    While it runs, an update is printed once, even if it is delivered again or a third party
    publishes a copy, whose signature is valid: the signature covers the message id. It does not
    remember ids across restarts, because it has no storage but the broker, which forgets a message
    with its acknowledgement. After a restart, the `signer` refuses only copies that are too old.
    """

    def __init__(
        self,
        broker: UpdateSource,
        policy: RetryPolicy,
        name: str | None,
        out: TextIO,
        signer: Signer = UNSIGNED,
    ) -> None:
        self._broker = broker
        self._policy = policy
        self._name = name
        self._out = out
        self._consumer = ResilientConsumer(
            broker,
            policy,
            open_consumer=self._subscribe,
            handle=self._handle,
            drain=self._drain,
            signer=signer,
            message_type=StatusChanged.TYPE,
        )
        self._printing = asyncio.Lock()
        self._printed_ids = OrderedDict[UUID, None]()  # oldest first
        self._tasks = asyncio.TaskGroup()
        self._acknowledging: set[asyncio.Task[None]] = set()  # acknowledgements in flight

    @property
    def is_consuming(self) -> bool:
        """Return whether the subscriber is connected to the broker and receives updates."""
        return self._consumer.is_connected

    async def run(self, shutdown: Shutdown) -> None:
        """Print status updates until a stop; raises `StartupError` if `out` is closed."""
        async with self._tasks:
            stopping = self._tasks.create_task(self._wait_for_stop(shutdown))
            try:
                await self._consumer.run()
            finally:
                stopping.cancel()

    async def _wait_for_stop(self, shutdown: Shutdown) -> None:
        await shutdown.requested.wait()
        log.info("graceful_shutdown", message="Subscriber stopping: no more updates.")
        self._consumer.stop()

    @contextlib.asynccontextmanager
    async def _subscribe(self) -> AsyncIterator[Consumer]:
        """Subscribe to status updates, and log it: every later update is received."""
        async with self._broker.subscribe(self._name) as consumer:
            log.info("subscribed", message="Subscribed to status updates.")
            yield consumer

    async def _handle(self, delivery: Delivery) -> None:
        with tracing.processing(delivery.message, delivery.queue, template=QUEUE_TEMPLATE):
            await self._print_once(delivery)

    async def _print_once(self, delivery: Delivery) -> None:
        async with self._printing:
            try:
                update = decode(delivery.message, StatusChanged)
            except Undecodable as error:
                await self._policy.dead_letter(delivery, str(error), Cause.INVALID)
                return
            tracing.set_order_number(update.order_number)
            if delivery.message.message_id in self._printed_ids:
                log.info(
                    "notification_repeated",
                    message=f"An update of order {update.order_number} was delivered again.",
                    request_id=delivery.message.correlation_id,
                    message_id=str(delivery.message.message_id),
                )
                self._start_acknowledging(delivery)
                return
            self._print(sentence(update))
            self._remember(delivery.message.message_id)
        log.info(
            "notification_received",
            message=f"Order {update.order_number} is {update.new_status}.",
            request_id=delivery.message.correlation_id,
            order_number=update.order_number,
            new_status=update.new_status,
        )
        self._start_acknowledging(delivery)

    def _remember(self, message_id: UUID) -> None:
        self._printed_ids[message_id] = None
        if len(self._printed_ids) > MAX_PRINTED_IDS:
            self._printed_ids.popitem(last=False)

    def _start_acknowledging(self, delivery: Delivery) -> None:
        task = self._tasks.create_task(_acknowledge(delivery))
        self._acknowledging.add(task)
        task.add_done_callback(self._acknowledging.discard)

    async def _drain(self) -> None:
        """Wait for the acknowledgements of printed updates; others would be printed again."""
        async with self._printing:
            pass
        while self._acknowledging:
            await asyncio.wait(self._acknowledging)

    def _print(self, text: str) -> None:
        try:
            print(text, file=self._out, flush=True)
        except OSError as error:
            raise StartupError("Stopped, because the output is closed.") from error


async def _acknowledge(delivery: Delivery) -> None:
    try:
        await delivery.ack()
    except BrokerUnavailable as error:
        log.warning(
            error.action,
            message=f"An update was not acknowledged and may be printed again: {error}",
        )


def sentence(update: StatusChanged) -> str:
    """Return the notification of section 9 of the contract.

    `changed_by` is escaped, because a third party may have published the update.
    """
    return (
        f"Notification for order {update.order_number}: Status changed from '{update.old_status}'"
        f" to '{update.new_status}' by {escape_nonprintable(update.changed_by)}."
    )
