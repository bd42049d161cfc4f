"""Limit the connections of an address, hold requests to deadlines, and close idle connections."""

import heapq
import ipaddress
import os
from collections import Counter
from typing import Protocol

from restaurant_system.config import HttpSettings
from restaurant_system.web.file_descriptors import ThrottledLog

TRUSTED = "FORWARDED_ALLOW_IPS"  # uvicorn's own variable
SHARE = 64  # at least one of so many idle connections is closed at once, as each look costs time

refused = ThrottledLog(
    "connection_refused",
    "A client has too many connections (http.connections_per_address); more are refused."
    f" A proxy's address belongs into {TRUSTED}.",
)


class Connection(Protocol):
    """What is known here of a connection."""

    idle_since: float

    def is_idle(self) -> bool:
        """Tell whether the client is waiting for nothing."""

    def is_streaming(self) -> bool:
        """Tell whether a response has been going on for a while."""

    def check_deadline(self, now: float) -> None:
        """Refuse a request that is still incomplete at its deadline."""

    def abandon(self) -> None:
        """Close without a response."""


class Connections:
    """The open connections of one server."""

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self._trusted = TrustedProxies(os.environ.get(TRUSTED, "127.0.0.1,::1"))
        self._open: set[Connection] = set()
        self._closing: set[Connection] = set()
        self._by_address: Counter[str] = Counter()

    def add(self, connection: Connection, address: str) -> bool:
        """Count a connection; return whether its address may have one more.

        Trusted proxies may have any number: they connect for many clients.
        """
        self._open.add(connection)
        self._by_address[address] += 1
        most = self.settings.connections_per_address
        if not most or self._by_address[address] <= most or address in self._trusted:
            return True
        refused.warn()
        return False

    def remove(self, connection: Connection, address: str) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        self._closing.discard(connection)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def check_deadlines(self, now: float) -> None:
        """Refuse every request that is still incomplete at its deadline."""
        for connection in tuple(self._open):
            connection.check_deadline(now)

    def close_longest_idle(self, number: int) -> bool:
        """Close so many connections, those that have been idle longest; then streams.

        A browser opens a stream again by itself. Connections that are being closed already count
        among them. Returns whether so many are being closed.
        """
        wanted = number
        if number > len(self._closing):
            idle = [connection for connection in self._open if connection.is_idle()]
            number = max(number - len(self._closing), len(idle) // SHARE)
            closed = heapq.nsmallest(number, idle, key=_since)
            if len(closed) < number:
                streams = [connection for connection in self._open if connection.is_streaming()]
                closed += heapq.nsmallest(number - len(closed), streams, key=_since)
            for connection in closed:
                self._closing.add(connection)
                connection.abandon()
        return len(self._closing) >= wanted


def _since(connection: Connection) -> float:
    return connection.idle_since


class TrustedProxies:
    """Addresses and networks as `FORWARDED_ALLOW_IPS` names them; `*` means every address."""

    def __init__(self, stated: str) -> None:
        parts = [part.strip() for part in stated.split(",") if part.strip()]
        self._trusts_all = "*" in parts
        self._networks = [network for part in parts if (network := _network(part)) is not None]

    def __contains__(self, address: str) -> bool:
        """Tell whether an address is trusted; a peer without one is local (a Unix socket)."""
        if self._trusts_all or not address:
            return True
        host = ipaddress.ip_address(address.partition("%")[0])
        return any(host in network for network in self._networks)


def _network(stated: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return a network, `None` for what is no address (uvicorn takes any other text literally)."""
    try:
        return ipaddress.ip_network(stated, strict=False)
    except ValueError:
        return None
