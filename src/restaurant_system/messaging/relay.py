"""Publish committed outbox messages to the broker.

A process passes the messages it has committed to its own relay, which publishes them from memory
and deletes their rows once the broker has confirmed them. Older rows are claimed under a lock by
the sweeps of all processes. A crash in between publishes a message twice, but never loses one.

Messages of one stream are published in order, repetitions included. A message is published from
memory only if the rows before it were published and deleted by this process; otherwise it is
claimed in the database. (A broker that hangs on one connection may still process what it was sent
there long after it was published again on another.)
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import stamina

from restaurant_system import tracing
from restaurant_system.cancellation import cancel
from restaurant_system.config import OutboxSettings
from restaurant_system.database import outbox
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.errors import Unavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging.broker import Publisher
from restaurant_system.messaging.in_memory_outbox import InMemoryOutbox
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.metrics import definitions as metrics
from restaurant_system.models.message import Message

log = get_logger()

CAPACITY = 10_000  # messages held in memory; further ones are left to the sweep
MAX_AGE = 0.5  # of a message in memory, as a share of the age at which others sweep its row
DELETE_INTERVAL = 0.05  # s, so that deletions share a commit
CLAIM_INTERVAL = 0.05  # s
MAX_RETRY_DELAY = 10.0  # s
REFUSED_RETRY_DELAY = timedelta(seconds=5)
REFUSED = "refused"  # the error of a span
FLUSH_TIMEOUT = 5.0  # s in which a stopping process publishes its last messages


class Relay:
    """Publishes outbox messages in batches, in order.

    A message is signed when it is published, so that a new key also applies to waiting messages.
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
        self._in_memory = InMemoryOutbox(MAX_AGE * settings.sweep_after, capacity=CAPACITY)
        self._waiting: deque[tuple[int, float]] = deque(maxlen=CAPACITY)
        self._claim_due_at = 0.0
        self._confirmed: list[int] = []
        self._delete_due_at = 0.0
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._sweep_due_at = 0.0

    def enqueue(self, *messages: OutboxMessage) -> None:
        """Queue committed outbox messages for publishing; call it after the commit, in row order.

        Without this call they are published later, by a sweep.
        """
        self._claim_later(self._in_memory.add(messages))
        self._idle.clear()
        self._woken.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Publish outbox messages while the block runs; then flush within `FLUSH_TIMEOUT`."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run())
            try:
                yield
                await self._flush()
            finally:
                await cancel(task)

    async def _run(self) -> None:
        while True:
            async for attempt in stamina.retry_context(
                on=Unavailable, attempts=None, timeout=None, wait_max=MAX_RETRY_DELAY
            ):
                with attempt:
                    await self._publish_available()
            await self._sleep()

    async def _sleep(self) -> None:
        """Sleep until a message is enqueued, or a claim, a deletion or a sweep is due."""
        if self._in_memory:
            return
        due = [self._sweep_due_at]
        if self._waiting:
            due.append(self._claim_due_at)
        if self._confirmed:
            due.append(self._delete_due_at)
        else:
            self._idle.set()
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(due) - time.monotonic()):
                await self._woken.wait()
        await asyncio.sleep(0)  # let the responses to the orders in question be sent first

    async def _publish_available(self) -> None:
        await self._do_due_work()
        while self._in_memory:
            await self._publish_from_memory()
            await self._do_due_work()  # also if there are always new messages

    async def _do_due_work(self) -> None:
        now = time.monotonic()
        sweep_due = now >= self._sweep_due_at
        # A sweep must not find messages that are published already.
        if self._confirmed and (sweep_due or now >= self._delete_due_at):
            await self._delete_confirmed()
        if self._waiting and now >= self._claim_due_at:
            await self._publish_claimable()
        if sweep_due:
            await self._sweep_batch()

    async def _sweep_batch(self) -> None:
        """Publish one batch of overdue messages; the next is due while there may be more."""
        if not await self._sweep():
            self._sweep_due_at = time.monotonic() + self._settings.sweep_interval

    async def _publish_from_memory(self) -> None:
        """Publish a batch from memory; its rows are deleted a moment later."""
        self._claim_later(self._in_memory.clear_if_stale())
        batch = self._in_memory.take_batch(self._settings.batch)
        if not batch:
            return
        try:
            refused = await self._publish(batch)
        except BaseException:
            self._claim_later([each.id for each in batch])
            self._claim_later(self._in_memory.clear())
            raise
        self._claim_later(self._in_memory.remove_followers(refused))
        if not self._confirmed:
            self._delete_due_at = time.monotonic() + DELETE_INTERVAL
        self._confirmed += _without(batch, refused)
        if refused:
            async with self._database.connection() as connection:
                await _postpone(connection, refused)

    async def _delete_confirmed(self) -> None:
        """Delete the rows of confirmed messages; if that fails, they are kept for the next time."""
        async with self._database.connection() as connection:
            await outbox.delete(connection, self._confirmed)
        self._in_memory.note_deleted(self._confirmed)
        self._confirmed = []

    def _claim_later(self, rows: Sequence[int]) -> None:
        """Store rows to be claimed once the rows before them are deleted."""
        until = time.monotonic() + self._settings.sweep_after
        self._waiting.extend((row, until) for row in rows)

    async def _publish_claimable(self) -> None:
        """Claim and publish the stored rows that have no row before them."""
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
        # The successors of what was published can be claimed at once; others later.
        self._claim_due_at = now if published else now + CLAIM_INTERVAL

    async def _sweep(self) -> bool:
        """Publish a batch of overdue messages; return whether there may be more."""
        older_than = timedelta(seconds=self._settings.sweep_after)
        async with self._database.transaction() as tx:
            overdue = await outbox.claim_overdue(tx, older_than, self._settings.batch)
            published = await self._publish_claimed(tx, overdue)
        if published:
            log.info("outbox_swept", message=f"Published {published} overdue messages.")
        # Refused messages are postponed, so there may be more behind a full batch of them.
        return published > 0 or len(overdue) == self._settings.batch

    async def _publish_claimed(self, tx: Connection, claimed: Sequence[OutboxMessage]) -> int:
        """Publish locked rows and delete them; return the number of accepted messages."""
        if not claimed:
            return 0
        refused = await self._publish(claimed)
        await outbox.delete(tx, _without(claimed, refused))
        await _postpone(tx, refused)
        return len(claimed) - len(refused)

    async def _publish(self, messages: Sequence[OutboxMessage]) -> list[OutboxMessage]:
        """Publish messages, wait for their confirms, and return the refused ones."""
        tracer = tracing.active_tracer()
        if tracer is None:
            return await self._publish_messages(messages, [each.message for each in messages])
        with tracer.sending([each.message for each in messages]) as sent:
            refused = await self._publish_messages(messages, sent.messages)
            for each in refused:
                sent.fail(messages.index(each), REFUSED)
        return refused

    async def _publish_messages(
        self, rows: Sequence[OutboxMessage], messages: Sequence[Message]
    ) -> list[OutboxMessage]:
        """Sign and publish the messages of rows; return the rows of the refused ones."""
        signed = [self._signer.sign(message) for message in messages]
        metrics.publish_batch_size.observe(len(signed))
        with metrics.publish_duration_seconds.time():
            refusals = await self._broker.publish(signed)
        metrics.outbox_published_total.inc(len(signed) - len(refusals))
        metrics.outbox_refused_total.inc(len(refusals))
        reasons = {id(each.message): each.reason for each in refusals}
        refused, logs_confirms = [], log.is_enabled_for(logging.DEBUG)
        for each, message in zip(rows, signed, strict=True):
            reason = reasons.get(id(message))
            if reason is not None:
                _log_refusal(each.message, reason)
                refused.append(each)
            elif logs_confirms:
                _log_confirmation(each.message)
        return refused

    async def _flush(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await self._idle.wait()


def _without(messages: Sequence[OutboxMessage], refused: Sequence[OutboxMessage]) -> list[int]:
    refused_ids = {each.id for each in refused}
    return [each.id for each in messages if each.id not in refused_ids]


async def _postpone(connection: Connection, refused: Sequence[OutboxMessage]) -> None:
    if refused:
        await outbox.postpone(connection, [each.id for each in refused], REFUSED_RETRY_DELAY)


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
        message=f"The broker refused a message; it stays in the outbox: {reason}.",
        request_id=message.correlation_id,
        message_id=str(message.message_id),
    )
