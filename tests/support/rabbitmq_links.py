"""Connect the nodes of a RabbitMQ cluster, if so through TCP proxies that a test can cut."""

import asyncio
import contextlib
import itertools
import socket
import struct
import subprocess
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

# A request of epmd's protocol (Erlang's documentation, "Distribution Protocol"): a normal node of
# IPv4, with the versions 5 and 6 of the protocol between nodes. It ends with the connection.
ALIVE = struct.Struct(">BHBBHHH")
ALIVE_REQUEST, NORMAL_NODE, IPV4, HIGHEST, LOWEST = 120, 77, 0, 6, 5
LENGTH = struct.Struct(">H")
REGISTERED = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The name of a node without its host, the port where others reach it, and its own epmd."""

    name: str
    distribution: int
    epmd: int


class ClusterLinks:
    """Lets each node find the others in its own epmd, and forwards the connections between them.

    Each pair of nodes has two proxies, which are registered under the names of the nodes. Without
    `proxies` the nodes connect directly, which takes less processor time.
    """

    def __init__(self, endpoints: Sequence[Endpoint], *, proxies: bool) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._name_servers = [_start_epmd(each.epmd) for each in endpoints]
        self._registrations: list[socket.socket] = []
        self._proxies: dict[frozenset[str], list[TcpProxy]] = {}
        for source, target in itertools.permutations(endpoints, 2):
            port = target.distribution
            if proxies:
                proxy = TcpProxy(port)
                self._run(proxy.listen())
                self._proxies.setdefault(frozenset((source.name, target.name)), []).append(proxy)
                port = proxy.port
            self._registrations.append(_register(target.name, port, source.epmd))

    def isolate(self, name: str) -> None:
        """Cut the connections between a node and the others; its clients keep theirs."""
        for proxy in self._of(name):
            self._run(proxy.refuse())

    def rejoin(self, name: str) -> None:
        """Allow connections between a node and the others again."""
        for proxy in self._of(name):
            self._run(proxy.listen())

    def close(self) -> None:
        """Close all connections, and stop epmd."""
        for proxies in self._proxies.values():
            for proxy in proxies:
                self._run(proxy.refuse())
        for registration in self._registrations:
            registration.close()
        for process in self._name_servers:
            process.kill()
            process.wait()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _of(self, name: str) -> list[TcpProxy]:
        pairs = self._proxies.items()
        return [proxy for pair, proxies in pairs if name in pair for proxy in proxies]

    def _run(self, call: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(call, self._loop).result()


def _start_epmd(port: int) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(  # noqa: S603 - a name server of our own, on our own port
        ["epmd", "-port", str(port), "-address", "127.0.0.1"],  # noqa: S607
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: _accepts(port), seconds=10, doing="for epmd")
    return process


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _register(name: str, port: int, epmd: int) -> socket.socket:
    """Register a node in an epmd for as long as the returned connection is open."""
    encoded = name.encode()
    request = ALIVE.pack(ALIVE_REQUEST, port, NORMAL_NODE, IPV4, HIGHEST, LOWEST, len(encoded))
    request += encoded + LENGTH.pack(0)
    connection = socket.create_connection(("127.0.0.1", epmd))
    connection.sendall(LENGTH.pack(len(request)) + request)
    _, result = connection.recv(2)
    assert result == REGISTERED
    return connection
