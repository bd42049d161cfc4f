"""Open many live views of the board, and print when the last one has received a change.

A process of its own. It prints a line `watching` once all have the board before them, and from then
on, for each change that all have seen, the time (monotonic, in seconds) when the last of them had.
"""

import argparse
import asyncio
import resource
import sys
import time
from typing import cast

import uvloop

from benchmarks.clients import WrongResponse
from benchmarks.loops import say

WATCH = b"GET /live/board HTTP/1.1\r\nHost: localhost\r\n\r\n"
SNAPSHOT, CHANGE = b"event: snapshot", b"event: change"
END = b"\n\n"  # of an event
AT_ONCE = 100  # connections that are opened at the same time
SPARE = 500  # files that a process has open in addition to its connections


def room_for(lines: int) -> None:
    """Raise the limit of file descriptors of this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = lines + SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else max(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, limit))


class LiveViewClientPool:
    """All clients of the board."""

    def __init__(self, size: int) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._size = size
        self._seated = 0
        self._seen = 0

    def took_seat(self) -> None:
        """Count a client that has received the board."""
        self._seated += 1
        if self._seated == self._size:
            say("watching")

    def saw(self) -> None:
        """Count a client that has received a change."""
        self._seen += 1
        if self._seen % self._size == 0:
            say(repr(time.monotonic()))

    def fail(self, reason: object) -> None:
        """Fail the run: a client lost its connection."""
        if not self.failed.done():
            self.failed.set_exception(WrongResponse(f"a watcher was sent away: {reason}"))


class LiveViewClient(asyncio.Protocol):
    """One connection that receives the board's events."""

    def __init__(self, pool: LiveViewClientPool) -> None:
        self._pool = pool
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Request the board."""
        cast("asyncio.WriteTransport", transport).write(WATCH)  # TCP is; uvloop has its own

    def data_received(self, data: bytes) -> None:
        """Parse received events."""
        *events, self._unread = (self._unread + data).split(END)
        for event in events:
            if CHANGE in event:
                self._pool.saw()
            elif SNAPSHOT in event:
                self._pool.took_seat()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the run."""
        self._pool.fail(exc or self._unread[:500])


async def _main(port: int, size: int) -> None:
    room_for(size)
    loop, pool = asyncio.get_running_loop(), LiveViewClientPool(size)
    for first in range(0, size, AT_ONCE):
        lines = range(min(AT_ONCE, size - first))
        connecting = (
            loop.create_connection(lambda: LiveViewClient(pool), "127.0.0.1", port) for _ in lines
        )
        await asyncio.gather(*connecting)
    await pool.failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.live_view_clients", description=__doc__)
    parser.add_argument("port", type=int, help="of 127.0.0.1")
    parser.add_argument("watchers", type=int)
    arguments = parser.parse_args()
    try:
        uvloop.run(_main(arguments.port, arguments.watchers))
    except (OSError, WrongResponse) as error:
        sys.exit(f"benchmarks.live_view_clients: {error}")
