"""Consume from the broker and hand on what arrives, through any outage, until stopped."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import stamina

from restaurant_system.errors import BrokerUnavailable, MessageRejected
from restaurant_system.logger import get_logger, reason, request_id
from restaurant_system.messaging.broker import Consumer, Delivery, UpdateSource
from restaurant_system.messaging.signature import UNSIGNED, Signer

log = get_logger()

LONGEST_PAUSE = 10.0  # s between two tries to reach a broker that is away
# s that a connection must have lasted for the pauses to start short again: one that breaks sooner,
# each time it is opened, is not opened in a tight loop.
STABLE_AFTER = 10.0


class Listener:
    """Hands deliveries to `handle`, one after the other, over as many lines as it takes.

    `handle` settles each delivery, or sees to it that it will be; `finish` returns once nothing is
    in hand. After `stop` the line stays open until then. After a break, a new line is opened only
    then: on it the same messages come again, and there would be more in hand than the line allows.

    A message whose signature is not genuine is put aside before anybody reads it.
    """

    def __init__(
        self,
        broker: UpdateSource,
        open_line: Callable[[], AbstractAsyncContextManager[Consumer]],
        handle: Callable[[Delivery], Awaitable[None]],
        finish: Callable[[], Awaitable[None]],
        signer: Signer = UNSIGNED,
    ) -> None:
        self._broker = broker
        self._open_line = open_line
        self._handle = handle
        self._finish = finish
        self._signer = signer
        self._consumer: Consumer | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Listen until `stop`, through any outage; return when `finish` has."""
        listening = asyncio.create_task(self._listen_for_ever())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                return listening.result()
            await self._hang_up(listening)
            await self._finish()
        finally:
            for task in (listening, stopping):
                task.cancel()
            await asyncio.gather(listening, stopping, return_exceptions=True)

    @property
    def is_listening(self) -> bool:
        """Whether a line is open."""
        return self._consumer is not None

    def stop(self) -> None:
        """Take no more deliveries; those not yet handed on go back to their queue."""
        self._stopping.set()

    async def _hang_up(self, listening: "asyncio.Task[None]") -> None:
        if self._consumer is None:
            listening.cancel()
        else:
            with contextlib.suppress(BrokerUnavailable):  # then they are back in the queue already
                await self._consumer.stop()

    async def _listen_for_ever(self) -> None:
        while True:
            async for attempt in stamina.retry_context(
                on=BrokerUnavailable, attempts=None, timeout=None, wait_max=LONGEST_PAUSE
            ):
                with attempt:
                    await self._broker.connect()
                    await self._listen_until_broken()

    async def _listen_until_broken(self) -> None:
        """Listen on one connection; return if it lasted, else raise what broke it.

        Either way nothing is in flight any more.
        """
        started = time.monotonic()
        try:
            await self._listen()
        except BrokerUnavailable:
            await self._finish()
            if time.monotonic() - started < STABLE_AFTER:
                raise

    async def _listen(self) -> None:
        async with self._open_line() as consumer:
            self._consumer = consumer
            try:
                async for delivery in consumer:
                    await self._hand_on(delivery)
                await asyncio.Event().wait()  # stopped: keep the line until `run` has finished
            except BrokerUnavailable as error:
                log.warning(
                    error.action, message=f"{reason(error)}; messages in flight are requeued."
                )
                raise
            finally:
                self._consumer = None

    async def _hand_on(self, delivery: Delivery) -> None:
        try:
            self._signer.verify(delivery.message)
        except MessageRejected as error:
            with request_id(delivery.message.correlation_id):
                await delivery.dead_letter(str(error))
        else:
            await self._handle(delivery)
