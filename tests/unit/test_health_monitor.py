"""When a server counts as away; the server is a fake, for whom a test decides."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from restaurant_system.database.health_monitor import HealthMonitor, patiently
from restaurant_system.errors import DatabaseUnavailable
from tests.support.waiting import eventually

SOON = 0.02  # s
NEVER = 3600.0  # s
LONG_ENOUGH = 5  # s; only a test that fails ever waits so long


class FakeServer:
    """Answers, breaks, refuses or is silent; counts what it is asked."""

    def __init__(self) -> None:
        self.pings = 0
        self.dialled = 0
        self.breaks = False
        self.refuses = False
        self.full = False
        self.silent = False
        self.hung_up = 0

    async def dial(self) -> "FakeServer | None":
        """Let the watchman in, or not."""
        self.dialled += 1
        if self.refuses:
            raise DatabaseUnavailable("Connection refused")
        await self._be_silent_if_need_be()
        return None if self.full else self

    async def ping(self) -> None:
        """Answer, or not."""
        self.pings += 1
        if self.breaks:
            raise DatabaseUnavailable("The line broke")
        await self._be_silent_if_need_be()

    async def retry_refused(self) -> None:
        """Refuse nothing."""

    def hang_up(self) -> None:
        """Remember that the line was dropped."""
        self.hung_up += 1

    async def _be_silent_if_need_be(self) -> None:
        if self.silent:
            await asyncio.Event().wait()


async def until(what: Callable[[], bool]) -> None:
    """Wait until this comes true."""

    async def is_true() -> bool:
        return what()

    await eventually(is_true, doing="for the watchman", seconds=LONG_ENOUGH)


async def in_time(answer: Awaitable[DatabaseUnavailable]) -> str:
    """Return why the watchman holds the server for away."""
    return str(await asyncio.wait_for(answer, LONG_ENOUGH))


def make_watchman(
    server: FakeServer, *, interval: float = 0.001, patience: float = 1
) -> HealthMonitor:
    """Set a watchman before this server."""
    return HealthMonitor(server.dial, interval=interval, patience=patience)


async def test_a_server_that_answers_is_there() -> None:
    """It is asked again and again, on one line."""
    server = FakeServer()
    watching = asyncio.create_task(make_watchman(server).until_away())

    await until(lambda: server.pings > 20)

    assert not watching.done()
    assert server.dialled == 1
    watching.cancel()


async def test_a_server_that_is_silent_is_away() -> None:
    """Its line is dropped, for whatever comes by it is too late."""
    server = FakeServer()
    watching = asyncio.create_task(make_watchman(server, patience=SOON).until_away())
    await until(lambda: server.pings > 0)

    server.silent = True

    assert await in_time(watching) == "The database has not answered for 0.02 s"
    assert server.hung_up == 1


async def test_a_server_that_refuses_is_away() -> None:
    """What it says is the reason."""
    server = FakeServer()
    server.refuses = True

    assert await in_time(make_watchman(server).until_away()) == "Connection refused"


async def test_a_line_that_broke_proves_nothing() -> None:
    """Whoever is let in on a new line has found the server."""
    server = FakeServer()
    watching = asyncio.create_task(make_watchman(server).until_away())
    await until(lambda: server.pings > 0)

    server.breaks = True
    await until(lambda: server.dialled > 5)

    assert not watching.done()
    assert server.hung_up >= server.dialled - 1
    watching.cancel()


async def test_a_full_server_is_there() -> None:
    """Those who are in already are served; so nothing may be taken from them."""
    server = FakeServer()
    server.full = True
    watching = asyncio.create_task(make_watchman(server).until_away())

    await until(lambda: server.dialled > 5)

    assert not watching.done()
    watching.cancel()


async def test_a_nudge_is_a_reason_to_look_at_once() -> None:
    """Nobody waits for the next round when somebody has met an error."""
    server = FakeServer()
    watchman = make_watchman(server, interval=NEVER)
    watching = asyncio.create_task(watchman.until_away())
    await until(lambda: server.dialled == 1)
    server.breaks = server.refuses = True

    watchman.nudge()

    assert await in_time(watching) == "Connection refused"


async def test_reported_error_makes_a_server_away_that_answers() -> None:
    """A statement can prove what a ping on another connection cannot."""
    server = FakeServer()
    watchman = make_watchman(server, interval=NEVER)
    watching = asyncio.create_task(watchman.until_away())
    await until(lambda: server.dialled == 1)

    watchman.report(DatabaseUnavailable("PostgreSQL is read-only"))

    assert await in_time(watching) == "PostgreSQL is read-only"


async def test_an_error_of_our_own_is_loud() -> None:
    """What is no absence is not taken for one."""
    server = FakeServer()

    async def dial() -> FakeServer:
        raise ZeroDivisionError

    server.dial = dial  # type: ignore[method-assign]

    with pytest.raises(ZeroDivisionError):
        await in_time(make_watchman(server).until_away())


async def test_our_own_lateness_is_not_the_servers() -> None:
    """Time in which our own loop was held up does not count against an answer that came."""

    async def answer() -> str:
        coming = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.05, coming.set_result, "here")
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - the very fault that is meant
        return str(await coming)

    assert await patiently(answer(), 0.2) == "here"


async def test_patience_ends() -> None:
    """An answer that does not come is not waited for."""
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        await patiently(asyncio.sleep(NEVER), 0.1)

    assert 0.09 <= time.monotonic() - started < LONG_ENOUGH
