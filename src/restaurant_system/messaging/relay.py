"""The way from the outbox to the broker.

Whoever commits a message hands its row's id to the relay of its own process, which publishes it at
once. What a crash or an outage leaves behind is swept up by any process. Either way a row is locked
while it is under way and deleted only after the broker's confirmation: a crash in between means
that the message comes twice, never that it is lost.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from datetime import timedelta

import stamina

from restaurant_system.config import OutboxSettings
from restaurant_system.database import outbox
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.outbox import Owed
from restaurant_system.errors import Unavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging.broker import Broker, Refused
from restaurant_system.messaging.signature import UNSIGNED, Signer

log = get_logger()

HANDED_OVER_AT_MOST = 10_000  # ids kept in memory; beyond, a row waits for the sweep
LONGEST_PAUSE = 10.0  # s between two tries while a part is away
REFUSAL_PAUSE = timedelta(seconds=5)  # before a refused message is tried again
FLUSH_SECONDS = 5.0  # how long a stopping process tries to publish what it has just written


class Relay:
    """Publishes what is in the outbox, batch after batch, in order.

    A message is signed on its way out, not when it is written: a new key holds for what waits too.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        settings: OutboxSettings,
        signer: Signer = UNSIGNED,
    ) -> None:
        self._database = database
        self._broker = broker
        self._settings = settings
        self._signer = signer
        self._fresh: deque[int] = deque(maxlen=HANDED_OVER_AT_MOST)
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._swept_at = 0.0

    def hand_over(self, *ids: int) -> None:
        """Publish these rows at once. Call it after the commit; forgetting costs only seconds."""
        self._fresh.extend(ids)
        self._idle.clear()
        self._woken.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Relay for as long as the block lasts, then flush what was handed over last."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run())
            try:
                yield
                await self._flush()
            finally:
                task.cancel()

    async def _run(self) -> None:
        while True:
            async for attempt in stamina.retry_context(
                on=Unavailable, attempts=None, timeout=None, wait_max=LONGEST_PAUSE
            ):
                with attempt:
                    await self._publish_what_is_there()
            await self._sleep()

    async def _sleep(self) -> None:
        if self._fresh:
            return
        self._idle.set()
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.sweep_interval):
                await self._woken.wait()

    async def _publish_what_is_there(self) -> None:
        await self._sweep_if_due()
        while self._fresh:
            await self._publish_fresh()
            await self._sweep_if_due()  # also on an evening when there is always something fresh

    async def _sweep_if_due(self) -> None:
        if time.monotonic() - self._swept_at >= self._settings.sweep_interval:
            while await self._sweep():
                pass
            self._swept_at = time.monotonic()

    async def _publish_fresh(self) -> None:
        count = min(len(self._fresh), self._settings.batch)
        ids = [self._fresh.popleft() for _ in range(count)]
        try:
            async with self._database.transaction() as tx:
                owed = await outbox.claim(tx, ids)
                published = await self._publish(tx, owed)
        except Unavailable:
            self._fresh.extendleft(reversed(ids))
            raise
        if published:  # those behind them in their streams may have their turn now
            claimed = {each.id for each in owed}
            self._fresh.extendleft(each for each in reversed(ids) if each not in claimed)

    async def _sweep(self) -> bool:
        """Publish a batch of what was left behind; return whether there may be more."""
        older_than = timedelta(seconds=self._settings.sweep_after)
        async with self._database.transaction() as tx:
            owed = await outbox.claim_left_behind(tx, older_than, self._settings.batch)
            published = await self._publish(tx, owed)
        if published:
            log.info("outbox_swept", message=f"Published {published} messages left behind.")
        return published > 0

    async def _publish(self, tx: Connection, owed: list[Owed]) -> int:
        """Publish claimed rows, strike off the confirmed ones, and return how many they were."""
        if not owed:
            return 0
        refused = await self._broker.publish([self._signer.sign(each.message) for each in owed])
        kept = {each.message.message_id for each in refused}
        confirmed = [each for each in owed if each.message.message_id not in kept]
        await outbox.delete(tx, [each.id for each in confirmed])
        if refused:
            late = [each.id for each in owed if each.message.message_id in kept]
            await outbox.postpone(tx, late, REFUSAL_PAUSE)
        for refusal in refused:
            _log_refusal(refusal)
        for each in confirmed:
            log.debug(
                "order_published",
                message=f"Published {each.message.type} to {each.message.exchange}.",
                request_id=each.message.correlation_id,
                routing_key=each.message.routing_key,
            )
        return len(confirmed)

    async def _flush(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._idle.wait()


def _log_refusal(refusal: Refused) -> None:
    log.error(
        "rabbitmq_publish_failed",
        message=f"The broker refused a message, which stays in the outbox: {refusal.reason}.",
        request_id=refusal.message.correlation_id,
        message_id=str(refusal.message.message_id),
    )
