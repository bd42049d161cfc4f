"""Consume from the broker and reconnect after outages, until stopped."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import stamina

from restaurant_system.cancellation import cancel
from restaurant_system.errors import BrokerUnavailable, MessageRejected
from restaurant_system.logger import get_logger, reason, request_id
from restaurant_system.messaging.broker import Consumer, Delivery, UpdateSource
from restaurant_system.messaging.retry_policy import RetryPolicy, count_delivery
from restaurant_system.messaging.signature import UNSIGNED, Signer

log = get_logger()

MAX_RECONNECT_DELAY = 10.0  # s
# s that a connection must last to reset the backoff, so that one that always breaks at once is not
# reopened in a tight loop. It is shorter than a time limit of a request: after an outage of a
# cluster, the first connections may get no answer about a queue that has no leader yet.
STABLE_AFTER = 3.0


class ResilientConsumer:
    """Calls `handle` for one delivery after the other, over as many connections as needed.

    `handle` settles the delivery or arranges that it will be settled; `drain` returns once no
    delivery is in flight. After `stop`, the consumer stays open until then. After a broken
    connection, the next one is opened only then, because its redeliveries would exceed the prefetch
    limit otherwise.

    With signing keys, a message without a valid signature, or of another type than `message_type`,
    is rejected before it is parsed.
    """

    def __init__(
        self,
        broker: UpdateSource,
        policy: RetryPolicy,
        *,
        open_consumer: Callable[[], AbstractAsyncContextManager[Consumer]],
        handle: Callable[[Delivery], Awaitable[None]],
        drain: Callable[[], Awaitable[None]],
        signer: Signer = UNSIGNED,
        message_type: str | None = None,
    ) -> None:
        self._broker = broker
        self._policy = policy
        self._open_consumer = open_consumer
        self._handle = handle
        self._drain = drain
        self._signer = signer
        self._message_type = message_type
        self._consumer: Consumer | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Consume until `stop`, then drain; survive any outage of the broker.

        Raises an error of `handle`, also one that it raises after `stop`, and `TooManyDeadLetters`.
        """
        consuming = asyncio.create_task(self._consume_until_stopped())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({consuming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not consuming.done():
                await self._stop_consuming(consuming)
                await self._drain()
        finally:
            await cancel(consuming, stopping)
            error = None if consuming.cancelled() else consuming.exception()
        if error is not None:
            raise error

    @property
    def is_connected(self) -> bool:
        """Return whether a consumer is open."""
        return self._consumer is not None

    def stop(self) -> None:
        """Accept no more deliveries; those not yet handled return to their queue."""
        self._stopping.set()

    async def _stop_consuming(self, consuming: "asyncio.Task[None]") -> None:
        if self._consumer is None:
            await cancel(consuming)
        else:
            with contextlib.suppress(BrokerUnavailable):  # the broker has requeued the messages
                await self._consumer.stop()

    async def _consume_until_stopped(self) -> None:
        while True:
            async for attempt in stamina.retry_context(
                on=BrokerUnavailable, attempts=None, timeout=None, wait_max=MAX_RECONNECT_DELAY
            ):
                with attempt:
                    await self._broker.connect()
                    await self._consume_until_broken()

    async def _consume_until_broken(self) -> None:
        """Consume on one connection and drain; raise its error if it broke soon.

        No delivery is in flight afterwards.
        """
        started = time.monotonic()
        try:
            await self._consume()
        except BrokerUnavailable:
            await self._drain()
            if time.monotonic() - started < STABLE_AFTER:
                raise

    async def _consume(self) -> None:
        async with self._open_consumer() as consumer:
            self._consumer = consumer
            try:
                async for delivery in consumer:
                    await self._verify_and_handle(delivery)
                await asyncio.Event().wait()  # stopped: stay open until drained
            except BrokerUnavailable as error:
                log.warning(
                    error.action, message=f"{reason(error)}; messages in flight are requeued."
                )
                raise
            finally:
                self._consumer = None

    async def _verify_and_handle(self, delivery: Delivery) -> None:
        count_delivery(delivery)
        try:
            self._signer.verify(delivery.message, self._message_type)
        except MessageRejected as error:
            with request_id(delivery.message.correlation_id):
                await self._policy.reject(delivery, str(error))
        else:
            await self._handle(delivery)
