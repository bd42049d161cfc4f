"""A line to RabbitMQ, and what it means that RabbitMQ is away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from yarl import URL

from restaurant_system import tls
from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging.rabbitmq import forgiving

log = get_logger()

AWAY = (
    OSError,  # ConnectionError and TimeoutError among them
    aiormq.AMQPError,
    aiormq.ChannelInvalidStateError,
    asyncio.InvalidStateError,
)
GOODBYE = 3  # s for RabbitMQ to take leave


@contextlib.contextmanager
def away_as_unavailable() -> Iterator[None]:
    """Raise `BrokerUnavailable` for every way in which the line can break."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody has cancelled us: aiormq cancels what it waits for itself when a line is closed.
        raise BrokerUnavailable("The line to RabbitMQ was closed.") from error
    except AWAY as error:
        fault = tls.fault(error)
        if fault is not None:
            raise BrokerUnavailable(
                f"The line to RabbitMQ is not safe: {fault}; correct its TLS settings."
            ) from error
        reason = str(error) or type(error).__name__
        raise BrokerUnavailable(f"RabbitMQ does not answer: {reason}") from error


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
        raise BrokerUnavailable(
            "RabbitMQ does not open the virtual host to us; create it and give us the right to it,"
            " or correct rabbitmq.vhost."
        ) from error
    except aiormq.AMQPConnectionError as error:
        if not isinstance(error.__cause__, ConnectionResetError):
            raise
        raise BrokerUnavailable(
            "RabbitMQ hangs up at once; it may not trust our certificate."
            if encrypted
            else "RabbitMQ hangs up at once; if its port is for TLS, enable rabbitmq.tls."
        ) from error


class RabbitMQLine:
    """A connection that is opened when it is needed, and dropped when RabbitMQ is silent on it.

    A silent one is of no use: what was written to it may be lost, or come after all, and until its
    heartbeat fails it would keep everyone from a server that has come back under the same name.
    """

    def __init__(self, settings: RabbitMQSettings) -> None:
        self._settings = settings
        self._connection: AbstractConnection | None = None
        self._opening = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()

    async def publishing_channel(self) -> aiormq.Channel:
        """Open a channel on which each publication is confirmed or raises."""
        connection = await self._open()
        async with self.answering():
            channel = await connection.channel(on_return_raises=True)
        assert isinstance(channel, aiormq.Channel)  # noqa: S101 - aiormq has no other kind
        return channel

    async def plain_channel(self) -> AbstractChannel:
        """Open a channel for anything else."""
        connection = await self._open()
        async with self.answering():
            return await connection.channel(publisher_confirms=False)

    def carries(self, channel: AbstractChannel) -> bool:
        """Tell whether a channel can be used still."""
        return channel.connection is self._connection and not channel.is_closed

    @contextlib.asynccontextmanager
    async def answering(self, seconds: float | None = None) -> AsyncIterator[None]:
        """Raise `BrokerUnavailable` when the line breaks inside, or is silent for so long.

        `connect_timeout` is how long, if nothing else is said. A silent line is dropped.
        """
        with away_as_unavailable():
            try:
                async with asyncio.timeout(seconds or self._settings.connect_timeout):
                    yield
            except TimeoutError:
                self._drop()
                raise

    async def close(self) -> None:
        """Take leave; what is in hand on this line goes back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*AWAY):
                async with asyncio.timeout(GOODBYE):
                    await connection.close()

    async def _open(self) -> AbstractConnection:
        async with self._opening:
            if self._connection is None or self._connection.is_closed:
                async with self.answering():
                    self._connection = await self._dial()
            return self._connection

    async def _dial(self) -> AbstractConnection:
        forgiving.install()
        url = URL(self._settings.dsn()).update_query(heartbeat=self._settings.heartbeat)
        encrypted = self._settings.encrypted
        context = self._settings.tls.context() if encrypted else None
        with hung_up_as_unavailable(encrypted=encrypted):
            connection = await aiormq.connect(url, context=context)
        log.info("rabbitmq_connected", message="Connected to RabbitMQ.")
        return connection

    def _drop(self) -> None:
        """Take leave in the background: RabbitMQ may not answer that either."""
        connection, self._connection = self._connection, None
        if connection is not None:
            leaving = asyncio.create_task(connection.close())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._has_left)

    def _has_left(self, leaving: "asyncio.Task[None]") -> None:
        self._leaving.discard(leaving)
        if not leaving.cancelled():
            leaving.exception()  # whatever it is: the line is gone
