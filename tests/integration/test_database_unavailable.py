"""PostgreSQL becomes unavailable: calls fail at once, until it is available again."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest

from restaurant_system.config import ServerSettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import BrokerUnavailable, DatabaseUnavailable
from restaurant_system.messaging.postgres import PostgresBroker
from tests.support.broker_connections import PostgresConnections
from tests.support.database import execute, fails, monitored, succeeds
from tests.support.logs import capture_logs, logged
from tests.support.messages import TAKEOUT, make_order_message, receive_and_ack, receive_one
from tests.support.postgres_server import Postgres
from tests.support.tcp_proxy import TcpProxy, proxy
from tests.support.waiting import eventually

# A statement would wait for half a minute, and a caller for five seconds.
SETTINGS = ServerSettings(pool_max=2, ping_interval=0.1, ping_timeout=0.5)
LONG_PING_TIMEOUT = SETTINGS.model_copy(
    update={"ping_timeout": 20}
)  # for tests in which the server stays available
DETECTION_TIME = 3  # s; far more than detection takes, far less than a timeout of the pool
AT_ONCE = 0.3  # s


@pytest.fixture
async def tcp_proxy(postgres_server: Postgres) -> AsyncIterator[TcpProxy]:
    """Run a TCP proxy in front of PostgreSQL."""
    async with proxy(postgres_server.port) as tcp_proxy:
        yield tcp_proxy


def make_database(dsn: str, settings: ServerSettings = SETTINGS) -> Database:
    """Return a database that is not open yet."""
    return Database(dsn, settings, application_name="monitored")


@pytest.fixture
async def proxied(
    dsn: str, postgres_server: Postgres, tcp_proxy: TcpProxy
) -> AsyncIterator[Database]:
    """Open the database of the test through the proxy, with short timeouts."""
    proxied_dsn = dsn.replace(str(postgres_server.port), str(tcp_proxy.port))
    async with monitored(make_database(proxied_dsn)) as database:
        yield database


@pytest.fixture
async def proxied_without_ping_timeout(
    dsn: str, postgres_server: Postgres, tcp_proxy: TcpProxy
) -> AsyncIterator[Database]:
    """Open the database through the proxy, with a ping timeout that never elapses."""
    proxied_dsn = dsn.replace(str(postgres_server.port), str(tcp_proxy.port))
    async with monitored(make_database(proxied_dsn, LONG_PING_TIMEOUT)) as database:
        yield database


async def query(database: Database) -> None:
    """Execute a statement on a pooled connection."""
    await execute(database, "SELECT 1")


async def is_unavailable(database: Database) -> bool:
    """Return whether a statement fails with `DatabaseUnavailable`."""
    return await fails(database, "SELECT 1")


async def is_available(database: Database) -> bool:
    """Return whether a statement succeeds."""
    return await succeeds(database, "SELECT 1")


async def seconds_to_fail(call: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds until a call raised `DatabaseUnavailable`."""
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await call()
    return time.monotonic() - started


async def sleep_in(database: Database) -> None:
    """Execute a statement that takes longer than every timeout."""
    async with database.transaction() as tx:
        await tx.execute("SELECT pg_sleep(60)")


async def wait_for_sleeping(dsn: str, count: int) -> None:
    """Wait until this number of statements sleep in the server."""
    await wait_for_sessions(dsn, count, "wait_event = 'PgSleep'", doing="for statements to sleep")


async def wait_for_ping(dsn: str) -> None:
    """Wait until the monitor has pinged the server."""
    await wait_for_sessions(
        dsn, 1, "state = 'idle' AND query = 'SHOW transaction_read_only'", doing="for a ping"
    )


async def wait_for_sessions(dsn: str, count: int, which: str, *, doing: str) -> None:
    """Wait until this number of sessions in the test's database match a condition."""
    question = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
    connection = await asyncpg.connect(dsn)

    async def are_there() -> bool:
        return bool(await connection.fetchval(question + which) == count)

    try:
        await eventually(are_there, doing=doing)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def silent_pooler(server_port: int) -> AsyncIterator[int]:
    """Accept connections as a pooler does, without answering the first query; yield the port."""

    async def forward(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: bytes
    ) -> None:
        while data := await reader.read(65_536):
            if silent in data:
                await reader.read()  # to the end, and to no effect
            else:
                writer.write(data)
        writer.close()

    async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server_port)
        await asyncio.gather(
            forward(reader, far_writer, b"SELECT pg_backend_pid()"),
            forward(far_reader, writer, b"no such word"),
        )

    server = await asyncio.start_server(admit, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_connection_to_a_silent_pooler_is_given_up_and_closed(
    dsn: str, postgres_server: Postgres, database: Database
) -> None:
    async with silent_pooler(postgres_server.port) as port:
        settings = ServerSettings(connect_timeout=0.5)
        silent = Database(
            dsn.replace(str(postgres_server.port), str(port)), settings, application_name="silent"
        )
        start = time.monotonic()
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                await silent.connect()
        took = time.monotonic() - start

    async def is_gone() -> bool:
        async with database.connection() as connection:
            return not await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'silent'"
            )

    assert took < DETECTION_TIME
    await eventually(is_gone, doing="for the connections to be closed", seconds=5)


async def test_calls_in_progress_fail_soon_after_the_server_freezes(
    proxied: Database, tcp_proxy: TcpProxy, dsn: str
) -> None:
    """Statements and waits for a connection fail long before their own timeouts."""
    in_progress = [
        asyncio.create_task(seconds_to_fail(lambda: sleep_in(proxied))) for _ in range(2)
    ]
    await wait_for_sleeping(dsn, 2)
    waiting = asyncio.create_task(seconds_to_fail(lambda: query(proxied)))

    tcp_proxy.pause()

    assert max(await asyncio.gather(*in_progress, waiting)) < DETECTION_TIME


async def test_calls_to_a_frozen_server_fail_at_once_after_its_detection(
    proxied: Database, tcp_proxy: TcpProxy
) -> None:
    await query(proxied)
    tcp_proxy.pause()
    await seconds_to_fail(lambda: query(proxied))

    for call in (lambda: query(proxied), proxied.ping, proxied.dedicated):
        assert await seconds_to_fail(call) < AT_ONCE


async def test_pool_is_opened_again_when_the_server_answers_again(
    proxied: Database, tcp_proxy: TcpProxy
) -> None:
    tcp_proxy.pause()
    await eventually(lambda: is_unavailable(proxied), doing="for the loss to be detected")

    tcp_proxy.resume()

    await eventually(
        lambda: is_available(proxied), doing="for the return to be detected", seconds=5
    )


async def test_server_that_refuses_connections_is_unavailable_at_once(
    proxied: Database, tcp_proxy: TcpProxy
) -> None:
    """The loss and the return of PostgreSQL are logged."""
    with capture_logs() as lines:
        await tcp_proxy.refuse()
        await eventually(lambda: is_unavailable(proxied), doing="for the loss to be detected")
        assert await seconds_to_fail(lambda: query(proxied)) < AT_ONCE

        await tcp_proxy.listen()
        await eventually(
            lambda: is_available(proxied), doing="for the return to be detected", seconds=5
        )

    assert await logged(lines, "db_connection_failed")
    assert await logged(lines, "db_connected")


async def test_connection_reset_fails_only_calls_in_progress(
    proxied_without_ping_timeout: Database, tcp_proxy: TcpProxy, dsn: str
) -> None:
    """After a connection reset, PostgreSQL still counts as available."""
    in_progress = [
        asyncio.create_task(seconds_to_fail(lambda: sleep_in(proxied_without_ping_timeout)))
        for _ in range(2)
    ]
    await wait_for_sleeping(dsn, 2)
    await wait_for_ping(dsn)  # a reset while the monitor connects would count as unavailable

    with capture_logs() as lines:
        await tcp_proxy.reset()
        assert max(await asyncio.gather(*in_progress)) < DETECTION_TIME
        await eventually(
            lambda: is_available(proxied_without_ping_timeout), doing="for a new connection"
        )

    assert not await logged(lines, "db_connection_failed")


async def test_full_pool_does_not_make_the_server_unavailable(dsn: str) -> None:
    """A call that finds no connection fails; those with a connection continue."""
    quick_to_connect = LONG_PING_TIMEOUT.model_copy(update={"connect_timeout": 0.3})
    async with (
        monitored(make_database(dsn, quick_to_connect)) as full,
        full.connection() as one,
        full.connection() as two,
    ):
        with pytest.raises(DatabaseUnavailable, match="no connection free"):
            await query(full)

        assert await one.fetchval("SELECT 1") == await two.fetchval("SELECT 1") == 1
        await eventually(lambda: is_pinged(full), doing="for a ping")


async def is_pinged(database: Database) -> bool:
    """Return whether a ping of PostgreSQL succeeds."""
    with contextlib.suppress(DatabaseUnavailable):
        return await database.ping() >= 0
    return False


@pytest.mark.parametrize(
    "statement",
    [
        "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'serialization_failure'; END $$",
        "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$",
        "SELECT pg_cancel_backend(pg_backend_pid())",
    ],
)
async def test_failed_statement_does_not_make_the_server_unavailable(
    proxied_without_ping_timeout: Database, statement: str
) -> None:
    async with proxied_without_ping_timeout.connection() as other:
        async with asyncio.timeout(DETECTION_TIME):
            with pytest.raises(DatabaseUnavailable):
                async with proxied_without_ping_timeout.connection() as connection:
                    await connection.execute(statement)
        await asyncio.sleep(3 * SETTINGS.ping_interval)

        assert await other.fetchval("SELECT 1") == 1
    await query(proxied_without_ping_timeout)


def user_of(dsn: str) -> str:
    """Return the user in a DSN."""
    return urlsplit(dsn).username or ""


async def test_server_that_refuses_the_user_is_retried(
    limited_dsn: str, database: Database, dsn: str
) -> None:
    """The connection is retried, because an administrator may restore the login."""
    async with monitored(make_database(limited_dsn)) as refused:
        async with database.connection() as admin:
            await admin.execute(f"ALTER ROLE {user_of(limited_dsn)} NOLOGIN")
        await PostgresConnections(dsn).cut()
        await eventually(lambda: is_unavailable(refused), doing="for the refusal to be detected")
        await asyncio.sleep(1)
        assert await seconds_to_fail(lambda: query(refused)) < AT_ONCE

        async with database.connection() as admin:
            await admin.execute(f"ALTER ROLE {user_of(limited_dsn)} LOGIN")
        await eventually(lambda: is_available(refused), doing="for the return", seconds=5)


async def test_statement_fails_on_a_connection_that_the_server_is_closing(dsn: str) -> None:
    """The server's last message is read before the end of the connection."""
    fields = b"SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
    message = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
    settings = LONG_PING_TIMEOUT.model_copy(update={"pool_min": 1, "pool_max": 1})
    async with monitored(make_database(dsn, settings)) as database:
        async with database.connection() as connection:
            protocol = connection._protocol  # type: ignore[attr-defined] # noqa: SLF001
        protocol.data_received(message)

        with pytest.raises(
            DatabaseUnavailable, match=r"^PostgreSQL unreachable: the connection was closed$"
        ):
            await query(database)
        await query(database)


async def test_server_without_free_connections_stays_available(
    limited_dsn: str, database: Database
) -> None:
    """Open connections keep working while PostgreSQL has no free one."""
    async with monitored(make_database(limited_dsn, LONG_PING_TIMEOUT)) as full:
        async with full.connection() as inside:
            await asyncio.sleep(3 * SETTINGS.ping_interval)  # the monitor has connected
            async with database.connection() as admin:
                await admin.execute(f"ALTER ROLE {user_of(limited_dsn)} CONNECTION LIMIT 1")

            waiting = [asyncio.create_task(query(full)) for _ in range(20)]
            done, _ = await asyncio.wait(waiting, timeout=3 * SETTINGS.ping_interval)

            assert not done
            assert await inside.fetchval("SELECT 1") == 1
        await asyncio.gather(*waiting)


async def test_other_program_on_the_port_is_treated_as_an_unavailable_server(
    proxied: Database, tcp_proxy: TcpProxy
) -> None:
    async def answer_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    await tcp_proxy.refuse()
    async with await asyncio.start_server(answer_http, "127.0.0.1", tcp_proxy.port):
        await eventually(lambda: is_unavailable(proxied), doing="for the loss to be detected")
        await asyncio.sleep(1)
        assert await is_unavailable(proxied)

    await tcp_proxy.listen()

    await eventually(
        lambda: is_available(proxied), doing="for the return to be detected", seconds=8
    )


async def test_consumer_fails_when_the_server_freezes(
    proxied: Database, tcp_proxy: TcpProxy
) -> None:
    """The unacknowledged messages of the consumer are delivered to another one."""
    broker = PostgresBroker(proxied)
    order = make_order_message()
    await broker.publish([order])
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        held = await receive_one(cook)
        tcp_proxy.pause()
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(anext(aiter(cook)), DETECTION_TIME)

    tcp_proxy.resume()
    await eventually(
        lambda: is_available(proxied), doing="for the return to be detected", seconds=5
    )

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        assert await receive_and_ack(cook, 1) == [order]
        with pytest.raises(BrokerUnavailable):
            await held.ack()
