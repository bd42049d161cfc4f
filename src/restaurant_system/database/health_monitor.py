"""Detect within seconds that the database server has become unavailable, by pings."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from restaurant_system.errors import DatabaseReadOnly, DatabaseUnavailable

T = TypeVar("T")

TIMEOUT_SLICES = 10


class HealthCheckConnection(Protocol):
    """A connection that is used for health checks only."""

    async def ping(self) -> None:
        """Wait until PostgreSQL has answered; raise `DatabaseUnavailable` if it does not."""

    def terminate(self) -> None:
        """Close the connection without waiting for PostgreSQL."""


class HealthMonitor:
    """Pings the server every `interval` seconds, and at once after `check_now`.

    A broken connection alone does not make the server unavailable: somebody may have closed just
    that one. A server that accepts a new connection, or has none free (`connect` returns `None`),
    is available. One that refuses it, does not answer within `timeout` seconds, or is read-only for
    a session that must write, is not.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[HealthCheckConnection | None]],
        *,
        interval: float,
        timeout: float,
    ) -> None:
        self._connect = connect
        self._interval = interval
        self._timeout = timeout
        self.latency: float | None = None  # s that the last ping took
        self._connection: HealthCheckConnection | None = None
        self._wake_up = asyncio.Event()
        self._reported: DatabaseUnavailable | None = None

    def report_unavailable(self, error: DatabaseUnavailable) -> None:
        """Declare PostgreSQL unavailable: a statement has shown that no connection works."""
        self._reported = error
        self._wake_up.set()

    def check_now(self) -> None:
        """Ping PostgreSQL now, before the interval ends."""
        self._wake_up.set()

    async def wait_until_unavailable(self) -> DatabaseUnavailable:
        """Wait until PostgreSQL is unavailable; return the reason.

        Earlier reports are dropped, because they are about connections that were closed since.
        """
        self._reported = None
        while True:
            if self._reported is not None:
                reported, self._reported = self._reported, None
                self.close()
                return reported
            try:
                await wait_for_answer(self._check(), self._timeout)
            except DatabaseUnavailable as error:
                self.close()
                return error
            except TimeoutError:
                self.close()
                return DatabaseUnavailable(f"The database has not answered for {self._timeout:g} s")
            await self._sleep()

    def close(self) -> None:
        """Close the connection without waiting for PostgreSQL."""
        self.latency = None
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _check(self) -> None:
        if self._connection is not None:
            try:
                await self._ping(self._connection)
            except DatabaseReadOnly:
                raise
            except DatabaseUnavailable:
                self.close()
            else:
                return
        self._connection = await self._connect()

    async def _ping(self, connection: HealthCheckConnection) -> None:
        start = time.perf_counter()
        await connection.ping()
        self.latency = time.perf_counter() - start

    async def _sleep(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval):
                await self._wake_up.wait()
        self._wake_up.clear()


async def wait_for_answer(answer: Coroutine[Any, Any, T], seconds: float) -> T:
    """Return the result of `answer`; raise `TimeoutError` if it takes too long."""
    task = asyncio.create_task(answer)
    try:
        if await ends_within(task, seconds):
            return task.result()
        raise TimeoutError
    finally:
        task.cancel()


async def ends_within(task: "asyncio.Task[Any]", seconds: float) -> bool:
    """Return whether a task ends in time.

    The `seconds` are waited for in slices, so that time in which this process was blocked does not
    count: an answer that arrived meanwhile is read before the server is declared unavailable.
    """
    for _ in range(TIMEOUT_SLICES):
        await asyncio.wait({task}, timeout=seconds / TIMEOUT_SLICES)
        if task.done():
            return True
    return False
