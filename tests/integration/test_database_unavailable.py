"""A database whose server goes away in every way there is: calls fail at once, until it is back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from restaurant_system.config import ServerSettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import BrokerUnavailable, DatabaseUnavailable
from restaurant_system.messaging.postgres import PostgresBroker
from tests.conftest import QUICK_RETRIES
from tests.support.broker_connections import PostgresConnections
from tests.support.logs import logged
from tests.support.messages import TAKEOUT, make_order_message, take_and_ack, take_one
from tests.support.postgres_server import Postgres
from tests.support.tcp_proxy import TcpProxy, proxy
from tests.support.waiting import eventually

# A statement would wait for half a minute, and a caller for five seconds.
SETTINGS = ServerSettings(pool_max=2, ping_interval=0.1, ping_timeout=0.5)
PATIENT = SETTINGS.model_copy(update={"ping_timeout": 20})  # for what is no absence, on any machine
NOTICED = 3  # s; far more than it takes, far less than a timeout of the pool
AT_ONCE = 0.3  # s


@pytest.fixture
async def wire(postgres_server: Postgres) -> AsyncIterator[TcpProxy]:
    """Have a wire to PostgreSQL."""
    async with proxy(postgres_server.port) as wire:
        yield wire


@contextlib.asynccontextmanager
async def watched(dsn: str, settings: ServerSettings = SETTINGS) -> AsyncIterator[Database]:
    """Open a database with a watchman before it."""
    database = Database(dsn, settings, application_name="watched")
    await database.connect()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(database.monitor())
        try:
            yield database
        finally:
            watching.cancel()
    await database.close()


@pytest.fixture
async def far(dsn: str, postgres_server: Postgres, wire: TcpProxy) -> AsyncIterator[Database]:
    """Open the test's own database over the wire, watched."""
    async with watched(dsn.replace(str(postgres_server.port), str(wire.port))) as database:
        yield database


@pytest.fixture
async def near(dsn: str, postgres_server: Postgres, wire: TcpProxy) -> AsyncIterator[Database]:
    """Open it over the wire with a watchman who is never in a hurry."""
    over_the_wire = dsn.replace(str(postgres_server.port), str(wire.port))
    async with watched(over_the_wire, PATIENT) as database:
        yield database


async def ask(database: Database) -> None:
    """Ask the server something."""
    async with database.connection() as connection:
        await connection.execute("SELECT 1")


async def is_away(database: Database) -> bool:
    """Tell whether a call fails."""
    try:
        await ask(database)
    except DatabaseUnavailable:
        return True
    return False


async def is_back(database: Database) -> bool:
    """Tell whether a call succeeds."""
    return not await is_away(database)


async def seconds_to_fail(call: Callable[[], Awaitable[object]]) -> float:
    """Return how long a call took to find the database away."""
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await call()
    return time.monotonic() - started


async def sleep_in(database: Database) -> None:
    """Have the server work for longer than anybody waits."""
    async with database.transaction() as tx:
        await tx.execute("SELECT pg_sleep(60)")


async def at_work(dsn: str, count: int) -> None:
    """Wait until so many statements sleep in the server."""
    await sessions(dsn, count, "wait_event = 'PgSleep'", doing="for statements to be under way")


async def pinging(dsn: str) -> None:
    """Wait until the watchman has asked whether the server is there, and has his answer."""
    await sessions(
        dsn, 1, "state = 'idle' AND query = 'SHOW transaction_read_only'", doing="for a ping"
    )


async def sessions(dsn: str, count: int, which: str, *, doing: str) -> None:
    """Wait until there are so many sessions of a kind in the test's own database."""
    question = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
    line = await asyncpg.connect(dsn)

    async def are_there() -> bool:
        return bool(await line.fetchval(question + which) == count)

    try:
        await eventually(are_there, doing=doing)
    finally:
        await line.close()


@contextlib.asynccontextmanager
async def admitting(server_port: int) -> AsyncIterator[int]:
    """Let clients in to a server that then answers none of them, as a pooler in front of it may."""

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
            forward(reader, far_writer, b"SELECT 1"), forward(far_reader, writer, b"no such word")
        )

    server = await asyncio.start_server(admit, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_server_that_lets_us_in_and_is_silent_keeps_no_line_of_ours(
    dsn: str, postgres_server: Postgres, database: Database
) -> None:
    """Each try is given up in time, and leaves nothing behind that would fill the server."""
    async with admitting(postgres_server.port) as port:
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

    assert took < NOTICED
    await eventually(is_gone, doing="for the lines to be closed", seconds=5)


async def test_what_is_under_way_on_a_frozen_server_fails_soon(
    far: Database, wire: TcpProxy, dsn: str
) -> None:
    """Statements, and those who wait for a connection, learn it long before their own timeouts."""
    under_way = [asyncio.create_task(seconds_to_fail(lambda: sleep_in(far))) for _ in range(2)]
    await at_work(dsn, 2)
    waiting = asyncio.create_task(seconds_to_fail(lambda: ask(far)))

    wire.freeze()

    assert max(await asyncio.gather(*under_way, waiting)) < NOTICED


async def test_a_call_to_a_frozen_server_fails_at_once(far: Database, wire: TcpProxy) -> None:
    """Once it is noticed, nobody waits any more, for a connection or for a line of its own."""
    await ask(far)
    wire.freeze()
    await seconds_to_fail(lambda: ask(far))

    for call in (lambda: ask(far), far.ping, far.dedicated):
        assert await seconds_to_fail(call) < AT_ONCE


async def test_a_server_that_thaws_is_used_again(far: Database, wire: TcpProxy) -> None:
    """The pool is opened again by itself."""
    wire.freeze()
    await eventually(lambda: is_away(far), doing="for the absence to be noticed")

    wire.thaw()

    await eventually(lambda: is_back(far), doing="for the return to be noticed", seconds=5)


async def test_a_server_that_refuses_is_away_at_once(far: Database, wire: TcpProxy) -> None:
    """The line that breaks is the sign; each try is logged, and so is the return."""
    with capture_logs() as lines:
        await wire.refuse()
        await eventually(lambda: is_away(far), doing="for the absence to be noticed")
        assert await seconds_to_fail(lambda: ask(far)) < AT_ONCE

        await wire.listen()
        await eventually(lambda: is_back(far), doing="for the return to be noticed", seconds=5)

    assert await logged(lines, "db_connection_failed")
    assert await logged(lines, "db_connected")


async def test_a_reset_fails_what_is_under_way_and_nothing_else(
    near: Database, wire: TcpProxy, dsn: str
) -> None:
    """Whoever asks anew is answered: the server is there."""
    under_way = [asyncio.create_task(seconds_to_fail(lambda: sleep_in(near))) for _ in range(2)]
    await at_work(dsn, 2)
    await pinging(dsn)  # a watchman who is reset while he dials takes it for an absence

    with capture_logs() as lines:
        await wire.reset()
        assert max(await asyncio.gather(*under_way)) < NOTICED
        await eventually(lambda: is_back(near), doing="for a new connection")

    assert not await logged(lines, "db_connection_failed")


async def test_a_pool_that_is_merely_full_is_not_away(dsn: str) -> None:
    """Who finds no connection is told so; those who have one keep it."""
    impatient = PATIENT.model_copy(update={"connect_timeout": 0.3})
    async with watched(dsn, impatient) as busy, busy.connection() as one, busy.connection() as two:
        with pytest.raises(DatabaseUnavailable, match="no connection free"):
            await ask(busy)

        assert await one.fetchval("SELECT 1") == await two.fetchval("SELECT 1") == 1
        await eventually(lambda: pinged(busy), doing="for the server to be known to be there")


async def pinged(database: Database) -> bool:
    """Tell whether a database says that it is there."""
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
async def test_one_failure_does_not_mean_away(near: Database, statement: str) -> None:
    """A conflict or a cancelled statement concerns its caller alone."""
    async with near.connection() as other:
        async with asyncio.timeout(NOTICED):
            with pytest.raises(DatabaseUnavailable):
                async with near.connection() as connection:
                    await connection.execute(statement)
        await asyncio.sleep(3 * SETTINGS.ping_interval)

        assert await other.fetchval("SELECT 1") == 1
    await ask(near)


@pytest.fixture
async def guest(database: Database, dsn: str) -> str:
    """Name the test's own database as a user sees it whose rights a test may change."""
    async with database.connection() as connection:
        name = "guest_of_" + await connection.fetchval("SELECT current_database()")
        await connection.execute(f"CREATE ROLE {name} LOGIN")
    return dsn.replace("postgres@", f"{name}@")


def name_in(dsn: str) -> str:
    """Return whom a DSN names."""
    return urlsplit(dsn).username or ""


async def test_a_server_that_lets_us_in_no_longer_is_tried_again(
    guest: str, database: Database, dsn: str
) -> None:
    """A password that was changed is no reason to die: somebody may change it back."""
    async with watched(guest) as locked_out:
        async with database.connection() as admin:
            await admin.execute(f"ALTER ROLE {name_in(guest)} NOLOGIN")
        await PostgresConnections(dsn).cut()
        await eventually(lambda: is_away(locked_out), doing="for the refusal to be noticed")
        await asyncio.sleep(1)
        assert await seconds_to_fail(lambda: ask(locked_out)) < AT_ONCE

        async with database.connection() as admin:
            await admin.execute(f"ALTER ROLE {name_in(guest)} LOGIN")
        await eventually(lambda: is_back(locked_out), doing="for the return", seconds=5)


async def test_a_full_server_is_not_away(guest: str, database: Database) -> None:
    """Those who are in are served; who would come in is told to come again."""
    async with watched(guest, PATIENT) as crowded, crowded.connection() as inside:
        await asyncio.sleep(3 * SETTINGS.ping_interval)  # the watchman is in
        async with database.connection() as admin:
            await admin.execute(f"ALTER ROLE {name_in(guest)} CONNECTION LIMIT 1")

        assert await seconds_to_fail(lambda: ask(crowded)) < NOTICED
        await asyncio.sleep(3 * SETTINGS.ping_interval)

        assert await inside.fetchval("SELECT 1") == 1


async def test_a_stranger_on_the_servers_port_is_survived(far: Database, wire: TcpProxy) -> None:
    """Whatever answers there, it is waited for until PostgreSQL does."""

    async def be_rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    await wire.refuse()
    async with await asyncio.start_server(be_rude, "127.0.0.1", wire.port):
        await eventually(lambda: is_away(far), doing="for the absence to be noticed")
        await asyncio.sleep(1)
        assert await is_away(far)

    await wire.listen()

    await eventually(lambda: is_back(far), doing="for the return to be noticed", seconds=8)


async def test_a_consumer_learns_that_a_frozen_server_has_gone(
    far: Database, wire: TcpProxy
) -> None:
    """It must not believe in messages whose line is gone: another consumer gets them."""
    broker = PostgresBroker(far, QUICK_RETRIES)
    order = make_order_message()
    await broker.publish([order])
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        held = await take_one(cook)
        wire.freeze()
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(anext(aiter(cook)), NOTICED)

    wire.thaw()
    await eventually(lambda: is_back(far), doing="for the return to be noticed", seconds=5)

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        assert await take_and_ack(cook, 1) == [order]
        with pytest.raises(BrokerUnavailable):
            await held.ack()
