"""Remember what a server that answers refuses, and try it again until it succeeds."""

import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from restaurant_system.database.error_translation import translate_errors
from restaurant_system.database.message_columns import COLUMNS
from restaurant_system.errors import DatabaseReadOnly, DatabaseRefuses, DatabaseUnavailable
from restaurant_system.logger import get_logger

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

log = get_logger()

# Rows in the tables that an order needs, with values that no order has: whatever refuses an order
# (a full disk, a file system that is read-only, a missing privilege) refuses them too.
WRITE = f"""
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
# More than any order takes, and nothing that can be compressed: it does not fit into pages that
# happen to be free, so that a disk with room for it has room for orders.
WRITTEN = 256 * 1024  # bytes


class Refusals:
    """The last refused write and the last refused connection, `None` once one has succeeded.

    Nothing is written and nobody connects for this while nothing is refused.
    """

    def __init__(self) -> None:
        self.writes: DatabaseRefuses | None = None
        self.connections: DatabaseRefuses | None = None

    def note_write(self, refusal: DatabaseRefuses) -> None:
        """Remember that a statement was refused."""
        if self.writes is None:
            log.warning("db_query_failed", message=f"{refusal}; testing writes until one succeeds.")
        self.writes = refusal

    def note_connection(self, refusal: DatabaseRefuses, advice: str = "") -> None:
        """Remember that a connection was refused."""
        if self.connections is None:
            log.warning("db_connection_failed", message=f"{refusal}{advice}.")
        self.connections = refusal

    async def retry(
        self, connection: "Connection", connect: Callable[[], Awaitable["Connection"]]
    ) -> None:
        """Try again what is refused; `connection` must be in no transaction.

        Raises `DatabaseUnavailable` when the server does not answer any more, or is read-only.
        """
        if self.writes is not None:
            await self._retry_write(connection)
        if self.connections is not None:
            await self._retry_connection(connect)

    async def _retry_write(self, connection: "Connection") -> None:
        try:
            await write_nothing(connection)
        except DatabaseReadOnly:
            raise
        except DatabaseRefuses as refusal:
            self.writes = refusal
        else:
            self.writes = None
            log.info("db_connected", message="PostgreSQL takes writes again.")

    async def _retry_connection(self, connect: Callable[[], Awaitable["Connection"]]) -> None:
        with contextlib.suppress(DatabaseUnavailable):
            await _close(await connect())
            self.connections = None
            log.info("db_connected", message="PostgreSQL accepts new connections again.")


async def write_nothing(connection: "Connection") -> None:
    """Write what an order needs, and roll it back; raises `DatabaseUnavailable` if that fails.

    A statement that fails for a reason of its own (there are no tables yet) proves no refusal.
    """
    with contextlib.suppress(asyncpg.PostgresError), translate_errors():
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(WRITE, os.urandom(WRITTEN))
        finally:
            await transaction.rollback()


async def _close(connection: "Connection") -> None:
    try:
        await connection.close(timeout=1)
    except Exception:  # noqa: BLE001 - it has served its purpose
        connection.terminate()


class PingConnection:
    """A connection that carries nothing but pings, and what is tried again."""

    def __init__(
        self,
        connection: "Connection",
        *,
        must_write: bool,
        refusals: Refusals,
        connect: Callable[[], Awaitable["Connection"]],
    ) -> None:
        self._connection = connection
        self._must_write = must_write
        self._refusals = refusals
        self._connect = connect

    async def ping(self) -> None:
        """Return once the server has answered; raises `DatabaseReadOnly` if it must not be."""
        with translate_errors():
            read_only = await self._connection.fetchval("SHOW transaction_read_only")
        if self._must_write and read_only == "on":
            raise DatabaseReadOnly("PostgreSQL is read-only", "a session cannot write any more")

    async def retry_refused(self) -> None:
        """Try again what the server refused."""
        await self._refusals.retry(self._connection, self._connect)

    def hang_up(self) -> None:
        """Drop the connection at once, whatever its state."""
        self._connection.terminate()
