"""PostgreSQL: one pool for each process, and transactions.

A database is open, with a pool, or away, with none. While it is away every call fails at once:
nobody waits for a pool or a socket to give up on what the watchman (`watch.py`) knows already.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from typing import TypeAlias, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg
import stamina
from asyncpg.connect_utils import SessionAttribute

from restaurant_system.config import ServerSettings
from restaurant_system.database.error_translation import (
    raise_if_cannot_connect,
    raise_if_unavailable,
    translate_connect_errors,
    translate_errors,
)
from restaurant_system.database.health_monitor import HealthMonitor
from restaurant_system.database.refusals import PingConnection, Refusals
from restaurant_system.errors import (
    ConfigurationError,
    DatabaseReadOnly,
    DatabaseRefuses,
    DatabaseTlsFailed,
    DatabaseUnavailable,
    StartupError,
)
from restaurant_system.logger import get_logger

log = get_logger()

T = TypeVar("T")

# Quoted, for asyncpg's classes are generic to a type checker only.
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
UnpooledConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CORRECT = "correct the database section of the configuration"
LONGEST_PAUSE = 1.0  # s between two tries to open a database that is away

# A prepared statement keeps its plan. One that is made while a queue is empty would read the table
# from end to end, and go on so with 200,000 rows in it. Every statement has its index. What little
# has none (a table of a few subscribers) counts as beyond price before PostgreSQL 18, and would be
# compiled for a tenth of a second; no statement of ours is worth that.
BY_INDEX = {"enable_seqscan": "off", "jit": "off"}

# For lines that hold a lock: if we vanish without a word, the server notices within half a minute,
# rather than after the hours that TCP takes by itself.
KEEPALIVE = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}


class PooledConnection(asyncpg.Connection):
    """A connection that is lent as it was returned.

    asyncpg would have the server forget what the last borrower may have left (`RESET ALL` and the
    like), at the price of a round trip for each loan. Nobody here leaves anything: who listens, or
    holds a lock beyond its transaction, has a line of its own (`Database.dedicated`).
    """

    def get_reset_query(self) -> str:
        """Return what is to be forgotten between two loans: nothing."""
        return ""


ENCODING = """
SELECT current_database() AS name, current_setting('server_encoding') AS encoding,
       quote_ident(left(current_database(), 58) || '_utf8') AS successor
"""


def _must_be_utf_8(database: "asyncpg.Record | None") -> None:
    """Raise `StartupError` for a database that cannot hold every name."""
    if database is not None and database["encoding"] != "UTF8":
        raise StartupError(
            f"The database {database['name']} has the encoding {database['encoding']}, which cannot"
            " hold the names of all customers; create another one with"
            f" CREATE DATABASE {database['successor']} ENCODING 'UTF8' LOCALE 'C' TEMPLATE"
            " template0, and name that one in the database section of the configuration."
        )


def _attributes_of_readers(dsn: str) -> SessionAttribute | None:
    """Return which servers a pool that cannot write may use; `None` leaves it to the DSN.

    The pool's own sessions are read-only, so that `read-write` would exclude every server.
    """
    stated = parse_qs(urlsplit(dsn).query).get("target_session_attrs")
    return SessionAttribute.primary if stated == ["read-write"] else None


def _may_come_back(error: Exception) -> bool:
    return isinstance(error, DatabaseUnavailable) and not isinstance(error, DatabaseTlsFailed)


class Loan:
    """A connection of the pool, for as long as a block lasts; see `Database.connection`.

    It stands around every statement. Made of generators, as context managers mostly are, it took as
    long again as what asyncpg does for it.
    """

    __slots__ = ("_connection", "_database", "_pool")

    def __init__(self, database: "Database") -> None:
        self._database = database

    async def __aenter__(self) -> Connection:
        """Borrow one."""
        self._pool = self._database.open_pool()
        self._connection: Connection = await self._database.let_in(self._pool.acquire())
        return self._connection

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Give it back."""
        try:
            await self._pool.release(self._connection)
        except Exception as failure:
            self._database.notice(failure)
            raise
        if error is not None:
            self._database.notice(error)


class Database:
    """A pool of connections to one PostgreSQL server.

    Every call raises `DatabaseUnavailable` when the server is away, at once while `monitor` runs,
    which also opens the pool again. Without it the pool mends itself, call by call. A `read_only`
    one cannot write, whatever it is asked; any other connects only to a server that takes writes,
    and `monitor` replaces its connections when one of them cannot write any more.
    """

    def __init__(
        self,
        dsn: str,
        settings: ServerSettings,
        *,
        application_name: str,
        read_only: bool = False,
    ) -> None:
        self._dsn = dsn
        self._settings = settings
        self._application_name = application_name
        self._server_settings = {
            "application_name": application_name,
            "timezone": "UTC",
            **BY_INDEX,
        }
        self._must_write = not read_only
        self._session_attributes: SessionAttribute | None = SessionAttribute.read_write
        if read_only:
            self._server_settings["default_transaction_read_only"] = "on"
            self._session_attributes = _attributes_of_readers(dsn)
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._absence = "The database is not open."
        self._refusals = Refusals()
        self._waits: set[asyncio.Timeout] = set()
        self._dedicated: set[UnpooledConnection] = set()
        self._watchman = HealthMonitor(
            self._dial_for_pings, interval=settings.ping_interval, patience=settings.ping_timeout
        )

    def read_only(self) -> "Database":
        """Return another on the same server, not open yet, that cannot write."""
        name = self._application_name
        return Database(self._dsn, self._settings, application_name=name, read_only=True)

    async def connect(self) -> None:
        """Open the pool."""
        pool = asyncpg.create_pool(
            self._dsn,
            min_size=min(self._settings.pool_min, self._settings.pool_max),
            max_size=self._settings.pool_max,
            connection_class=PooledConnection,
            timeout=self._settings.connect_timeout,
            command_timeout=self._settings.command_timeout,
            server_settings=self._server_settings,
            target_session_attrs=self._session_attributes,
        )
        try:
            with translate_errors():
                async with asyncio.timeout(self._settings.connect_timeout):
                    await pool
                    first = await pool.acquire()
                    await first.execute("SELECT 1")  # whoever let us in may still not answer
                    _must_be_utf_8(await first.fetchrow(ENCODING))
                    await pool.release(first)
        except BaseException:
            pool.terminate()  # at once; to release a line that is silent would wait for it
            raise
        self._pool = pool
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
        except DatabaseTlsFailed as error:
            raise StartupError(f"{error}. To mend it, {CORRECT}.") from error
        except asyncpg.ClientConfigurationError as error:
            raise ConfigurationError(f"database: {str(error).splitlines()[0]}.") from error
        except DatabaseRefuses as error:
            raise StartupError(f"{error}. Mend that on the server, or {CORRECT}.") from error
        except DatabaseUnavailable as error:
            raise StartupError(f"{error}. Start PostgreSQL, or {CORRECT}.") from error
        except asyncpg.PostgresError as error:
            raise StartupError(f"PostgreSQL refuses us: {error}. To mend it, {CORRECT}.") from error

    async def close(self) -> None:
        """Close the pool, after at most a few seconds for what is under way."""
        if self._pool is None:
            return
        pool, self._pool, self._absence = self._pool, None, "The database is closed."
        try:
            async with asyncio.timeout(3):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def monitor(self) -> None:
        """Notice, for as long as this runs, when the server goes away and when it is back.

        While it is away all calls fail, those under way too; the pool is opened again with growing
        pauses and a log line for each.
        """
        try:
            while True:
                self._declare_away(await self._watchman.until_away())
                await self._reopen()
        finally:
            self._watchman.close()

    def connection(self) -> contextlib.AbstractAsyncContextManager[Connection]:
        """Lend a connection, each statement a transaction of its own."""
        return Loan(self)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction: committed at the end, rolled back by an error."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def dedicated(self) -> UnpooledConnection:
        """Open a connection outside the pool, for as long as the caller keeps it.

        It breaks when the server goes away.
        """
        self.open_pool()
        line = await self.let_in(self._dial(**KEEPALIVE))
        self._dedicated.add(line)
        line.add_termination_listener(self._forget)
        return line

    @contextlib.asynccontextmanager
    async def without_timeout(self) -> AsyncIterator[UnpooledConnection]:
        """Open a connection outside the pool whose statements may take as long as they need.

        It stays open when `monitor` finds the server unavailable: one that is busy with just such a
        statement may be slow to answer.
        """
        with translate_connect_errors():
            line = await self._dial_with(None, **KEEPALIVE)
        try:
            with translate_errors():
                yield line
                await line.close()
        finally:
            line.terminate()

    async def ping(self) -> float:
        """Return how long the server took to answer, in milliseconds.

        While `monitor` runs, it is the time of its last ping: a pool in which nothing is free says
        nothing about the server. Raises `DatabaseUnavailable` also while the server refuses writes.
        """
        self.open_pool()
        if self._refusals.writes is not None:
            raise self._refusals.writes
        if self._watchman.latency is not None:
            return self._watchman.latency * 1000
        start = time.perf_counter()
        async with self.connection() as connection:
            await connection.execute("SELECT 1")
        return (time.perf_counter() - start) * 1000

    @property
    def refused_connections(self) -> DatabaseRefuses | None:
        """The reason why the server refuses new connections; `None` while it accepts them."""
        return self._refusals.connections

    def open_pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        """Return the pool; raises `DatabaseUnavailable` while there is none."""
        if self._pool is None:
            raise DatabaseUnavailable(self._absence)
        return self._pool

    async def let_in(self, entering: Awaitable[T]) -> T:
        """Wait for a connection, for a while; the end comes at once if the server is away."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout) as wait:
                self._waits.add(wait)
                try:
                    return await entering
                except Exception as error:
                    raise_if_cannot_connect(error)
                    raise
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            self._watchman.nudge()
            crowded = "The database has no connection free."
            raise DatabaseUnavailable(crowded if self._pool else self._absence) from None
        except DatabaseUnavailable as error:
            if isinstance(error, DatabaseRefuses):
                self._refusals.note_connection(error)
            self._watchman.nudge()
            raise

    def notice(self, error: BaseException) -> None:
        """Have `monitor` ping the server after an error: only a ping decides whether it is away.

        Raises `DatabaseUnavailable` for an error that means so, see `translate_errors`.
        """
        try:
            raise_if_unavailable(error)
        except DatabaseUnavailable as unavailable:
            self._note(unavailable)
            raise
        if isinstance(error, DatabaseUnavailable):
            self._note(error)

    def _note(self, error: DatabaseUnavailable) -> None:
        if self._must_write and isinstance(error, DatabaseReadOnly):
            self._watchman.report(error)
        elif self._must_write and isinstance(error, DatabaseRefuses):
            self._refusals.note_write(error)
        self._watchman.nudge()

    async def _dial(self, **settings: str) -> UnpooledConnection:
        return await self._dial_with(self._settings.command_timeout, **settings)

    async def _dial_with(
        self, command_timeout: float | None, **settings: str
    ) -> UnpooledConnection:
        return await asyncpg.connect(
            self._dsn,
            timeout=self._settings.connect_timeout,
            command_timeout=command_timeout,
            server_settings={**self._server_settings, **settings},
            target_session_attrs=self._session_attributes,
        )

    async def _dial_or_refuse(self) -> UnpooledConnection:
        with translate_connect_errors():
            return await self._dial()

    async def _dial_for_pings(self) -> PingConnection | None:
        with translate_connect_errors():
            try:
                line = await self._dial()
            except asyncpg.TooManyConnectionsError:
                return None
        line.add_termination_listener(lambda _: self._watchman.nudge())
        return PingConnection(
            line,
            must_write=self._must_write,
            refusals=self._refusals,
            connect=self._dial_or_refuse,
        )

    def _forget(self, line: object) -> None:
        self._dedicated.discard(line)

    def _declare_away(self, reason: DatabaseUnavailable) -> None:
        """Fail what is under way, and from now on every call."""
        log.warning("db_connection_failed", message=f"{reason}; all that needs it fails for now.")
        self._absence = str(reason)
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()
        for line in tuple(self._dedicated):
            line.terminate()
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(asyncio.get_running_loop().time())

    async def _reopen(self) -> None:
        async for attempt in stamina.retry_context(
            on=(DatabaseUnavailable, asyncpg.PostgresError),
            attempts=None,
            timeout=None,
            wait_max=LONGEST_PAUSE,
        ):
            with attempt:
                await self.connect()
