"""A connection to RabbitMQ, and what it means that RabbitMQ does not answer on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from yarl import URL

from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerRefuses, BrokerUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging.rabbitmq import lenient_decoding
from restaurant_system.messaging.rabbitmq.refusals import UNAVAILABLE, as_unavailable

log = get_logger()

CLOSE_TIMEOUT = 3  # s


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raise `BrokerUnavailable` for every way in which a connection can break."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody has cancelled us: aiormq cancels what it waits for when a connection is closed.
        raise BrokerUnavailable("RabbitMQ unreachable: the connection was closed.") from error
    except UNAVAILABLE as error:
        raise as_unavailable(error) from error


@contextlib.contextmanager
def hung_up_as_unavailable(*, encrypted: bool) -> Iterator[None]:
    """Say what it may mean that RabbitMQ hangs up on a line that is being opened."""
    try:
        yield
    except StopAsyncIteration as error:  # how aiormq puts it when the line ends at its first word
        raise BrokerUnavailable("RabbitMQ hangs up before it says anything.") from error
    except aiormq.exceptions.InvalidFrameError as error:
        if "Connection.OpenOk" not in str(error):
            raise
        raise BrokerRefuses(
            "RabbitMQ does not open the virtual host",
            "create it and give the user the permission, raise its limit of connections, or correct"
            " rabbitmq.vhost",
        ) from error
    except aiormq.AMQPConnectionError as error:
        if not isinstance(error.__cause__, ConnectionResetError):
            raise
        raise BrokerUnavailable(
            "RabbitMQ hangs up at once; it may not trust our certificate."
            if encrypted
            else "RabbitMQ hangs up at once; if its port is for TLS, enable rabbitmq.tls."
        ) from error


class RabbitMQConnection:
    """A connection that is opened when it is needed, and dropped when RabbitMQ is silent on it.

    A silent one is of no use: what was written to it may be lost, or come after all, and until its
    heartbeat fails it would keep everyone from a server that has come back under the same name.
    """

    def __init__(self, settings: RabbitMQSettings) -> None:
        self._settings = settings
        self._connection: AbstractConnection | None = None
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def publishing_channel(self) -> aiormq.Channel:
        """Open a channel on which each publication is confirmed or raises."""
        return await self._channel(publisher_confirms=True)

    async def plain_channel(self) -> aiormq.Channel:
        """Open a channel for anything else."""
        return await self._channel(publisher_confirms=False)

    def carries(self, channel: AbstractChannel) -> bool:
        """Tell whether a channel can be used still."""
        return channel.connection is self._connection and not channel.is_closed

    @contextlib.asynccontextmanager
    async def answering(
        self, channel: AbstractChannel, seconds: float | None = None
    ) -> AsyncIterator[None]:
        """Raise `BrokerUnavailable` when the channel breaks inside, or is silent for so long.

        `connect_timeout` is how long, if nothing else is said. The connection of a silent channel
        is dropped, and no other: meanwhile there may be a new one that answers.
        """
        async with self._answering(channel.connection, seconds):
            yield

    async def close(self) -> None:
        """Close the connection; unsettled messages go back to their queues."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*UNAVAILABLE):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await connection.close()

    async def _channel(self, *, publisher_confirms: bool) -> aiormq.Channel:
        connection = await self._open()
        async with self._answering(connection):
            channel = await connection.channel(
                publisher_confirms=publisher_confirms, on_return_raises=publisher_confirms
            )
        assert isinstance(channel, aiormq.Channel)  # noqa: S101 - aiormq has no other kind
        return channel

    @contextlib.asynccontextmanager
    async def _answering(
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
                async with self._answering(None):
                    self._connection = await self._dial()
            return self._connection

    async def _dial(self) -> AbstractConnection:
        lenient_decoding.install()
        url = URL(self._settings.dsn()).update_query(heartbeat=self._settings.heartbeat)
        encrypted = self._settings.encrypted
        context = self._settings.tls.context() if encrypted else None
        with hung_up_as_unavailable(encrypted=encrypted):
            connection = await aiormq.connect(url, context=context)
        log.info("rabbitmq_connected", message="Connected to RabbitMQ.")
        return connection

    def _drop(self, connection: AbstractConnection) -> None:
        """Close a connection in the background: RabbitMQ may not answer that either."""
        if self._connection is connection:
            self._connection = None
        closing = asyncio.create_task(connection.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closed)

    def _closed(self, closing: "asyncio.Task[None]") -> None:
        self._closing.discard(closing)
        if not closing.cancelled():
            closing.exception()  # whatever it is: the connection is gone
