"""The way from the outbox to the broker.

Whoever commits a message hands it to the relay of its own process, which publishes it from memory
and strikes its row off once the broker has confirmed it. A row that is no longer fresh is left to
the sweeps of all processes, and published under a lock. A crash anywhere in between means that a
message comes twice, never that it is lost.

Messages of one stream leave in order, repeats included. What is fresh follows only what this
process has published and struck off; behind anybody else's row it takes its turn in the database.
(A broker that hangs on one line may still come to what it was sent there when it is long repeated.)
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import stamina

from restaurant_system.config import OutboxSettings
from restaurant_system.database import outbox
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.errors import Unavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging.broker import Publisher
from restaurant_system.messaging.fresh import Fresh
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.message import Message

log = get_logger()

HANDED_OVER_AT_MOST = 10_000  # rows remembered; beyond, a row waits for the sweep
FRESH_FOR = 0.5  # of the time after which others sweep a row, so that they do not meet
GATHERING = 0.05  # s in which confirmed rows gather, so that their deletions share a commit
TURN = 0.05  # s between two looks whether it is a waiting row's turn
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
        broker: Publisher,
        settings: OutboxSettings,
        signer: Signer = UNSIGNED,
    ) -> None:
        self._database = database
        self._broker = broker
        self._settings = settings
        self._signer = signer
        self._fresh = Fresh(FRESH_FOR * settings.sweep_after, at_most=HANDED_OVER_AT_MOST)
        self._waiting: deque[tuple[int, float]] = deque(maxlen=HANDED_OVER_AT_MOST)
        self._turn_due_at = 0.0
        self._confirmed: list[int] = []
        self._strike_off_due_at = 0.0
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._sweep_due_at = 0.0

    def hand_over(self, *owed: OutboxMessage) -> None:
        """Publish these messages at once. Call it right after the commit, in the rows' order.

        Forgetting costs only seconds.
        """
        self._wait_for(self._fresh.take(owed))
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
        """Sleep until something is handed over, or is due by itself."""
        if self._fresh:
            return
        due = [self._sweep_due_at]
        if self._waiting:
            due.append(self._turn_due_at)
        if self._confirmed:
            due.append(self._strike_off_due_at)
        else:
            self._idle.set()
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(due) - time.monotonic()):
                await self._woken.wait()
        await asyncio.sleep(0)  # first those are answered whose messages these are

    async def _publish_what_is_there(self) -> None:
        await self._do_what_is_due()
        while self._fresh:
            await self._publish_fresh()
            await self._do_what_is_due()  # also on an evening when there is always something fresh

    async def _do_what_is_due(self) -> None:
        now = time.monotonic()
        sweep_due = now >= self._sweep_due_at
        # Before a sweep in any case: it must not find what has left already.
        if self._confirmed and (sweep_due or now >= self._strike_off_due_at):
            await self._strike_off_confirmed()
        if self._waiting and now >= self._turn_due_at:
            await self._publish_waiting()
        if sweep_due:
            await self._sweep_batch()

    async def _sweep_batch(self) -> None:
        """Sweep one batch. It stays due while there is more, so that what is fresh has its turn."""
        if not await self._sweep():
            self._sweep_due_at = time.monotonic() + self._settings.sweep_interval

    async def _publish_fresh(self) -> None:
        """Publish a batch from memory; it is struck off a moment later."""
        self._wait_for(self._fresh.stale())
        batch = self._fresh.batch(self._settings.batch)
        if not batch:
            return
        try:
            refused = await self._publish(batch)
        except BaseException:
            self._wait_for([each.id for each in batch])
            self._wait_for(self._fresh.give_up())
            raise
        self._wait_for(self._fresh.withhold(refused))
        if not self._confirmed:
            self._strike_off_due_at = time.monotonic() + GATHERING
        self._confirmed += _without(batch, refused)
        if refused:
            async with self._database.connection() as connection:
                await _postpone(connection, refused)

    async def _strike_off_confirmed(self) -> None:
        """Delete what left from memory; what cannot be deleted now is not published again."""
        async with self._database.connection() as connection:
            await outbox.delete(connection, self._confirmed)
        self._fresh.struck_off(self._confirmed)
        self._confirmed = []

    def _wait_for(self, rows: Sequence[int]) -> None:
        """Publish these under locks, as soon as it is their turn; later they are swept."""
        until = time.monotonic() + self._settings.sweep_after
        self._waiting.extend((row, until) for row in rows)

    async def _publish_waiting(self) -> None:
        """Publish those, of the rows that we wait for, whose turn it is."""
        count = min(len(self._waiting), self._settings.batch)
        waiting = [self._waiting.popleft() for _ in range(count)]
        rows = [row for row, _ in waiting]
        try:
            async with self._database.transaction() as tx:
                claimed = await outbox.claim(tx, rows)
                published = await self._publish_claimed(tx, claimed)
                left = await outbox.select_unpublished(tx, rows) - {each.id for each in claimed}
        except Unavailable:
            self._waiting.extendleft(reversed(waiting))
            raise
        now = time.monotonic()
        self._waiting.extend((row, until) for row, until in waiting if row in left and until > now)
        # Those behind what was published may have their turn now; for anything else we wait.
        self._turn_due_at = now if published else now + TURN

    async def _sweep(self) -> bool:
        """Publish a batch of what was left behind; return whether there may be more."""
        older_than = timedelta(seconds=self._settings.sweep_after)
        async with self._database.transaction() as tx:
            owed = await outbox.claim_overdue(tx, older_than, self._settings.batch)
            published = await self._publish_claimed(tx, owed)
        if published:
            log.info("outbox_swept", message=f"Published {published} messages left behind.")
        # Also when all were refused: they are put off now, and hold up nothing behind them.
        return published > 0 or len(owed) == self._settings.batch

    async def _publish_claimed(self, tx: Connection, owed: Sequence[OutboxMessage]) -> int:
        """Publish and strike off rows that are locked; return how many the broker took."""
        if not owed:
            return 0
        refused = await self._publish(owed)
        await outbox.delete(tx, _without(owed, refused))
        await _postpone(tx, refused)
        return len(owed) - len(refused)

    async def _publish(self, owed: Sequence[OutboxMessage]) -> list[OutboxMessage]:
        """Publish messages; return, once the broker has confirmed the others, the refused ones."""
        signed = [self._signer.sign(each.message) for each in owed]
        reasons = {id(each.message): each.reason for each in await self._broker.publish(signed)}
        refused, wordy = [], log.is_enabled_for(logging.DEBUG)
        for each, message in zip(owed, signed, strict=True):
            reason = reasons.get(id(message))
            if reason is not None:
                _log_refusal(each.message, reason)
                refused.append(each)
            elif wordy:
                _log_confirmation(each.message)
        return refused

    async def _flush(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._idle.wait()


def _without(owed: Sequence[OutboxMessage], refused: Sequence[OutboxMessage]) -> list[int]:
    late = {each.id for each in refused}
    return [each.id for each in owed if each.id not in late]


async def _postpone(connection: Connection, refused: Sequence[OutboxMessage]) -> None:
    if refused:
        await outbox.postpone(connection, [each.id for each in refused], REFUSAL_PAUSE)


def _log_confirmation(message: Message) -> None:
    log.debug(
        "order_published",
        message=f"Published {message.type} to {message.exchange}.",
        request_id=message.correlation_id,
        routing_key=message.routing_key,
    )


def _log_refusal(message: Message, reason: str) -> None:
    log.error(
        "rabbitmq_publish_failed",
        message=f"The broker refused a message, which stays in the outbox: {reason}.",
        request_id=message.correlation_id,
        message_id=str(message.message_id),
    )
