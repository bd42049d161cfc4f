"""Open connections and pools to PostgreSQL, with the settings that all of them share."""

from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from restaurant_system.config import ServerSettings, split_postgres_url
from restaurant_system.database.error_translation import (
    READ_ONLY,
    UNREACHABLE,
    translate_errors,
)
from restaurant_system.errors import DatabaseReadOnly

# Quoted, because asyncpg's classes are generic to a type checker only.
UnpooledConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
AnyConnection: TypeAlias = (
    "asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]"
)

# A prepared statement keeps its plan. A plan that is made while a queue is empty would scan the
# whole table, also once it has 200,000 rows. Every statement of ours has an index to use. On the
# few small tables without one, PostgreSQL before version 18 adds so high a cost to a sequential
# scan that it would compile the statement, which takes 0.1 s and is not worth it. With a
# partition for each month, a plan for the parameters of one execution takes longer to make than to
# execute.
PLANNER_SETTINGS = {
    "enable_seqscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}

STATEMENT_CACHE_SIZE = 100  # of each connection; asyncpg's default
IS_READ_ONLY = "SHOW transaction_read_only"

# For connections that hold locks: the server notices within 30 s that this process is gone without
# having closed them; by default TCP takes hours.
KEEPALIVE_SETTINGS = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}


class PooledConnection(asyncpg.Connection):
    """A connection that is released to the pool without being reset.

    By default asyncpg resets the session (`RESET ALL` and the like), which costs a round trip per
    use. Code here leaves no session state behind: what listens, or holds a lock beyond its
    transaction, uses a connection of its own (`Database.dedicated`).
    """

    def get_reset_query(self) -> str:
        """Return no statements to reset a session when a connection is released."""
        return ""


class PingConnection:
    """A connection that pings whether a server is available, and may be written to."""

    def __init__(self, connection: UnpooledConnection, *, must_write: bool) -> None:
        self._connection = connection
        self._must_write = must_write

    async def ping(self) -> None:
        """Return once the server has answered; raise `DatabaseReadOnly` if it must not be."""
        with translate_errors():
            read_only = await self._connection.fetchval(IS_READ_ONLY)
        if self._must_write and read_only == "on":
            raise DatabaseReadOnly(READ_ONLY, "a session cannot write any more")

    def terminate(self) -> None:
        """Close the connection without waiting for the server."""
        self._connection.terminate()


class ConnectionFactory:
    """Opens connections that can write, or, if `read_only`, connections that cannot.

    A pooler (`direct_url` is set) refuses most settings of a session, also the one by which it
    cannot write: then nothing but our code ensures that.

    Of several hosts in the DSN, a connection uses the first that fits, beginning with the one used
    last. Each has its part of `connect_timeout`, because the host of a lost server may not answer
    at all.
    """

    def __init__(
        self, dsn: str, settings: ServerSettings, *, application_name: str, read_only: bool
    ) -> None:
        self._servers = tuple(split_postgres_url(dsn))
        self._settings = settings
        self._server_settings = {"application_name": application_name, "timezone": "UTC"}
        self._session_attributes: SessionAttribute | None = SessionAttribute.read_write
        if read_only:
            self._session_attributes = _reader_attributes(self._servers)
        self.has_direct_url = settings.direct_url is not None
        self.prepares_statements = settings.prepared_statements
        # A pooler tells new clients what the server was when it first connected to it.
        self._verifies_writes = self.has_direct_url and not read_only
        if self.has_direct_url:
            self._session_attributes = None
        else:
            self._server_settings |= PLANNER_SETTINGS
            if read_only:
                self._server_settings["default_transaction_read_only"] = "on"
        # Without a cache, statements have no name. asyncpg sends their text and their parameters in
        # two messages with a Flush in between, after which a pooler does not change the session.
        self._cached_statements = STATEMENT_CACHE_SIZE if self.prepares_statements else 0

    def create_pool(self) -> Pool:
        """Return a pool that connects once it is awaited."""
        return asyncpg.create_pool(
            connect=self._connect_to_any,
            min_size=min(self._settings.pool_min, self._settings.pool_max),
            max_size=self._settings.pool_max,
            connection_class=PooledConnection,
            command_timeout=self._settings.command_timeout,
            server_settings=self._server_settings,
            target_session_attrs=self._session_attributes,
            statement_cache_size=self._cached_statements,
        )

    async def connect(self, **server_settings: str) -> UnpooledConnection:
        """Open a connection with the configured statement timeout."""
        return await self._connect(self._settings.command_timeout, server_settings)

    async def connect_without_timeout(self, **server_settings: str) -> UnpooledConnection:
        """Open a connection whose statements may take any time."""
        return await self._connect(None, server_settings)

    async def _connect(
        self, command_timeout: float | None, server_settings: dict[str, str]
    ) -> UnpooledConnection:
        return await self._connect_to_any(
            command_timeout=command_timeout,
            server_settings={**self._server_settings, **server_settings},
            target_session_attrs=self._session_attributes,
            statement_cache_size=self._cached_statements,
        )

    async def _connect_to_any(
        self,
        *_: object,
        **options: Any,  # noqa: ANN401 - passed on to asyncpg
    ) -> UnpooledConnection:
        """Connect to the first server that fits; raise the error that says most if none does."""
        servers = self._servers
        timeout = self._settings.connect_timeout / len(servers)
        errors: list[Exception] = []
        for server in servers:
            try:
                connection: UnpooledConnection = await asyncpg.connect(
                    server, timeout=timeout, **options
                )
                if self._verifies_writes:
                    await _refuse_if_read_only(connection)
            except asyncpg.ClientConfigurationError:
                raise
            except (*UNREACHABLE, asyncpg.PostgresError) as error:
                errors.append(error)
            else:
                self._servers = (server, *(other for other in servers if other != server))
                return connection
        # A server that has answered is there: what it says is what is to be mended.
        raise next((error for error in errors if not isinstance(error, OSError)), errors[0])


async def _refuse_if_read_only(connection: UnpooledConnection) -> None:
    if await connection.fetchval(IS_READ_ONLY) == "on":
        connection.terminate()
        raise asyncpg.TargetServerAttributeNotMatched("The session is read-only.")


def _reader_attributes(servers: tuple[str, ...]) -> SessionAttribute | None:
    """Return which servers a read-only pool may use; `None` leaves it to the DSN.

    Of several servers it is the primary, because the others may lag behind it. Sessions of such a
    pool are read-only, so that `read-write` would exclude every server.
    """
    attributes = parse_qs(urlsplit(servers[0]).query).get("target_session_attrs")
    if attributes == ["read-write"] or (attributes is None and len(servers) > 1):
        return SessionAttribute.primary
    return None
