"""Whether the server answers: pings on a line of their own, with short patience."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from restaurant_system.errors import DatabaseReadOnly, DatabaseUnavailable

T = TypeVar("T")

SLICES = 10  # into which patience is cut


class HealthCheckConnection(Protocol):
    """A line to the server, for pings alone."""

    async def ping(self) -> None:
        """Return once the server has answered; raises `DatabaseUnavailable` if the line broke."""

    async def retry_refused(self) -> None:
        """Try again what the server refused; raises likewise."""

    def hang_up(self) -> None:
        """Drop the line at once, whatever its state."""


class HealthMonitor:
    """Asks the server every `interval` seconds, and at every nudge, whether it is there.

    A line that broke proves nothing: somebody may have cut it. A server that lets us in anew, or is
    full (`dial` returns `None`), is there; one that refuses us, is silent for `patience` seconds,
    or is read-only for a session that must write, is not.
    """

    def __init__(
        self,
        dial: Callable[[], Awaitable[HealthCheckConnection | None]],
        *,
        interval: float,
        patience: float,
    ) -> None:
        self._dial = dial
        self._interval = interval
        self._patience = patience
        self.latency: float | None = None  # s that the last ping took
        self._line: HealthCheckConnection | None = None
        self._nudged = asyncio.Event()
        self._reported: DatabaseUnavailable | None = None

    def report(self, error: DatabaseUnavailable) -> None:
        """Declare the server away: a statement has proved that our connections are useless."""
        self._reported = error
        self._nudged.set()

    def nudge(self) -> None:
        """Ask now rather than at the next round: somebody has met an error."""
        self._nudged.set()

    async def until_away(self) -> DatabaseUnavailable:
        """Return, with the reason, once the server is not there."""
        while True:
            if self._reported is not None:
                reported, self._reported = self._reported, None
                self.close()
                return reported
            try:
                await patiently(self._ask(), self._patience)
            except (DatabaseUnavailable, TimeoutError) as error:
                self.close()
                silence = f"The database has not answered for {self._patience:g} s"
                return DatabaseUnavailable(str(error) or silence)
            await self._rest()

    def close(self) -> None:
        """Hang up."""
        self.latency = None
        if self._line is not None:
            self._line.hang_up()
            self._line = None

    async def _ask(self) -> None:
        if self._line is not None:
            try:
                await self._ping(self._line)
            except DatabaseReadOnly:
                raise
            except DatabaseUnavailable:
                self.close()
            else:
                return
        self._line = await self._dial()

    async def _ping(self, line: HealthCheckConnection) -> None:
        start = time.perf_counter()
        await line.ping()
        self.latency = time.perf_counter() - start
        await line.retry_refused()

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval):
                await self._nudged.wait()
        self._nudged.clear()


async def patiently(answer: Coroutine[Any, Any, T], seconds: float) -> T:
    """Wait for an answer; raises `TimeoutError` when it does not come in time.

    Time counts only while our own loop is awake, slice by slice: a process that was held up itself
    must first look at what has arrived meanwhile before it blames the server.
    """
    task = asyncio.create_task(answer)
    try:
        for _ in range(SLICES):
            await asyncio.wait({task}, timeout=seconds / SLICES)
            if task.done():
                return task.result()
        raise TimeoutError
    finally:
        task.cancel()
