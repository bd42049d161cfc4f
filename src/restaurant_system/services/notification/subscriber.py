"""Prints every status change, one line each."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TextIO

from restaurant_system.errors import BrokerUnavailable, StartupError
from restaurant_system.escaping import escape_nonprintable
from restaurant_system.logger import get_logger
from restaurant_system.messaging.broker import Consumer, Delivery, UpdateSource
from restaurant_system.messaging.listener import Listener
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.message import StatusChanged, Undecodable, decode
from restaurant_system.shutdown import Shutdown

NAME = "notification-subscriber"

log = get_logger(NAME)


class NotificationSubscriber:
    """Listens to the fanout of status updates; with a name, it misses none while it is away.

    An update is acknowledged once it is printed, while the next ones are. So what was printed just
    before a crash may be printed again, and nothing is lost.
    """

    def __init__(
        self, broker: UpdateSource, name: str | None, out: TextIO, signer: Signer = UNSIGNED
    ) -> None:
        self._broker = broker
        self._name = name
        self._out = out
        self._listener = Listener(
            broker,
            open_line=self._subscribe,
            handle=self._handle,
            finish=self._empty_hands,
            signer=signer,
        )
        self._printing = asyncio.Lock()
        self._tasks = asyncio.TaskGroup()
        self._printed: set[asyncio.Task[None]] = set()  # and not yet settled

    async def run(self, shutdown: Shutdown) -> None:
        """Print until asked to stop; raises `StartupError` when there is nobody to print for."""
        async with self._tasks:
            asked = self._tasks.create_task(self._obey(shutdown))
            try:
                await self._listener.run()
            finally:
                asked.cancel()

    async def _obey(self, shutdown: Shutdown) -> None:
        await shutdown.requested.wait()
        log.info("graceful_shutdown", message="Stopping.")
        self._listener.stop()

    @contextlib.asynccontextmanager
    async def _subscribe(self) -> AsyncIterator[Consumer]:
        """Subscribe, and say so: what happens before is not told, what happens from then on is."""
        async with self._broker.subscribe(self._name) as line:
            log.info("subscribed", message="Every status update from now on is printed.")
            yield line

    async def _handle(self, delivery: Delivery) -> None:
        async with self._printing:
            try:
                update = decode(delivery.message, StatusChanged)
            except Undecodable as error:
                await delivery.dead_letter(str(error))
                return
            self._print(sentence(update))
        log.info(
            "notification_received",
            message=f"Order {update.order_number} is {update.new_status}.",
            request_id=delivery.message.correlation_id,
            order_number=update.order_number,
            new_status=update.new_status,
        )
        self._have_settled(delivery)

    def _have_settled(self, delivery: Delivery) -> None:
        task = self._tasks.create_task(_settle(delivery))
        self._printed.add(task)
        task.add_done_callback(self._printed.discard)

    async def _empty_hands(self) -> None:
        """Wait for what is printed already: unsettled, it would be printed again."""
        async with self._printing:
            pass
        while self._printed:
            await asyncio.wait(self._printed)

    def _print(self, line: str) -> None:
        try:
            print(line, file=self._out, flush=True)
        except OSError as error:
            raise StartupError("Nobody reads the notifications any more; stopped.") from error


async def _settle(delivery: Delivery) -> None:
    try:
        await delivery.ack()
    except BrokerUnavailable as error:
        log.warning(
            error.action,
            message=f"An update could not be acknowledged, and may be printed again: {error}",
        )


def sentence(update: StatusChanged) -> str:
    """Say what happened, in the words of the contract.

    Anyone who can publish may have written `changed_by`, so it is escaped.
    """
    return (
        f"Notification for order {update.order_number}: Status changed from '{update.old_status}'"
        f" to '{update.new_status}' by {escape_nonprintable(update.changed_by)}."
    )
