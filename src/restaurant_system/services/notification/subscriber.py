"""Prints every status change, one line each."""

import asyncio
from typing import TextIO

from restaurant_system.errors import StartupError
from restaurant_system.logger import get_logger
from restaurant_system.messaging.broker import Broker, Delivery
from restaurant_system.messaging.listener import Listener
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.message import StatusChanged, Undecodable, decode
from restaurant_system.shutdown import Shutdown

NAME = "notification-subscriber"

log = get_logger(NAME)


class NotificationSubscriber:
    """Listens to the fanout of status updates; with a name, it misses none while it is away."""

    def __init__(
        self, broker: Broker, name: str | None, out: TextIO, signer: Signer = UNSIGNED
    ) -> None:
        self._out = out
        self._listener = Listener(
            broker,
            open_line=lambda: broker.subscribe(name),
            handle=self._handle,
            finish=self._empty_hands,
            signer=signer,
        )
        self._in_hand = asyncio.Lock()

    async def run(self, shutdown: Shutdown) -> None:
        """Print until asked to stop; raises `StartupError` when there is nobody to print for."""
        listening = asyncio.create_task(self._listener.run())
        asked = asyncio.create_task(shutdown.requested.wait())
        try:
            await asyncio.wait({listening, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not listening.done():
                log.info("graceful_shutdown", message="Stopping.")
                self._listener.stop()
            await listening
        finally:
            asked.cancel()
            listening.cancel()

    async def _handle(self, delivery: Delivery) -> None:
        async with self._in_hand:
            await self._print_and_settle(delivery)

    async def _empty_hands(self) -> None:
        """Wait for the one that is printed already: unsettled, it would be printed again."""
        async with self._in_hand:
            pass

    async def _print_and_settle(self, delivery: Delivery) -> None:
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
        await delivery.ack()

    def _print(self, line: str) -> None:
        try:
            print(line, file=self._out, flush=True)
        except OSError as error:
            raise StartupError("Nobody reads the notifications any more; stopped.") from error


def sentence(update: StatusChanged) -> str:
    """Say what happened, in the words of the contract."""
    return (
        f"Notification for order {update.order_number}: Status changed from '{update.old_status}'"
        f" to '{update.new_status}' by {update.changed_by}."
    )
