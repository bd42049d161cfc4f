"""PostgreSQL: one pool for each process, transactions, and what its absence is called."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias

import asyncpg
import stamina

from restaurant_system import tls
from restaurant_system.config import ServerSettings
from restaurant_system.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    DatabaseUntrusted,
    StartupError,
)
from restaurant_system.logger import get_logger

log = get_logger()

# Quoted, for asyncpg's classes are generic to a type checker only.
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Line: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# What asyncpg raises when the server is away, goes away, has no room, or asks to be asked again.
AWAY = (
    OSError,  # TimeoutError among them
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a failover
    asyncpg.PostgresSystemError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


CORRECT = "correct the database section of the configuration"


@contextlib.contextmanager
def away_as_unavailable() -> Iterator[None]:
    """Raise `DatabaseUnavailable` for every way in which the server can be away.

    What the server refuses is passed on without its detail, which quotes the row, customers' names
    and addresses included, and would end up in a log.
    """
    try:
        yield
    except AWAY as error:
        fault = _tls_fault(error)
        if fault is not None:
            raise DatabaseUntrusted(f"The line to PostgreSQL is not safe: {fault}") from error
        if isinstance(
            error, ValueError
        ):  # asyncpg's DataError: the statement's fault, not the line's
            raise
        reason = str(error) or type(error).__name__
        raise DatabaseUnavailable(f"The database does not answer: {reason}") from error
    except asyncpg.PostgresError as error:
        error.detail = None
        raise


def _tls_fault(error: BaseException) -> str | None:
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return "the server does not speak TLS"
    return tls.fault(error)


def _may_come_back(error: Exception) -> bool:
    return isinstance(error, DatabaseUnavailable) and not isinstance(error, DatabaseUntrusted)


class Database:
    """A pool of connections to one PostgreSQL server.

    Every call raises `DatabaseUnavailable` when the server is away; the pool mends itself once it
    is back.
    """

    def __init__(self, dsn: str, settings: ServerSettings, *, application_name: str) -> None:
        self._dsn = dsn
        self._settings = settings
        self._application_name = application_name
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def connect(self) -> None:
        """Open the pool."""
        with away_as_unavailable():
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=min(self._settings.pool_min, self._settings.pool_max),
                max_size=self._settings.pool_max,
                timeout=self._settings.connect_timeout,
                command_timeout=self._settings.command_timeout,
                server_settings={"application_name": self._application_name, "timezone": "UTC"},
            )
        log.info("db_connected", message="Connected to PostgreSQL.")

    async def connect_within(self, seconds: float) -> None:
        """Open the pool as soon as the server answers.

        Raises `StartupError` if it does not in time, or refuses us (no such user, no such
        database), or cannot be trusted; `ConfigurationError` when there is nothing to try.
        """
        try:
            async for attempt in stamina.retry_context(
                on=_may_come_back, attempts=None, timeout=seconds, wait_max=5.0
            ):
                with attempt:
                    await self.connect()
        except DatabaseUntrusted as error:
            raise StartupError(f"{error}. To mend it, {CORRECT}.") from error
        except asyncpg.ClientConfigurationError as error:
            raise ConfigurationError(f"database: {str(error).splitlines()[0]}.") from error
        except DatabaseUnavailable as error:
            raise StartupError(f"{error}. Start PostgreSQL, or {CORRECT}.") from error
        except asyncpg.PostgresError as error:
            raise StartupError(f"PostgreSQL refuses us: {error}. To mend it, {CORRECT}.") from error

    async def close(self) -> None:
        """Close the pool, after at most a few seconds for what is under way."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(3):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection, each statement a transaction of its own."""
        if self._pool is None:
            raise DatabaseUnavailable("The database pool is closed.")
        with away_as_unavailable():
            async with self._pool.acquire(timeout=self._settings.connect_timeout) as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction: committed at the end, rolled back by an error."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def dedicated(self) -> Line:
        """Open a connection outside the pool, for as long as the caller keeps it."""
        with away_as_unavailable():
            return await asyncpg.connect(
                self._dsn,
                timeout=self._settings.connect_timeout,
                command_timeout=self._settings.command_timeout,
                server_settings={"application_name": self._application_name, "timezone": "UTC"},
            )

    async def ping(self) -> float:
        """Return how long the server took to answer, in milliseconds."""
        start = time.perf_counter()
        async with self.connection() as connection:
            await connection.execute("SELECT 1")
        return (time.perf_counter() - start) * 1000
