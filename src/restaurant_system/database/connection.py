"""A PostgreSQL database: its pool of connections, transactions, and whether it is available.

While the server is available there is a pool; while it is not, there is none, and every call fails
at once instead of waiting for a timeout. `health_monitor.py` decides which of the two it is.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import asyncpg
import stamina

from restaurant_system.config import ServerSettings
from restaurant_system.database.connection_factory import (
    KEEPALIVE_SETTINGS,
    ConnectionFactory,
    PingConnection,
    Pool,
    UnpooledConnection,
)
from restaurant_system.database.error_translation import (
    NOT_COMPLETED,
    raise_if_cannot_connect,
    raise_if_unavailable,
    translate_connect_errors,
    translate_errors,
)
from restaurant_system.database.health_monitor import HealthMonitor
from restaurant_system.database.pooler import (
    ANOTHER_DATABASE,
    MISSING_SETTINGS,
    check_pooler,
    identity,
    is_behind_pooler,
    settings_cure,
)
from restaurant_system.database.refused_operations import RefusedOperations
from restaurant_system.database.server_requirements import check_encoding
from restaurant_system.errors import (
    ConfigurationError,
    DatabaseReadOnly,
    DatabaseRefuses,
    DatabaseTlsFailed,
    DatabaseUnavailable,
    PoolerUnsuitable,
    StartupError,
)
from restaurant_system.logger import get_logger

log = get_logger()

T = TypeVar("T")

# Quoted, because asyncpg's classes are generic to a type checker only.
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

ADVICE = "Check that PostgreSQL runs and that the database section of the configuration is right"
PRIMARY = "PostgreSQL"  # as log lines call it
MAX_REOPEN_DELAY = 1.0  # s between two attempts to open the pool again
CLOSE_TIMEOUT = 3.0  # s


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """How many connections a pool has, if it is open, and how many callers wait for one."""

    is_open: bool
    idle: int
    in_use: int
    maximum: int
    waiting: int


class AcquiredConnection:
    """A pooled connection for the duration of a block; see `Database.connection`.

    Written as a class because it surrounds every statement: built from generators, as most context
    managers are, it took as much time as asyncpg itself.
    """

    __slots__ = ("_connection", "_database", "_pool")

    def __init__(self, database: "Database") -> None:
        self._database = database

    async def __aenter__(self) -> Connection:
        """Acquire a connection."""
        self._pool = self._database.require_pool()
        self._connection: Connection = await self._database.acquire(self._pool)
        return self._connection

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Release the connection."""
        try:
            await self._pool.release(self._connection)
        except Exception as failure:
            self._database.report_error(failure)
            raise
        finally:
            self._database.released.set()
        if error is not None:
            self._database.report_error(error)


class Database:
    """A pool of connections to one PostgreSQL server.

    Every call raises `DatabaseUnavailable` while the server is unavailable. While `monitor` runs,
    calls then fail at once, and `monitor` opens the pool again; without it, asyncpg replaces broken
    connections call by call. A `read_only` database cannot write; any other connects only to a
    server that takes writes, and `monitor` replaces its connections once one of them cannot write
    any more. `advice` ends the errors of `connect_within`: it says what to check. `name` is how log
    lines call a server that is not the primary.
    """

    def __init__(
        self,
        dsn: str,
        settings: ServerSettings,
        *,
        application_name: str,
        read_only: bool = False,
        advice: str = ADVICE,
        name: str = PRIMARY,
    ) -> None:
        self._dsn = dsn
        self._settings = settings
        self._application_name = application_name
        self._advice = advice
        self._name = name
        self._must_write = not read_only
        self._factory = ConnectionFactory(
            dsn, settings, application_name=application_name, read_only=read_only
        )
        self._direct = self._factory
        if settings.direct_url is not None:
            direct = settings.direct()
            self._direct = ConnectionFactory(
                direct.dsn(), direct, application_name=application_name, read_only=read_only
            )
        self._is_behind_pooler = False
        self._pool: Pool | None = None
        self._unavailable = DatabaseUnavailable("PostgreSQL has not answered yet.")
        self._refused = RefusedOperations(
            self._connect,
            self.connection,
            must_write=self._must_write,
            timeout=settings.ping_timeout,
        )
        self._pending_acquires: set[asyncio.Timeout] = set()
        self._next_acquire = asyncio.Lock()
        self.released = asyncio.Event()  # set when a connection is released to the pool
        self._dedicated: set[UnpooledConnection] = set()
        self._health = HealthMonitor(
            self._connect_for_pings, interval=settings.ping_interval, timeout=settings.ping_timeout
        )

    @property
    def staleness(self) -> float:
        """For how many seconds what was committed may be missing in what is read: never."""
        return 0.0

    @property
    def primary(self) -> "Database":
        """This database."""
        return self

    def read_only(self) -> "Database":
        """Return a database on the same server, not open yet, that cannot write."""
        return Database(
            self._dsn,
            self._settings,
            application_name=self._application_name,
            read_only=True,
            advice=self._advice,
        )

    async def connect(self) -> None:
        """Open the pool."""
        pool = self._factory.create_pool()
        try:
            with translate_errors():
                async with asyncio.timeout(self._settings.connect_timeout):
                    await pool
                    connection = await pool.acquire()
                    # A pooler may accept and never answer.
                    self._is_behind_pooler = await is_behind_pooler(connection)
                    await check_encoding(connection)
                    await pool.release(connection)
        except BaseException:
            pool.terminate()  # releasing a connection that does not answer would wait for it
            raise
        self._pool = pool
        log.info("db_connected", message=f"Connected to {self._name}.")

    async def connect_within(self, seconds: float) -> None:
        """Open the pool, retrying for up to `seconds` while the server is unavailable.

        Raises `StartupError` if that fails, or at once if the server refuses the user or the
        database, TLS fails, or a pooler loses what is needed; `ConfigurationError` if the DSN is
        invalid.
        """
        try:
            async for attempt in stamina.retry_context(
                on=is_temporary, attempts=None, timeout=seconds, wait_max=5.0
            ):
                with attempt:
                    expected = await self._identity_of_direct_server()
                    await self.connect()
                    await self._expect_identity(expected)
            if self._is_behind_pooler and (role := await check_pooler(self._factory)) is not None:
                message = f"{MISSING_SETTINGS}; {settings_cure(role)}."
                log.warning("db_settings_missing", message=message)
        except PoolerUnsuitable as error:
            raise StartupError(f"{error}.") from error
        except DatabaseUnavailable as error:
            raise StartupError(f"{error}. {self._advice}.") from error
        except asyncpg.ClientConfigurationError as error:
            raise ConfigurationError(f"database: {str(error).splitlines()[0]}.") from error
        except asyncpg.PostgresError as error:
            refusal = f"PostgreSQL refuses the connection: {error}"
            raise StartupError(f"{refusal}. {self._advice}.") from error

    async def _identity_of_direct_server(self) -> tuple[str, str] | None:
        """Return which database `direct_url` leads to, `None` if there is none.

        Raises `PoolerUnsuitable` if it leads to a pooler without sessions of their own, too.
        """
        if self._direct is self._factory:
            return None
        try:
            with translate_connect_errors():
                connection = await self._direct.connect()
                try:
                    if await is_behind_pooler(connection):
                        await check_pooler(self._direct)
                    return await identity(connection)
                finally:
                    connection.terminate()
        except PoolerUnsuitable:
            raise
        except DatabaseUnavailable as error:
            raise DatabaseUnavailable(f"database.direct_url: {error}") from error

    async def _expect_identity(self, expected: tuple[str, str] | None) -> None:
        """Raise `DatabaseUnavailable`, and close the pool, if it is on another database."""
        if expected is None:
            return
        async with self.connection() as connection:
            found = await identity(connection)
        if found != expected:  # wrongly configured, or the pooler has not followed a failover yet
            await self.close()
            raise DatabaseUnavailable(f"database.direct_url: {ANOTHER_DATABASE}")

    async def close(self) -> None:
        """Close the pool; statements in progress have `CLOSE_TIMEOUT` to end."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        self._unavailable = DatabaseUnavailable("The database is closed.")
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def monitor(self) -> None:
        """Detect, until cancelled, that the server is unavailable, and open the pool again.

        A pool that is not open yet is opened first.

        While it is unavailable all calls fail, also those in progress; attempts to open the pool
        have growing delays and a log line each.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._retry_refused())
                if self._pool is None:
                    await self._reopen()
                while True:
                    self._make_unavailable(await self._health.wait_until_unavailable())
                    await self._reopen()
        finally:
            self._health.close()

    def connection(self) -> contextlib.AbstractAsyncContextManager[Connection]:
        """Acquire a connection for a block; each statement is a transaction of its own."""
        return AcquiredConnection(self)

    async def read(self, query: "Callable[[Connection], Awaitable[T]]") -> T:
        """Return the result of a query."""
        async with self.connection() as connection:
            return await query(connection)

    async def find(
        self, query: "Callable[[Connection], Awaitable[T]]", suffices: object = None
    ) -> T:
        """Return the result of a query: nothing newer is to be found elsewhere (see `Reader`)."""
        del suffices
        return await self.read(query)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Acquire a connection in a transaction: committed at the end, rolled back by an error."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def dedicated(self) -> UnpooledConnection:
        """Open a connection outside the pool, which the caller closes.

        It is terminated when the server becomes unavailable.
        """
        self.require_pool()
        connection = await self.wait_for_connection(self._direct.connect(**KEEPALIVE_SETTINGS))
        self._dedicated.add(connection)
        connection.add_termination_listener(self._dedicated.discard)
        return connection

    @contextlib.asynccontextmanager
    async def without_timeout(self) -> AsyncIterator[UnpooledConnection]:
        """Open a connection outside the pool whose statements may take any time.

        It stays open when `monitor` finds the server unavailable, because a server that is busy
        with such a statement may be slow to answer pings.
        """
        with translate_connect_errors():
            connection = await self._direct.connect_without_timeout(**KEEPALIVE_SETTINGS)
        try:
            with translate_errors():
                yield connection
                await connection.close()
        finally:
            connection.terminate()

    async def ping(self) -> float:
        """Return the time that the server took to answer, in milliseconds.

        While `monitor` runs, this is the time of its last ping, because a pool without a free
        connection says nothing about the server. Raises `DatabaseUnavailable` also while the server
        refuses statements.
        """
        self.require_pool()
        if self._refused.statement is not None:
            raise self._refused.statement.with_traceback(None)
        if self._health.latency is not None:
            return self._health.latency * 1000
        start = time.perf_counter()
        async with self.connection() as connection:
            await connection.execute("SELECT 1")
        return (time.perf_counter() - start) * 1000

    @property
    def refused_connections(self) -> DatabaseRefuses | None:
        """The reason why the server refuses new connections; `None` while it accepts them."""
        return self._refused.connection

    def pool_usage(self) -> PoolUsage:
        """Count the connections of the pool, and the callers that wait for one."""
        pool = self._pool
        size, idle = (0, 0) if pool is None else (pool.get_size(), pool.get_idle_size())
        return PoolUsage(
            is_open=pool is not None,
            idle=idle,
            in_use=size - idle,
            maximum=self._settings.pool_max,
            waiting=len(self._pending_acquires),
        )

    def require_pool(self) -> Pool:
        """Return the pool; raise `DatabaseUnavailable` while there is none."""
        if self._pool is None:
            raise self._unavailable.with_traceback(None)
        return self._pool

    async def acquire(self, pool: Pool) -> Connection:
        """Acquire a connection of the pool; one that is open if the server refuses new ones."""
        if self._refused.connection is None:
            try:
                return await self.wait_for_connection(pool.acquire())
            except DatabaseReadOnly:
                raise
            except DatabaseRefuses:
                if not pool.get_size():
                    raise
        return await self.wait_for_connection(self._acquire_open(pool))

    async def _acquire_open(self, pool: Pool) -> Connection:
        """Wait in turn until an open connection is released, and acquire it.

        The pool would open another one for each caller while all that are open are in use.
        """
        async with self._next_acquire:
            while pool.get_size() and not pool.get_idle_size() and self._refused.connection:
                self.released.clear()
                await self.released.wait()
            return await pool.acquire()

    async def wait_for_connection(self, connecting: Awaitable[T]) -> T:
        """Wait for a connection up to `connect_timeout`; fail at once if the server is lost."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout) as timeout:
                self._pending_acquires.add(timeout)
                try:
                    return await connecting
                except Exception as error:
                    raise_if_cannot_connect(error)
                    raise
                finally:
                    self._pending_acquires.discard(timeout)
        except TimeoutError:
            self._health.check_now()
            self.require_pool()
            raise DatabaseUnavailable("The database has no connection free.") from None
        except DatabaseUnavailable as error:
            if isinstance(error, DatabaseRefuses):
                self._refused.record_connection(error)
            self._health.check_now()
            raise

    def report_error(self, error: BaseException) -> None:
        """Have `monitor` check the server after an error that may mean that it is unavailable.

        Raises `DatabaseUnavailable` in place of an error that `translate_errors` translates.
        """
        if isinstance(error, NOT_COMPLETED):
            self._refused.suspect_statements()
        try:
            raise_if_unavailable(error)
        except DatabaseUnavailable as unavailable:
            self._record(unavailable)
            raise
        if isinstance(error, DatabaseUnavailable):
            self._record(error)

    def _record(self, error: DatabaseUnavailable) -> None:
        if self._must_write and isinstance(error, DatabaseReadOnly):
            self._health.report_unavailable(error)
        elif isinstance(error, DatabaseRefuses):
            self._refused.record_statement(error)
        self._health.check_now()

    async def _connect(self) -> UnpooledConnection:
        with translate_connect_errors():
            return await self._factory.connect()

    async def _connect_for_pings(self) -> PingConnection | None:
        """Open a connection; return `None` if the server has none free."""
        with translate_connect_errors():
            try:
                connection = await self._factory.connect()
            except asyncpg.TooManyConnectionsError:
                return None
        connection.add_termination_listener(lambda _: self._health.check_now())
        return PingConnection(connection, must_write=self._must_write)

    async def _retry_refused(self) -> None:
        """Retry what the server has refused, until cancelled.

        Once a statement succeeds, the pooled connections are replaced: their sessions may be why it
        was refused, such as one with a timeout that the role does not have any more.
        """
        while True:
            await asyncio.sleep(self._settings.ping_interval)
            if self._pool is None:
                continue
            try:
                succeeded = await self._refused.retry()
            except DatabaseUnavailable as error:
                self._record(error)
            else:
                if succeeded and self._pool is not None:
                    await self._pool.expire_connections()

    def _make_unavailable(self, reason: DatabaseUnavailable) -> None:
        """Fail the calls in progress, and all further calls."""
        log.warning(
            "db_connection_failed",
            message=f"{self._named(reason)}; calls fail until it is available again.",
        )
        self._unavailable = reason
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()
        for connection in tuple(self._dedicated):
            connection.terminate()
        for timeout in self._pending_acquires:
            if not timeout.expired():
                timeout.reschedule(asyncio.get_running_loop().time())

    async def _reopen(self) -> None:
        async for attempt in stamina.retry_context(
            on=(DatabaseUnavailable, asyncpg.PostgresError),
            attempts=None,
            timeout=None,
            wait_max=MAX_REOPEN_DELAY,
        ):
            with attempt:
                try:
                    await self.connect()
                except (DatabaseUnavailable, asyncpg.PostgresError) as error:
                    if isinstance(error, DatabaseUnavailable):
                        self._unavailable = error
                    raise DatabaseUnavailable(self._named(error)) from error

    def _named(self, error: Exception) -> str:
        """Return the text of an error, with the name of a server that is not the primary."""
        name = self._name[0].upper() + self._name[1:]
        return str(error) if name == PRIMARY else f"{name}: {error}"


def is_temporary(error: Exception) -> bool:
    """Return whether a connection may succeed later."""
    lasts = isinstance(error, DatabaseTlsFailed | PoolerUnsuitable)
    return isinstance(error, DatabaseUnavailable) and not lasts
