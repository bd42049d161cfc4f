"""When the health monitor declares a server unavailable; the server is a fake."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from restaurant_system.database.health_monitor import HealthMonitor, wait_for_answer
from restaurant_system.errors import DatabaseUnavailable
from tests.support.waiting import eventually

SHORT = 0.02  # s
NEVER = 3600.0  # s
TEST_TIMEOUT = 5  # s; only a failing test waits this long


class FakeServer:
    """Answers, breaks, refuses or does not answer; counts connections and pings."""

    def __init__(self) -> None:
        self.pings = 0
        self.connections = 0
        self.terminated = 0
        self.breaks = False
        self.refuses = False
        self.full = False
        self.silent = False

    async def connect(self) -> "FakeServer | None":
        """Return a connection, or fail as the fake server is set."""
        self.connections += 1
        if self.refuses:
            raise DatabaseUnavailable("Connection refused")
        await self._wait_if_silent()
        return None if self.full else self

    async def ping(self) -> None:
        """Answer a ping, or fail as the fake server is set."""
        self.pings += 1
        if self.breaks:
            raise DatabaseUnavailable("The connection broke")
        await self._wait_if_silent()

    def terminate(self) -> None:
        """Count that the connection was closed."""
        self.terminated += 1

    async def _wait_if_silent(self) -> None:
        if self.silent:
            await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true."""

    async def is_true() -> bool:
        return condition()

    await eventually(is_true, doing="for the health monitor", seconds=TEST_TIMEOUT)


async def reason(unavailable: Awaitable[DatabaseUnavailable]) -> str:
    """Return the reason for which the monitor declares the server unavailable."""
    return str(await asyncio.wait_for(unavailable, TEST_TIMEOUT))


def make_monitor(
    server: FakeServer, *, interval: float = 0.001, timeout: float = 1
) -> HealthMonitor:
    """Return a monitor of this server."""
    return HealthMonitor(server.connect, interval=interval, timeout=timeout)


async def test_server_that_answers_stays_available() -> None:
    """All pings of an available server use one connection."""
    server = FakeServer()
    monitoring = asyncio.create_task(make_monitor(server).wait_until_unavailable())

    await until(lambda: server.pings > 20)

    assert not monitoring.done()
    assert server.connections == 1
    monitoring.cancel()


async def test_server_that_does_not_answer_in_time_is_unavailable() -> None:
    """The connection of a server that does not answer in time is terminated."""
    server = FakeServer()
    monitoring = asyncio.create_task(make_monitor(server, timeout=SHORT).wait_until_unavailable())
    await until(lambda: server.pings > 0)

    server.silent = True

    assert await reason(monitoring) == "The database has not answered for 0.02 s"
    assert server.terminated == 1


async def test_server_that_refuses_the_connection_is_unavailable() -> None:
    """The monitor reports the server's error as the reason."""
    server = FakeServer()
    server.refuses = True

    assert await reason(make_monitor(server).wait_until_unavailable()) == "Connection refused"


async def test_server_stays_available_when_a_connection_breaks() -> None:
    """The monitor connects again, which succeeds."""
    server = FakeServer()
    monitoring = asyncio.create_task(make_monitor(server).wait_until_unavailable())
    await until(lambda: server.pings > 0)

    server.breaks = True
    await until(lambda: server.connections > 5)

    assert not monitoring.done()
    assert server.terminated >= server.connections - 1
    monitoring.cancel()


async def test_server_without_a_free_connection_stays_available() -> None:
    """Open connections still work if the server has no free one."""
    server = FakeServer()
    server.full = True
    monitoring = asyncio.create_task(make_monitor(server).wait_until_unavailable())

    await until(lambda: server.connections > 5)

    assert not monitoring.done()
    monitoring.cancel()


async def test_check_now_pings_before_the_interval_ends() -> None:
    """An error elsewhere leads to a ping at once."""
    server = FakeServer()
    monitor = make_monitor(server, interval=NEVER)
    monitoring = asyncio.create_task(monitor.wait_until_unavailable())
    await until(lambda: server.connections == 1)
    server.breaks = server.refuses = True

    monitor.check_now()

    assert await reason(monitoring) == "Connection refused"


async def test_reported_error_makes_a_server_unavailable_that_answers_pings() -> None:
    """A statement on another connection can show what a ping cannot."""
    server = FakeServer()
    monitor = make_monitor(server, interval=NEVER)
    monitoring = asyncio.create_task(monitor.wait_until_unavailable())
    await until(lambda: server.connections == 1)

    monitor.report_unavailable(DatabaseUnavailable("PostgreSQL is read-only"))

    assert await reason(monitoring) == "PostgreSQL is read-only"


async def test_report_from_before_the_server_was_unavailable_is_dropped() -> None:
    """A report from before the outage is dropped: its connection was closed with all others."""
    server = FakeServer()
    server.refuses = True
    monitor = make_monitor(server, interval=NEVER)
    monitoring = asyncio.create_task(monitor.wait_until_unavailable())
    await until(lambda: server.connections == 1)
    monitor.report_unavailable(DatabaseUnavailable("PostgreSQL is read-only"))
    assert await reason(monitoring) == "Connection refused"

    server.refuses = False
    monitoring = asyncio.create_task(monitor.wait_until_unavailable())
    await until(lambda: server.connections == 2)

    assert not monitoring.done()
    monitoring.cancel()


async def test_unexpected_error_of_a_health_check_is_raised() -> None:
    """A programming error does not count as an unavailable server."""

    async def connect() -> FakeServer:
        raise ZeroDivisionError

    monitor = HealthMonitor(connect, interval=NEVER, timeout=1)

    with pytest.raises(ZeroDivisionError):
        await reason(monitor.wait_until_unavailable())


async def test_time_in_which_the_event_loop_was_blocked_does_not_count() -> None:
    """An answer that arrived while the loop was blocked is still read."""

    async def answer() -> str:
        arriving = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.05, arriving.set_result, "here")
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - blocks the loop on purpose
        return str(await arriving)

    assert await wait_for_answer(answer(), 0.2) == "here"


async def test_wait_for_answer_times_out() -> None:
    """A missing answer raises `TimeoutError` after the timeout."""
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        await wait_for_answer(asyncio.sleep(NEVER), 0.1)

    assert 0.09 <= time.monotonic() - started < TEST_TIMEOUT
