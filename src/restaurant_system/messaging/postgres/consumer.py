"""Messages out of the queue table, and what becomes of each."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

import asyncpg

from restaurant_system.database import error_translation
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.connection_factory import UnpooledConnection
from restaurant_system.errors import DatabaseUnavailable, QueueTableUnavailable
from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.messaging.postgres.delivery import Hand, PostgresDelivery
from restaurant_system.messaging.postgres.line import translate_errors
from restaurant_system.messaging.postgres.queues import CHANNEL, COLUMNS, wake

LOCK_CLASS = 72_781  # sets our consumers' advisory locks apart from others in this database
POLL_SECONDS = 0.5  # how late a delayed message, or one of a dead consumer, may be noticed

OPEN = "SELECT nextval('broker_consumers')::integer"
HOLD = "SELECT pg_advisory_lock($1, $2)"
LET_GO = "SELECT pg_advisory_unlock_all()"

# An array, which is made once: as a subquery it could be asked anew for every row of the table.
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

RETURN_ALL = """
UPDATE broker_messages SET consumer = NULL, redelivered = true WHERE consumer = $1
RETURNING queue
"""

ALIVE = f"""
SELECT objid::bigint::integer FROM pg_locks
WHERE locktype = 'advisory' AND classid = {LOCK_CLASS} AND objsubid = 2
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# The dead are told by number first: a row that a living consumer claims meanwhile is not theirs.
# Every number is above 0; asked so, the index is used even before the first ANALYZE.
RETURN_ORPHANS = f"""
WITH dead AS MATERIALIZED (
    SELECT DISTINCT consumer FROM broker_messages
    WHERE consumer > 0 AND consumer <> ALL (ARRAY({ALIVE}))
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
    which=f"owner IS NOT NULL AND owner <> ALL (ARRAY({ALIVE}))"
)


class PostgresConsumer(Consumer):
    """Claims messages when there is room in hand; sleeps until it is woken or a poll is due."""

    def __init__(self, database: Database, queues: Sequence[str], prefetch: int) -> None:
        self._database = database
        self._queues = list(queues)
        self._prefetch = prefetch
        self._hand = Hand(database, settled=self._settled, break_line=self._break_line)
        self._claimed: deque[PostgresDelivery] = deque()
        self._in_hand = 0
        self._stopped = False
        self._broken = False
        self._woken = asyncio.Event()
        self._next_burial = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with translate_errors():
            line = await self._database.dedicated()
        try:
            await self._open(line)
            yield
        finally:
            line.remove_termination_listener(self._on_line_broken)
            await self._leave(line)

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        while True:
            if self._stopped:
                raise StopAsyncIteration
            if self._broken:
                raise QueueTableUnavailable("The connection to PostgreSQL broke")
            self._woken.clear()
            if time.monotonic() >= self._next_burial:
                await self._bury_the_dead()
            if not self._claimed and self._in_hand < self._prefetch:
                await self._claim()
            if self._stopped:  # while it was claiming
                await self._give_back()
            elif self._claimed:
                return self._claimed.popleft()
            else:
                await self._sleep()

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._woken.set()
        await self._give_back()

    @property
    def number(self) -> int:
        """What marks as ours the messages that we have in hand."""
        return self._hand.number

    def _settled(self) -> None:
        self._in_hand -= 1
        self._woken.set()

    def _break_line(self) -> None:
        """End the iteration with an error: a new line gets back whatever could not be settled."""
        self._broken = True
        self._woken.set()

    async def _give_back(self) -> None:
        claimed = list(self._claimed)
        self._claimed.clear()
        await asyncio.gather(*(each.requeue() for each in claimed))

    async def _open(self, line: UnpooledConnection) -> None:
        """Take a number, and hold it for as long as the line lives."""
        line.add_termination_listener(self._on_line_broken)
        with translate_errors(), error_translation.translate_errors():
            self._hand.number = await line.fetchval(OPEN)
            await line.execute(HOLD, LOCK_CLASS, self.number)
            await line.add_listener(CHANNEL, self._on_notify)

    async def _leave(self, line: UnpooledConnection) -> None:
        """Give back what is in hand at once; if that fails, others do it when the line is gone."""
        with contextlib.suppress(DatabaseUnavailable):
            async with self._database.transaction() as tx:
                await tx.execute(DROP_OWN_QUEUES, self.number)
                rows = await tx.fetch(RETURN_ALL, self.number)
                await wake(tx, {row["queue"] for row in rows})
        # Whatever the state of the line: it is to be gone. The server may notice that late.
        with contextlib.suppress(Exception):
            await line.execute(LET_GO, timeout=1)
        with contextlib.suppress(Exception):
            await line.close(timeout=1)

    async def _claim(self) -> None:
        """Take what there is room for, and put it with what was claimed."""
        with translate_errors():
            async with self._database.transaction() as tx:
                rows = await self._take(tx, self._prefetch - self._in_hand)
        self._in_hand += len(rows)
        rows.sort(key=lambda row: (-row["priority"], row["id"]))
        self._claimed.extend(PostgresDelivery(self._hand, row) for row in rows)

    async def _take(self, tx: Connection, room: int) -> list[asyncpg.Record]:
        return await tx.fetch(CLAIM, self.number, self._queues, room)

    async def _sleep(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()

    async def _bury_the_dead(self) -> None:
        """Give back what consumers that are gone had in hand, and drop their own queues."""
        self._next_burial = time.monotonic() + POLL_SECONDS
        with translate_errors():
            async with self._database.transaction() as tx:
                rows = await tx.fetch(RETURN_ORPHANS)
                await tx.execute(DROP_ORPHANED_QUEUES)
                await wake(tx, {row["queue"] for row in rows})

    def _on_notify(self, _line: object, _pid: int, _channel: str, queue: object) -> None:
        if queue in self._queues:
            self._woken.set()

    def _on_line_broken(self, _line: object) -> None:
        self._break_line()


# The lock puts those who look at one queue in line: what one takes, the next sees taken.
TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtext($1))"
HELD_BY_ANOTHER = """
SELECT EXISTS (
    SELECT FROM broker_messages WHERE queue = $1 AND consumer IS NOT NULL AND consumer <> $2
)
"""


class PostgresSubscription(PostgresConsumer):
    """Takes updates of a queue while nobody else has any of it in hand.

    Else what a line had in hand when it broke would be overtaken on the next one.
    """

    async def _take(self, tx: Connection, room: int) -> list[asyncpg.Record]:
        (queue,) = self._queues
        await tx.execute(TAKE_TURN, queue)
        if await tx.fetchval(HELD_BY_ANOTHER, queue, self.number):
            return []
        return await super()._take(tx, room)
