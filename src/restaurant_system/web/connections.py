"""Limit the connections of an address, hold requests to deadlines, and close idle connections."""

import asyncio
import heapq
import socket
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from restaurant_system.config import HttpSettings
from restaurant_system.web import file_descriptors
from restaurant_system.web.client_address import ClientAddresses
from restaurant_system.web.file_descriptors import ThrottledLog

SHARE = 64  # one of so many idle connections, or more, is closed at once, as each search costs time
SHORTEST_IDLE_TIME = 0.1  # s after which an idle connection is closed rather than a stream
LONGEST_CHECK_INTERVAL = 1.0  # s between two checks of the deadlines

refused = ThrottledLog(
    "connection_refused",
    "A client has too many connections (http.connections_per_address); more are refused."
    " If it is a proxy, add its address to security.trusted_proxies.",
)


class Connection(Protocol):
    """The interface of a connection that `Connections` counts, limits and closes."""

    idle_since: float

    def is_idle(self) -> bool:
        """Tell whether the client waits for no response."""

    def is_streaming(self) -> bool:
        """Tell whether a response has been in progress for so long that it is a stream."""

    def check_deadline(self, now: float) -> None:
        """Refuse the request that is being read if its deadline has passed."""

    def abandon(self) -> None:
        """Close the connection without a response."""


class Connections:
    """The open connections of one server."""

    def __init__(self, settings: HttpSettings, addresses: ClientAddresses) -> None:
        self.settings = settings
        self._addresses = addresses
        self._open: set[Connection] = set()
        self._closing: set[Connection] = set()
        self._by_client: Counter[str] = Counter()

    def add(self, connection: Connection, address: str) -> bool:
        """Count a new connection; return whether its client is within its limit.

        Trusted proxies may have any number: they connect for many clients.
        """
        self._open.add(connection)
        client = self._addresses.limited_peer(address)
        if client is None:
            return True
        self._by_client[client] += 1
        most = self.settings.connections_per_address
        if not most or self._by_client[client] <= most:
            return True
        refused.warn()
        return False

    def remove(self, connection: Connection, address: str) -> None:
        """Remove a closed connection from the counts."""
        self._open.discard(connection)
        self._closing.discard(connection)
        client = self._addresses.limited_peer(address)
        if client is not None:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    async def enforce_deadlines(self) -> None:
        """Refuse, until cancelled, every request that is still incomplete at its deadline.

        One task for all connections: a timer for each request would cost more.
        """
        settings = self.settings
        pause = min(LONGEST_CHECK_INTERVAL, settings.head_timeout / 4, settings.body_timeout / 4)
        while True:
            await asyncio.sleep(pause)
            now = asyncio.get_running_loop().time()
            for connection in tuple(self._open):
                connection.check_deadline(now)

    def make_room(self, accepted: socket.socket) -> bool:
        """Close idle connections if a new one has used the reserve of file descriptors.

        `close_longest_idle` chooses them. Returns whether the reserve is kept.
        """
        missing = file_descriptors.missing(accepted.fileno())
        if not missing:
            return True
        file_descriptors.exhausted.warn()
        return self.close_longest_idle(missing)

    def close_longest_idle(self, number: int) -> bool:
        """Close the longest idle connections, then the longest streams.

        A browser opens a stream again by itself. Connections that were accepted a moment ago are
        closed last: their request may be on its way. Connections that are being closed already
        count. Returns whether so many are being closed.
        """
        wanted = number - len(self._closing)
        if wanted > 0:
            for connection in self._closable(wanted):
                self._closing.add(connection)
                connection.abandon()
        return len(self._closing) >= number

    def _closable(self, number: int) -> Iterable[Connection]:
        """Return connections to close: the longest idle first, then streams."""
        idle = [connection for connection in self._open if connection.is_idle()]
        number = max(number, len(idle) // SHARE)
        longest_idle = heapq.nsmallest(number, idle, key=_since)
        latest = asyncio.get_running_loop().time() - SHORTEST_IDLE_TIME
        found = [connection for connection in longest_idle if connection.idle_since < latest]
        if len(found) < number:
            streams = [connection for connection in self._open if connection.is_streaming()]
            found += heapq.nsmallest(number - len(found), streams, key=_since)
            found += [connection for connection in longest_idle if connection not in found]
        return found[:number]


def _since(connection: Connection) -> float:
    return connection.idle_since
