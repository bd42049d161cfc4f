"""Record which operations PostgreSQL refuses, and retry them until they succeed."""

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import asyncpg

from restaurant_system.database.connection_factory import UnpooledConnection
from restaurant_system.database.error_translation import NOT_COMPLETED, translate_errors
from restaurant_system.database.message_columns import COLUMNS
from restaurant_system.errors import DatabaseReadOnly, DatabaseRefuses, DatabaseUnavailable
from restaurant_system.logger import get_logger

log = get_logger()

# Rows in the tables that an order needs, with values that no order has: what refuses an order (a
# full disk, a read-only file system, a missing privilege) refuses these rows too.
TEST_WRITE = f"""
WITH placed AS (
    INSERT INTO orders (id, number, business_date, customer_name, type, total_amount, priority)
    OVERRIDING SYSTEM VALUE
    SELECT first_order_id(current_date), 'ORD_00010101_000', '0001-01-01', 'Write test', 'takeout',
           1, 1
    RETURNING id
), listed AS (
    INSERT INTO order_items (order_id, name, quantity, price)
    SELECT id, 'Write test', 1, 1 FROM placed
), logged AS (
    INSERT INTO order_status_log (order_id, status, changed_by)
    SELECT id, 'received', 'Write test' FROM placed
)
INSERT INTO outbox (stream, {COLUMNS})
SELECT 'write test', '', '', '', $1::bytea, gen_random_uuid(), '', '', now(), 1, '{{}}' FROM placed
"""
# Larger than most orders and random, so that it cannot be compressed: it does not fit into pages
# that are free already, and a disk with room for it has room for orders.
TEST_WRITE_SIZE = 256 * 1024  # bytes
# Its commit waits for synchronous standbys like any other, and it leaves no row.
EMPTY_COMMIT = "SELECT pg_logical_emit_message(true, 'restaurant-system', '')"
TEST_READ = "SELECT (SELECT id FROM orders LIMIT 1), (SELECT id FROM outbox LIMIT 1)"

# Quoted, because asyncpg's classes are generic to a type checker only.
PooledConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Connection: TypeAlias = "UnpooledConnection | PooledConnection"


class RefusedOperations:
    """Operations that the server refuses at present: statements, new connections, or neither.

    `statement` and `connection` are the last refusals, `None` once an operation has succeeded. A
    statement that was not completed in time proves nothing by itself; `retry` finds out.

    `connect` opens a connection, and `acquire` acquires a pooled one; both raise
    `DatabaseUnavailable`. `timeout` is the time in seconds for each statement of a retry.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[UnpooledConnection]],
        acquire: Callable[[], AbstractAsyncContextManager[PooledConnection]],
        *,
        must_write: bool,
        timeout: float,
    ) -> None:
        self._connect = connect
        self._acquire = acquire
        self._must_write = must_write
        self._timeout = timeout
        self._is_suspect = False
        self.statement: DatabaseRefuses | None = None
        self.connection: DatabaseRefuses | None = None

    def record_statement(self, refusal: DatabaseRefuses) -> None:
        """Record that PostgreSQL refused a statement."""
        if self.statement is None:
            log.warning(
                "db_query_failed", message=f"{refusal}; testing until a statement succeeds."
            )
        self.statement = refusal

    def record_connection(self, refusal: DatabaseRefuses) -> None:
        """Record that PostgreSQL refused a connection."""
        if self.connection is None:
            log.warning("db_connection_failed", message=f"{refusal}.")
        self.connection = refusal

    def suspect_statements(self) -> None:
        """Schedule a test of statements, because one was not completed in time."""
        self._is_suspect = True

    async def retry(self) -> bool:
        """Retry the refused or suspected operations; return whether a statement succeeded.

        Statements are tested on a new connection; while the server refuses those, on a pooled one.
        What is refused during a retry is retried next time, because the retry may have succeeded
        before. Raises `DatabaseUnavailable` if the server does not answer any more, or is
        read-only.
        """
        if self.statement is None and self.connection is None and not self._is_suspect:
            return False
        async with self._open_connection() as connection:
            return connection is not None and await self._retry_statement(connection)

    @contextlib.asynccontextmanager
    async def _open_connection(self) -> "AsyncIterator[Connection | None]":
        """Open a connection; if it is refused, acquire one if there are statements to test."""
        retried = self.connection
        try:
            connection = await self._connect()
        except DatabaseReadOnly:
            raise
        except DatabaseRefuses as refusal:
            self.record_connection(refusal)
            if self.statement is None and not self._is_suspect:
                yield None
                return
            async with self._acquire() as pooled:
                yield pooled
            return
        if retried is not None and self.connection is retried:
            self.connection = None
            log.info("db_connected", message="PostgreSQL accepts new connections again.")
        try:
            yield connection
        finally:
            await _close(connection)

    async def _retry_statement(self, connection: Connection) -> bool:
        if self.statement is None and not self._is_suspect:
            return False
        retried, self._is_suspect = self.statement, False
        try:
            await self._test(connection)
        except DatabaseUnavailable as error:
            self._is_suspect = True
            if isinstance(error, DatabaseReadOnly) or not isinstance(error, DatabaseRefuses):
                raise
            self.record_statement(error)
            return False
        if retried is not None and self.statement is retried:
            self.statement = None
            log.info("db_connected", message="PostgreSQL executes statements again.")
        return True

    async def _test(self, connection: Connection) -> None:
        """Execute what an order or a look-up needs; raises `DatabaseUnavailable`.

        Errors that `translate_errors` passes on are ignored, because they are not refusals.
        """
        try:
            with contextlib.suppress(asyncpg.PostgresError), translate_errors():
                if self._must_write:
                    await self._test_write(connection)
                else:
                    await connection.execute(TEST_READ, timeout=self._timeout)
        except DatabaseUnavailable as error:
            if not isinstance(error.__cause__, NOT_COMPLETED):
                raise
            raise DatabaseRefuses(
                "PostgreSQL does not complete statements",
                f"a test took longer than {self._timeout:g} s or was cancelled; look for locks"
                " (pg_locks), synchronous standbys that are missing (synchronous_standby_names) and"
                " timeouts of the role",
            ) from error

    async def _test_write(self, connection: Connection) -> None:
        """Write the rows of an order and roll them back; then commit a transaction without rows."""
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(TEST_WRITE, os.urandom(TEST_WRITE_SIZE), timeout=self._timeout)
        finally:
            await transaction.rollback()
        await connection.execute(EMPTY_COMMIT, timeout=self._timeout)


async def _close(connection: UnpooledConnection) -> None:
    try:
        await connection.close(timeout=1)
    except Exception:  # noqa: BLE001 - it has served its purpose
        connection.terminate()
