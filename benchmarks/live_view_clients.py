"""Open many live views of the board, and print when the last one has received a change.

Runs as a separate process. It prints the line `connected` once all clients have received the board,
and then, for each change, the time (monotonic, in s) at which the last client has received it.
"""

import argparse
import asyncio
import resource
import sys
import time
from typing import cast

import uvloop

from benchmarks.clients import WrongResponse
from benchmarks.loops import print_line

REQUEST = b"GET /live/board HTTP/1.1\r\nHost: localhost\r\n\r\n"
SNAPSHOT, CHANGE = b"event: snapshot", b"event: change"
END = b"\n\n"  # of an event
CONCURRENT_CONNECTS = 100  # connections that are opened at the same time
SPARE = 500  # files that a process has open in addition to its connections


def raise_descriptor_limit(connections: int) -> None:
    """Raise the limit of file descriptors of this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else max(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, limit))


class LiveViewClientPool:
    """All clients of the pickup board, and how many of them have received its events."""

    def __init__(self, size: int) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._size = size
        self._connected = 0
        self._changes = 0

    def snapshot_received(self) -> None:
        """Count a client that has received the board."""
        self._connected += 1
        if self._connected == self._size:
            print_line("connected")

    def change_received(self) -> None:
        """Count a client that has received a change."""
        self._changes += 1
        if self._changes % self._size == 0:
            print_line(repr(time.monotonic()))

    def fail(self, reason: object) -> None:
        """Fail the benchmark run: a client lost its connection."""
        if not self.failed.done():
            self.failed.set_exception(WrongResponse(f"the service closed a live view: {reason}"))


class LiveViewClient(asyncio.Protocol):
    """One connection that receives the board's events."""

    def __init__(self, pool: LiveViewClientPool) -> None:
        self._pool = pool
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Request the live view of the pickup board."""
        cast("asyncio.WriteTransport", transport).write(REQUEST)  # TCP is; uvloop has its own

    def data_received(self, data: bytes) -> None:
        """Parse the received server-sent events."""
        *events, self._unread = (self._unread + data).split(END)
        for event in events:
            if CHANGE in event:
                self._pool.change_received()
            elif SNAPSHOT in event:
                self._pool.snapshot_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the benchmark run: no client may lose its connection."""
        self._pool.fail(exc or self._unread[:500])


async def _main(port: int, size: int) -> None:
    raise_descriptor_limit(size)
    loop, pool = asyncio.get_running_loop(), LiveViewClientPool(size)
    for first in range(0, size, CONCURRENT_CONNECTS):
        batch = range(min(CONCURRENT_CONNECTS, size - first))
        connecting = (
            loop.create_connection(lambda: LiveViewClient(pool), "127.0.0.1", port) for _ in batch
        )
        await asyncio.gather(*connecting)
    await pool.failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.live_view_clients", description=__doc__)
    parser.add_argument("port", type=int, help="port of the service on 127.0.0.1")
    parser.add_argument("clients", type=int)
    arguments = parser.parse_args()
    try:
        uvloop.run(_main(arguments.port, arguments.clients))
    except (OSError, WrongResponse) as error:
        sys.exit(f"benchmarks.live_view_clients: {error}")
