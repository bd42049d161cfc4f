"""Watchers of the load generator: open the board, and note when the last of them has seen a change.

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
AT_ONCE = 100  # who come through the door together
SPARE = 500  # files that a process has open besides its lines


def room_for(lines: int) -> None:
    """Allow this process, and those that it starts from now on, so many lines."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = lines + SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else max(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, limit))


class LiveViewClientPool:
    """Everyone who watches."""

    def __init__(self, size: int) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._size = size
        self._seated = 0
        self._seen = 0

    def took_seat(self) -> None:
        """Note that one more has the board before it."""
        self._seated += 1
        if self._seated == self._size:
            say("watching")

    def saw(self) -> None:
        """Note that one more has seen a change; the next one comes when all have seen this one."""
        self._seen += 1
        if self._seen % self._size == 0:
            say(repr(time.monotonic()))

    def fail(self, reason: object) -> None:
        """End everything: one who does not watch measures nothing."""
        if not self.failed.done():
            self.failed.set_exception(WrongResponse(f"a watcher was sent away: {reason}"))


class LiveViewClient(asyncio.Protocol):
    """One line, on which the board is watched."""

    def __init__(self, audience: LiveViewClientPool) -> None:
        self._audience = audience
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the board."""
        cast("asyncio.WriteTransport", transport).write(WATCH)  # TCP is; uvloop has its own

    def data_received(self, data: bytes) -> None:
        """Read events, or a part of one."""
        *events, self._unread = (self._unread + data).split(END)
        for event in events:
            if CHANGE in event:
                self._audience.saw()
            elif SNAPSHOT in event:
                self._audience.took_seat()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so."""
        self._audience.fail(exc or self._unread[:500])


async def _main(port: int, size: int) -> None:
    room_for(size)
    loop, audience = asyncio.get_running_loop(), LiveViewClientPool(size)
    for first in range(0, size, AT_ONCE):
        lines = range(min(AT_ONCE, size - first))
        connecting = (
            loop.create_connection(lambda: LiveViewClient(audience), "127.0.0.1", port)
            for _ in lines
        )
        await asyncio.gather(*connecting)
    await audience.failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.live_view_clients", description=__doc__)
    parser.add_argument("port", type=int, help="of 127.0.0.1")
    parser.add_argument("watchers", type=int)
    arguments = parser.parse_args()
    try:
        uvloop.run(_main(arguments.port, arguments.watchers))
    except (OSError, WrongResponse) as error:
        sys.exit(f"benchmarks.live_view_clients: {error}")
