"""Send bytes to an HTTP server unchanged, and read its responses."""

import asyncio
import contextlib
import socket
from typing import Self

import httpx

EMPTY_LINE = b"\r\n\r\n"


class RawConnection:
    """A connection on which bytes are sent unchanged; the server may reset it."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._received = b""

    @classmethod
    async def to(cls, url: str, source: str = "127.0.0.1") -> Self:
        """Connect from an address of this machine."""
        connection = socket.socket()
        connection.bind((source, 0))
        connection.setblocking(False)  # noqa: FBT003 - the standard library's own
        address = httpx.URL(url).host, httpx.URL(url).port
        await asyncio.get_running_loop().sock_connect(connection, address)
        return cls(connection)

    async def write(self, *parts: bytes) -> None:
        """Send; a server that has closed is no error."""
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self._socket, b"".join(parts))

    async def response(self, seconds: float = 5, *, is_head: bool = False) -> httpx.Response:
        """Read the next response; raises `TimeoutError`, or `ConnectionError` if there is none."""
        async with asyncio.timeout(seconds):
            while EMPTY_LINE not in self._received:
                await self._receive_more()
            head, _, self._received = self._received.partition(EMPTY_LINE)
            status, *lines = head.decode("latin-1").split("\r\n")
            parts = [line.partition(": ") for line in lines]
            headers = httpx.Headers([(name, value) for name, _, value in parts])
            length = 0 if is_head else int(headers.get("Content-Length", 0))
            while len(self._received) < length:
                await self._receive_more()
        body, self._received = self._received[:length], self._received[length:]
        return httpx.Response(int(status.split()[1]), headers=headers, content=body)

    async def is_closed(self, seconds: float = 3) -> bool:
        """Tell whether nothing more comes before the connection is closed, within this time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return not self._received and not await self._receive()
        return False

    async def ends(self, seconds: float = 3) -> bool:
        """Tell whether the connection is closed within this time, whatever comes before."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._receive():
                    pass
                return True
        return False

    def close(self) -> None:
        """Close."""
        self._socket.close()

    async def _receive_more(self) -> None:
        if not await self._receive():
            raise ConnectionError("The connection was closed without a response.")

    async def _receive(self) -> bytes:
        with contextlib.suppress(ConnectionError):
            received = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
            self._received += received
            return received
        return b""
