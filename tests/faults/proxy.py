"""A TCP line between a service and a server, which can be cut, slowed and torn."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

CHUNK = 65_536
# Close with a reset, as a line does that breaks, rather than with a goodbye.
RESET = struct.pack("ii", 1, 0)


class Line:
    """Forwards every connection to a server on the loopback interface."""

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self._server_port = server_port
        self._open: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._delay = 0.0

    @contextlib.asynccontextmanager
    async def forwarding(self) -> AsyncIterator[None]:
        """Forward for as long as the block lasts."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            self.reset()

    async def cut(self, seconds: float) -> None:
        """Break every connection, and each new one, for a while."""
        self._is_cut = True
        self.reset()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._is_cut = False

    async def slow_down(self, seconds: float, delay: float) -> None:
        """Hold up whatever passes by `delay` seconds, for a while."""
        self._delay = delay
        try:
            await asyncio.sleep(seconds)
        finally:
            self._delay = 0.0

    def reset(self) -> None:
        """Break every connection that is open now."""
        for writer in self._open:
            _break(writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            _break(writer)
            return
        try:
            onward = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            _break(writer)
            return
        ends = {writer, onward[1]}
        self._open |= ends
        try:
            await asyncio.gather(self._pump(reader, onward[1]), self._pump(onward[0], writer))
        finally:
            self._open -= ends

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                sink.write(chunk)
                await sink.drain()
        with contextlib.suppress(OSError):
            sink.close()


def _break(writer: asyncio.StreamWriter) -> None:
    end: socket.socket | None = writer.get_extra_info("socket")
    if end is not None:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
