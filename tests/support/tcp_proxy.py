"""Forward TCP between clients and a server, with faults on demand."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

ABORT = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: the peer receives RST instead of FIN
CHUNK = 65_536


class TcpProxy:
    """Forwards TCP; a test can refuse, pause, reset and delay connections."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay = 0.0
        self._pairs: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        """Accept connections on the same port as before."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Reset all connections, and refuse new ones, as if the server were down."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.reset()

    def pause(self) -> None:
        """Stop forwarding; new connections are accepted but not forwarded."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, beginning with the data that was held back."""
        self._flowing.set()

    def set_delay(self, delay: float) -> None:
        """Delay all data by `delay` seconds."""
        self._delay = delay

    def fail_over(self) -> None:
        """Forward new connections only; the existing ones stay paused."""
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def reset(self) -> None:
        """Reset all connections, and accept new ones."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            writer.transport.abort()
        for pair in tuple(self._pairs):
            pair.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = asyncio.current_task()
        assert pair is not None
        self._pairs.add(pair)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._forward(reader, writer)
        finally:
            self._pairs.discard(pair)
            self._writers.discard(writer)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward both ways until either side closes the connection."""
        flowing = self._flowing
        await flowing.wait()
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        ways = (
            asyncio.create_task(self._pump(reader, far_writer, flowing)),
            asyncio.create_task(self._pump(far_reader, writer, flowing)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> None:
        while data := await reader.read(CHUNK):
            await flowing.wait()
            await asyncio.sleep(self._delay)
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def proxy(target_port: int) -> AsyncIterator[TcpProxy]:
    """Run a proxy to a server for the block."""
    running = TcpProxy(target_port)
    await running.listen()
    try:
        yield running
    finally:
        await running.refuse()
