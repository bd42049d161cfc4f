"""Record what a server that answers has refused, and retry it until it succeeds."""

import contextlib
import os
from collections.abc import Awaitable, Callable

import asyncpg

from restaurant_system.database.connection_factory import UnpooledConnection
from restaurant_system.database.error_translation import translate_errors
from restaurant_system.database.message_columns import COLUMNS
from restaurant_system.errors import DatabaseReadOnly, DatabaseRefuses, DatabaseUnavailable
from restaurant_system.logger import get_logger

log = get_logger()

# Rows in the tables that an order needs, with values that no order has: what refuses an order (a
# full disk, a read-only file system, a missing privilege) refuses these rows too.
TEST_WRITE = f"""
WITH placed AS (
    INSERT INTO orders (number, business_date, customer_name, type, total_amount, priority)
    VALUES ('ORD_00010101_000', '0001-01-01', 'Write test', 'takeout', 1, 1)
    RETURNING id
), listed AS (
    INSERT INTO order_items (order_id, name, quantity, price)
    SELECT id, 'Write test', 1, 1 FROM placed
), logged AS (
    INSERT INTO order_status_log (order_id, status, changed_by)
    SELECT id, 'received', 'Write test' FROM placed
)
INSERT INTO outbox (stream, {COLUMNS})
SELECT 'write test', '', '', '', $1::bytea, gen_random_uuid(), '', '', now(), 1 FROM placed
"""
# Larger than any order and random, so that it cannot be compressed: it does not fit into pages that
# are free already, and a disk with room for it has room for orders.
TEST_WRITE_SIZE = 256 * 1024  # bytes


class RefusedOperations:
    """The last refused write and the last refused connection; `None` once one has succeeded.

    While nothing is refused, `retry` neither writes nor connects.
    """

    def __init__(self) -> None:
        self.write: DatabaseRefuses | None = None
        self.connection: DatabaseRefuses | None = None

    def record_write(self, refusal: DatabaseRefuses) -> None:
        """Record that the server refused a statement."""
        if self.write is None:
            log.warning("db_query_failed", message=f"{refusal}; testing writes until one succeeds.")
        self.write = refusal

    def record_connection(self, refusal: DatabaseRefuses) -> None:
        """Record that the server refused a connection."""
        if self.connection is None:
            log.warning("db_connection_failed", message=f"{refusal}.")
        self.connection = refusal

    async def retry(
        self, connection: UnpooledConnection, connect: Callable[[], Awaitable[UnpooledConnection]]
    ) -> None:
        """Retry what was refused; `connection` must not be in a transaction.

        Raises `DatabaseUnavailable` if the server does not answer any more, or is read-only.
        """
        if self.write is not None:
            await self._retry_write(connection)
        if self.connection is not None:
            await self._retry_connection(connect)

    async def _retry_write(self, connection: UnpooledConnection) -> None:
        try:
            await _test_write(connection)
        except DatabaseReadOnly:
            raise
        except DatabaseRefuses as refusal:
            self.write = refusal
        else:
            self.write = None
            log.info("db_connected", message="PostgreSQL takes writes again.")

    async def _retry_connection(self, connect: Callable[[], Awaitable[UnpooledConnection]]) -> None:
        with contextlib.suppress(DatabaseUnavailable):
            await _close(await connect())
            self.connection = None
            log.info("db_connected", message="PostgreSQL accepts new connections again.")


async def _test_write(connection: UnpooledConnection) -> None:
    """Write what an order needs and roll it back; raise `DatabaseUnavailable` if that is refused.

    Other errors of the statement are ignored: before the first migration there are no tables.
    """
    with contextlib.suppress(asyncpg.PostgresError), translate_errors():
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(TEST_WRITE, os.urandom(TEST_WRITE_SIZE))
        finally:
            await transaction.rollback()


async def _close(connection: UnpooledConnection) -> None:
    try:
        await connection.close(timeout=1)
    except Exception:  # noqa: BLE001 - connecting has succeeded, which is what was tested
        connection.terminate()


class PingConnection:
    """A connection for pings and for the retries of refused operations."""

    def __init__(
        self,
        connection: UnpooledConnection,
        *,
        must_write: bool,
        refused: RefusedOperations,
        connect: Callable[[], Awaitable[UnpooledConnection]],
    ) -> None:
        self._connection = connection
        self._must_write = must_write
        self._refused = refused
        self._connect = connect

    async def ping(self) -> None:
        """Return once the server has answered; raise `DatabaseReadOnly` if it must not be."""
        with translate_errors():
            read_only = await self._connection.fetchval("SHOW transaction_read_only")
        if self._must_write and read_only == "on":
            raise DatabaseReadOnly("PostgreSQL is read-only", "a session cannot write any more")

    async def retry_refused(self) -> None:
        """Retry what the server refused."""
        await self._refused.retry(self._connection, self._connect)

    def terminate(self) -> None:
        """Close the connection without waiting for the server."""
        self._connection.terminate()
