"""Claim messages of the queue table for a consumer."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

import asyncpg

from restaurant_system.database import error_translation
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.connection_factory import UnpooledConnection
from restaurant_system.errors import DatabaseUnavailable, DeadLettersLocked, QueueTableUnavailable
from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.messaging.postgres.delivery import PostgresDelivery, UnackedMessages
from restaurant_system.messaging.postgres.queues import CHANNEL, COLUMNS, translate_errors, wake

LOCK_CLASS = 72_781  # distinguishes the advisory locks of consumers from others in the database
BROWSER_LOCK_CLASS = 72_782
POLL_INTERVAL = 0.5  # s until a delayed or orphaned message is found at the latest

NEXT_NUMBER = "SELECT nextval('broker_consumers')::integer"
LOCK = "SELECT pg_advisory_lock($1, $2)"
UNLOCK_ALL = "SELECT pg_advisory_unlock_all()"

# An array is evaluated once; a subquery could be evaluated again for every row of the table.
CLAIM = f"""
UPDATE broker_messages SET consumer = $1
WHERE id = ANY (ARRAY(
    SELECT first.id
    FROM unnest($2::text[]) AS wanted (queue)
    CROSS JOIN LATERAL (
        SELECT id, priority FROM broker_messages
        WHERE queue = wanted.queue AND consumer IS NULL AND available_at <= now()
        ORDER BY priority DESC, id LIMIT $3 FOR UPDATE SKIP LOCKED
    ) AS first
    ORDER BY first.priority DESC, first.id LIMIT $3
))
RETURNING {COLUMNS}
"""

REQUEUE_ALL = """
UPDATE broker_messages SET consumer = NULL, redelivered = true WHERE consumer = $1
RETURNING queue
"""

ONLINE_CONSUMERS = f"""
SELECT objid::bigint::integer FROM pg_locks
WHERE locktype = 'advisory' AND classid = {LOCK_CLASS} AND objsubid = 2
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# The numbers of dead consumers are determined first: a row that another consumer claims meanwhile
# is not requeued. With the condition `consumer > 0`, which is always true, the planner uses the
# index even before the first ANALYZE.
REQUEUE_ORPHANS = f"""
WITH dead AS MATERIALIZED (
    SELECT DISTINCT consumer FROM broker_messages
    WHERE consumer > 0 AND consumer <> ALL (ARRAY({ONLINE_CONSUMERS}))
)
UPDATE broker_messages SET consumer = NULL, redelivered = true
WHERE consumer = ANY (ARRAY(SELECT consumer FROM dead))
RETURNING queue
"""

DROP_QUEUES = """
WITH dropped AS (
    DELETE FROM broker_subscriptions WHERE {which} RETURNING queue
)
DELETE FROM broker_messages USING dropped WHERE broker_messages.queue = dropped.queue
"""
DROP_OWN_QUEUES = DROP_QUEUES.format(which="owner = $1")
DROP_ORPHANED_QUEUES = DROP_QUEUES.format(
    which=f"owner IS NOT NULL AND owner <> ALL (ARRAY({ONLINE_CONSUMERS}))"
)


class PostgresConsumer(Consumer):
    """Claims messages up to `prefetch`; then waits for a notification or the next poll."""

    def __init__(self, database: Database, queues: Sequence[str], prefetch: int) -> None:
        self._database = database
        self._queues = list(queues)
        self._prefetch = prefetch
        self._unacked = UnackedMessages(database, settled=self._settled, break_consumer=self._break)
        self._claimed: deque[PostgresDelivery] = deque()  # not yielded yet
        self._unacked_count = 0
        self._stopped = False
        self._broken = False
        self._woken = asyncio.Event()
        self._next_orphan_check = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with translate_errors():
            connection = await self._database.dedicated()
        try:
            await self._open(connection)
            yield
        finally:
            connection.remove_termination_listener(self._on_terminated)
            await self._close(connection)

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        while True:
            if self._stopped:
                raise StopAsyncIteration
            if self._broken:
                raise QueueTableUnavailable("The connection to PostgreSQL broke")
            self._woken.clear()
            if time.monotonic() >= self._next_orphan_check:
                await self._requeue_orphans()
            if not self._claimed and self._unacked_count < self._prefetch:
                await self._claim()
            if self._stopped:  # during the claim
                await self._requeue_claimed()
            elif self._claimed:
                return self._claimed.popleft()
            else:
                await self._wait()

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._woken.set()
        await self._requeue_claimed()

    @property
    def number(self) -> int:
        """The consumer number, which is stored in the rows of its unacknowledged messages."""
        return self._unacked.number

    def _settled(self) -> None:
        self._unacked_count -= 1
        self._woken.set()

    def _break(self) -> None:
        """End the iteration with an error; unsettled messages are redelivered to a new consumer."""
        self._broken = True
        self._woken.set()

    async def _requeue_claimed(self) -> None:
        claimed = list(self._claimed)
        self._claimed.clear()
        await asyncio.gather(*(each.requeue() for each in claimed))

    async def _open(self, connection: UnpooledConnection) -> None:
        """Draw a consumer number and lock it for the lifetime of the connection."""
        connection.add_termination_listener(self._on_terminated)
        with translate_errors(), error_translation.translate_errors():
            self._unacked.number = await connection.fetchval(NEXT_NUMBER)
            await connection.execute(LOCK, LOCK_CLASS, self.number)
            await connection.add_listener(CHANNEL, self._on_notify)

    async def _close(self, connection: UnpooledConnection) -> None:
        """Requeue unacknowledged messages; if that fails, other consumers do it."""
        try:
            with contextlib.suppress(DatabaseUnavailable):
                async with self._database.transaction() as tx:
                    await tx.execute(DROP_OWN_QUEUES, self.number)
                    rows = await tx.fetch(REQUEUE_ALL, self.number)
                    await wake(tx, {row["queue"] for row in rows})
            # The server may notice a closed connection late, so the lock is released before. The
            # connection may be broken already: any error is ignored.
            with contextlib.suppress(Exception):
                await connection.execute(UNLOCK_ALL, timeout=1)
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)
        finally:
            connection.terminate()  # also when this is cancelled: it would keep its lock otherwise

    async def _claim(self) -> None:
        """Claim as many messages as the prefetch limit allows."""
        with translate_errors():
            async with self._database.transaction() as tx:
                rows = await self._fetch_claimed(tx, self._prefetch - self._unacked_count)
        self._unacked_count += len(rows)
        rows.sort(key=lambda row: (-row["priority"], row["id"]))
        self._claimed.extend(PostgresDelivery(self._unacked, row) for row in rows)

    async def _fetch_claimed(self, tx: Connection, limit: int) -> list[asyncpg.Record]:
        return await tx.fetch(CLAIM, self.number, self._queues, limit)

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_INTERVAL):
                await self._woken.wait()

    async def _requeue_orphans(self) -> None:
        """Requeue the messages of consumers that have disconnected, and drop their queues."""
        self._next_orphan_check = time.monotonic() + POLL_INTERVAL
        with translate_errors():
            async with self._database.transaction() as tx:
                rows = await tx.fetch(REQUEUE_ORPHANS)
                await tx.execute(DROP_ORPHANED_QUEUES)
                await wake(tx, {row["queue"] for row in rows})

    def _on_notify(self, _connection: object, _pid: int, _channel: str, queue: object) -> None:
        if queue in self._queues:
            self._woken.set()

    def _on_terminated(self, _connection: object) -> None:
        self._break()


LOCK_QUEUE = "SELECT pg_advisory_xact_lock(hashtext($1))"
IS_CLAIMED_BY_ANOTHER = """
SELECT EXISTS (
    SELECT FROM broker_messages WHERE queue = $1 AND consumer IS NOT NULL AND consumer <> $2
)
"""


class PostgresSubscription(PostgresConsumer):
    """Claims updates of a queue only while no other consumer has one of them unacknowledged.

    Otherwise newer updates would overtake those that were unacknowledged when a connection broke.
    """

    async def _fetch_claimed(self, tx: Connection, limit: int) -> list[asyncpg.Record]:
        (queue,) = self._queues
        await tx.execute(LOCK_QUEUE, queue)  # so that concurrent claims see each other
        if await tx.fetchval(IS_CLAIMED_BY_ANOTHER, queue, self.number):
            return []
        return await super()._fetch_claimed(tx, limit)


TRY_LOCK_BROWSER = "SELECT pg_try_advisory_lock($1, hashtext($2))"


class PostgresBrowser(PostgresConsumer):
    """Claims all messages of a queue.

    Opening raises `DeadLettersLocked` if there is another browser of the queue.
    """

    async def _open(self, connection: UnpooledConnection) -> None:
        (queue,) = self._queues
        await super()._open(connection)
        with translate_errors(), error_translation.translate_errors():
            if not await connection.fetchval(TRY_LOCK_BROWSER, BROWSER_LOCK_CLASS, queue):
                raise DeadLettersLocked

    async def claim_all(self) -> list[Delivery]:
        """Claim all messages that are in the queue now."""
        await self._requeue_orphans()
        await self._claim()
        return list(self._claimed)
