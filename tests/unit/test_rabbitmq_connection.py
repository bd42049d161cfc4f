"""Timeouts of a connection to RabbitMQ and the translation of its errors."""

import asyncio
from itertools import pairwise
from typing import cast

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection
from yarl import URL

from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerRefuses, BrokerUnavailable
from restaurant_system.messaging.rabbitmq import connection as connection_module
from restaurant_system.messaging.rabbitmq.connection import RabbitMQConnection
from restaurant_system.messaging.rabbitmq.error_translation import translate_errors


class FakeChannel(aiormq.Channel):
    """A fake AMQP channel that is open."""

    is_closed = False

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection


class FakeConnection:
    """A connection that records whether it was closed."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_closed = False

    async def connect(self) -> None:
        """Record that the connection was opened."""

    async def channel(self, **_options: bool) -> aiormq.Channel:
        """Open a channel on the connection."""
        return FakeChannel(cast("AbstractConnection", self))

    async def close(self) -> None:
        """Record that the connection was closed."""
        self.is_closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[FakeConnection]:
    """Return the list of opened connections."""
    opened: list[FakeConnection] = []

    def new_connection(url: URL, **_options: object) -> FakeConnection:
        opened.append(FakeConnection(url))
        return opened[-1]

    monkeypatch.setattr(connection_module, "BufferedConnection", new_connection)
    return opened


@pytest.fixture
async def connection(opened: list[FakeConnection]) -> RabbitMQConnection:
    """Return a connection that is not open yet."""
    assert opened == []
    return RabbitMQConnection(RabbitMQSettings())


@pytest.fixture
async def channel(connection: RabbitMQConnection) -> AbstractChannel:
    """Open a channel on the connection."""
    return await connection.plain_channel()


async def test_future_cancelled_by_aiormq_raises_broker_unavailable(
    connection: RabbitMQConnection, channel: AbstractChannel
) -> None:
    """Aiormq cancels its futures when it closes a connection."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()

    with pytest.raises(BrokerUnavailable, match="closed"):
        async with connection.timeout(channel):
            await future


async def test_cancelled_call_stays_cancelled(
    connection: RabbitMQConnection, channel: AbstractChannel
) -> None:
    async def wait() -> None:
        async with connection.timeout(channel):
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_connection_is_dropped_after_a_timeout(
    connection: RabbitMQConnection, channel: AbstractChannel, opened: list[FakeConnection]
) -> None:
    """After a dropped connection, the next call opens a new one."""
    with pytest.raises(BrokerUnavailable, match="no answer in time"):
        async with connection.timeout(channel, 0.01):
            await asyncio.Event().wait()
    await connection.plain_channel()
    await asyncio.sleep(0)  # it is closed in the background

    assert [connection.is_closed for connection in opened] == [True, False]


async def test_node_that_gave_no_answer_is_not_the_next_one(opened: list[FakeConnection]) -> None:
    """A node that is cut off from the others takes connections, and gives no answers."""
    connection = RabbitMQConnection(RabbitMQSettings(hosts=["a", "b", "c"]))
    for _ in range(20):
        channel = await connection.plain_channel()
        with pytest.raises(BrokerUnavailable):
            async with connection.timeout(channel, 0.001):
                await asyncio.sleep(1)

    hosts = [each.url.host for each in opened]
    assert len(hosts) == 20
    assert all(host != following for host, following in pairwise(hosts))


async def test_timeout_on_a_dropped_connection_does_not_drop_its_successor(
    connection: RabbitMQConnection, channel: AbstractChannel, opened: list[FakeConnection]
) -> None:
    """Two calls time out on one connection; between them another call has opened a new one."""

    async def call(seconds: float) -> None:
        async with connection.timeout(channel, seconds):
            await asyncio.Event().wait()

    slow = asyncio.create_task(call(0.05))
    with pytest.raises(BrokerUnavailable):
        await call(0.01)
    healthy = await connection.plain_channel()
    with pytest.raises(BrokerUnavailable):
        await slow

    assert connection.has_open(healthy)
    assert [connection.is_closed for connection in opened] == [True, False]


REFUSALS = {
    "other arguments of a queue": (
        aiormq.ChannelPreconditionFailed(
            "PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'kitchen_queue' in"
            " vhost '/': received the value '10' of type 'signedint' but current is none"
        ),
        "The queue kitchen_queue exists in RabbitMQ with x-max-priority none instead of 10;",
    ),
    "another type of an exchange": (
        aiormq.ChannelPreconditionFailed(
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'orders_topic' in vhost"
            " '/': received 'topic' but current is 'fanout'"
        ),
        "with type fanout instead of topic; delete the exchange, or name another virtual host",
    ),
    "a classic queue in place of a quorum queue": (
        aiormq.ChannelPreconditionFailed(
            "PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'kitchen_queue' in"
            " vhost '/': received none but current is the value '10' of type 'signedint'"
        ),
        "The queue kitchen_queue exists in RabbitMQ with x-queue-type classic instead of quorum;",
    ),
    "a queue of another connection": (
        aiormq.exceptions.ChannelLockedResource(
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'a' in vhost '/'. It"
            " could be originally declared on another connection."
        ),
        "The queue a belongs to another connection alone; end the program that has declared it",
    ),
    "a limit": (
        aiormq.ChannelPreconditionFailed(
            "PRECONDITION_FAILED - cannot declare queue 'new': queue limit in vhost '/' is reached"
        ),
        "queue limit in vhost",
    ),
    "no permission": (
        aiormq.ChannelAccessRefused("ACCESS_REFUSED - access to queue 'a' refused for user 'bob'"),
        "permissions to configure, write and read",
    ),
    "a wrong password": (
        aiormq.ProbableAuthenticationError("ACCESS_REFUSED - Login was refused"),
        "correct rabbitmq.user and rabbitmq.password",
    ),
    "a queue on a node that is down": (
        aiormq.ChannelNotFoundEntity(
            "NOT_FOUND - home node 'rabbit@b' of durable queue 'a' in vhost '/' is down or"
            " inaccessible"
        ),
        "The queue a is on a node that does not run; start that node of the cluster.",
    ),
    "no queue": (
        aiormq.ChannelNotFoundEntity("NOT_FOUND - no queue 'a' in vhost '/'"),
        "RabbitMQ has no queue 'a' in vhost '/';",
    ),
}


@pytest.mark.parametrize(("error", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_connection_refused_by_rabbitmq_is_not_reported_as_unreachable(
    error: Exception, message: str
) -> None:
    with pytest.raises(BrokerRefuses) as refused, translate_errors():
        raise error

    assert message in str(refused.value)
    assert "unreachable" not in str(refused.value)


UNREACHABLE = {
    "refused": (
        ConnectionRefusedError(111, "Connect call failed"),
        "RabbitMQ unreachable: connection refused.",
    ),
    "closed channel": (
        aiormq.ChannelInvalidStateError('<Channel: "1" at 0x7f0000000000> closed'),
        "RabbitMQ unreachable: the connection was closed.",
    ),
    "stopped server": (
        aiormq.exceptions.ConnectionClosed(320, "CONNECTION_FORCED - broker forced closure"),
        "RabbitMQ closed the connection: CONNECTION_FORCED - broker forced closure.",
    ),
}


@pytest.mark.parametrize(("error", "message"), UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_unreachable_broker_is_explained_without_a_python_object(
    error: Exception, message: str
) -> None:
    with pytest.raises(BrokerUnavailable) as unavailable, translate_errors():
        raise error

    assert str(unavailable.value) == message
