"""Connect to RabbitMQ with time limits on every request."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.logger import get_logger, reason
from restaurant_system.messaging.rabbitmq import lenient_decoding
from restaurant_system.messaging.rabbitmq.error_translation import (
    UNAVAILABLE,
    translate_errors,
    translate_handshake_errors,
)
from restaurant_system.write_buffer import WriteBuffer

log = get_logger()

CLOSE_TIMEOUT = 3  # s


class BufferedConnection(aiormq.Connection):
    """An AMQP connection that buffers any number of frames to send.

    With aiormq's default of 10, all but the first messages of a batch take an iteration of the
    event loop each, so that the relay of a process that is busy with HTTP requests falls behind.
    The buffer stays small: a batch is published when the one before it is confirmed.
    """

    FRAME_BUFFER_SIZE = 0  # unlimited
    # The server counts as gone after `heartbeat` seconds without a frame, as RabbitMQ counts, and
    # not after three times as long. It sends one in half of that time.
    HEARTBEAT_GRACE_MULTIPLIER = 1


class BufferedTransport(TransportFactory):
    """Connects as aiormq does, and joins the messages of a batch into one write.

    `peer_certificate` is the server's certificate (DER) if the connection is encrypted.
    """

    peer_certificate: bytes | None = None

    async def create(
        self,
        url: URL,
        **arguments: Any,  # noqa: ANN401 - passed through
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection, with TLS if the URL says so."""
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await factory.create(url, **arguments)
        encryption = writer.get_extra_info("ssl_object")
        if encryption is not None:
            self.peer_certificate = encryption.getpeercert(binary_form=True)
        buffer = WriteBuffer(writer, asyncio.get_running_loop())
        return reader, cast("asyncio.StreamWriter", buffer)


class RabbitMQConnection:
    """A connection that is opened on demand, and dropped when RabbitMQ does not respond in time.

    A request on an unresponsive connection may be lost or arrive late. Until its heartbeat fails,
    such a connection would also keep callers from a server that is back under the same name.
    """

    def __init__(self, settings: RabbitMQSettings) -> None:
        self._settings = settings
        self._urls = [
            URL(each).update_query(heartbeat=settings.heartbeat) for each in settings.dsns()
        ]
        self._connection: AbstractConnection | None = None
        self._unresponsive = ""  # the address of the node that gave no answer the last time
        self._peer_certificate: bytes | None = None
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def publishing_channel(self) -> aiormq.Channel:
        """Open a channel with publisher confirms; refused publications raise."""
        return await self._channel(publisher_confirms=True)

    async def plain_channel(self) -> aiormq.Channel:
        """Open a channel without publisher confirms."""
        return await self._channel(publisher_confirms=False)

    async def server_properties(self) -> Mapping[str, object]:
        """Return what the server says about itself."""
        connection = await self._open()
        assert isinstance(connection, BufferedConnection)  # noqa: S101 - the only implementation
        return connection.server_properties

    async def peer_certificate(self) -> bytes | None:
        """Return the server's certificate (DER); `None` if the connection is not encrypted."""
        await self._open()
        return self._peer_certificate

    def has_open(self, channel: AbstractChannel) -> bool:
        """Return whether a channel of the current connection is open."""
        return channel.connection is self._connection and not channel.is_closed

    @contextlib.asynccontextmanager
    async def timeout(
        self, channel: AbstractChannel, seconds: float | None = None
    ) -> AsyncIterator[None]:
        """Limit the time of requests on a channel, by default to `connect_timeout`.

        Raises `BrokerUnavailable` if the channel breaks or the time is over. Then the channel's own
        connection is dropped; meanwhile there may be a newer one, which stays.
        """
        async with self._timeout(channel.connection, seconds):
            yield

    async def close(self) -> None:
        """Close the connection; RabbitMQ requeues unacknowledged messages."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*UNAVAILABLE):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await connection.close()

    async def _channel(self, *, publisher_confirms: bool) -> aiormq.Channel:
        connection = await self._open()
        async with self._timeout(connection):
            channel = await connection.channel(
                publisher_confirms=publisher_confirms, on_return_raises=publisher_confirms
            )
        assert isinstance(channel, aiormq.Channel)  # noqa: S101 - the only implementation
        return channel

    @contextlib.asynccontextmanager
    async def _timeout(
        self, connection: AbstractConnection | None, seconds: float | None = None
    ) -> AsyncIterator[None]:
        with translate_errors():
            try:
                async with asyncio.timeout(seconds or self._settings.connect_timeout):
                    yield
            except TimeoutError:
                if connection is not None:
                    self._drop(connection)
                raise

    async def _open(self) -> AbstractConnection:
        async with self._opening:
            if self._connection is None or self._connection.is_closed:
                self._connection = await self._connect_to_any()
            return self._connection

    async def _connect_to_any(self) -> AbstractConnection:
        """Connect to one of the nodes, in random order, so that clients spread over all nodes.

        The last one is the node that gave no answer: one that is cut off from the other nodes takes
        connections. Raises the error of the last node if none takes the connection within
        `connect_timeout`.
        """
        shuffled = random.sample(self._urls, len(self._urls))
        *others, last = sorted(shuffled, key=lambda url: _address(url) == self._unresponsive)
        for url in others:
            try:
                return await self._connect(url)
            except BrokerUnavailable as error:
                log.warning(
                    error.action, message=f"{_address(url)}: {reason(error)}; trying another node."
                )
        return await self._connect(last)

    async def _connect(self, url: URL) -> AbstractConnection:
        lenient_decoding.install()
        encrypted = self._settings.encrypted
        context = self._settings.tls.context() if encrypted else None
        async with self._timeout(None):
            with translate_handshake_errors(encrypted=encrypted):
                transport = BufferedTransport()
                connection = BufferedConnection(url, context=context, transport_factory=transport)
                await connection.connect()
        self._peer_certificate = transport.peer_certificate
        log.info("rabbitmq_connected", message=f"Connected to RabbitMQ{self._name_of(url)}.")
        return connection

    def _name_of(self, url: URL) -> str:
        """Return which of several nodes a URL names."""
        return f" on {_address(url)}" if len(self._urls) > 1 else ""

    def _drop(self, connection: AbstractConnection) -> None:
        """Close a connection in the background, because RabbitMQ may not respond to that either."""
        if self._connection is connection:
            self._connection = None
        self._unresponsive = _address(connection.url)
        closing = asyncio.create_task(connection.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closed)

    def _closed(self, closing: "asyncio.Task[None]") -> None:
        self._closing.discard(closing)
        if not closing.cancelled():
            closing.exception()  # retrieved, so that asyncio does not log it


def _address(url: URL) -> str:
    return f"{url.host}:{url.port}"
