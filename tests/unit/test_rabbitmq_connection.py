"""What it means that a connection to RabbitMQ is closed, or silent, during a call."""

import asyncio
from typing import cast

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection

from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerRefuses, BrokerUnavailable
from restaurant_system.messaging.rabbitmq.connection import RabbitMQConnection
from restaurant_system.messaging.rabbitmq.error_translation import translate_errors


class FakeChannel(aiormq.Channel):
    """Is open on a connection; can do nothing else."""

    is_closed = False

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection


class FakeConnection:
    """Opens channels, and closes when it is told to."""

    def __init__(self) -> None:
        self.is_closed = False

    async def channel(self, **_options: bool) -> aiormq.Channel:
        """Open a channel."""
        return FakeChannel(cast("AbstractConnection", self))

    async def close(self) -> None:
        """Close."""
        self.is_closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[FakeConnection]:
    """Collect the connections that are opened."""
    opened: list[FakeConnection] = []

    async def connect(*_arguments: object, **_options: object) -> FakeConnection:
        opened.append(FakeConnection())
        return opened[-1]

    monkeypatch.setattr(aiormq, "connect", connect)
    return opened


@pytest.fixture
async def connection(opened: list[FakeConnection]) -> RabbitMQConnection:
    """Make a connection that is opened when it is needed."""
    assert opened == []
    return RabbitMQConnection(RabbitMQSettings())


@pytest.fixture
async def channel(connection: RabbitMQConnection) -> AbstractChannel:
    """Open a channel."""
    return await connection.plain_channel()


async def test_call_that_the_library_cancels_finds_the_broker_unavailable(
    connection: RabbitMQConnection, channel: AbstractChannel
) -> None:
    """Aiormq cancels what it waits for when it closes a connection."""
    given_up = asyncio.get_running_loop().create_future()
    given_up.cancel()

    with pytest.raises(BrokerUnavailable, match="closed"):
        async with connection.timeout(channel):
            await given_up


async def test_call_that_its_caller_cancels_stays_cancelled(
    connection: RabbitMQConnection, channel: AbstractChannel
) -> None:
    """A cancelled task is not told that the broker is unavailable."""

    async def wait() -> None:
        async with connection.timeout(channel):
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_silent_connection_is_dropped(
    connection: RabbitMQConnection, channel: AbstractChannel, opened: list[FakeConnection]
) -> None:
    """A call that waits for too long finds the broker unavailable; the next one dials anew."""
    with pytest.raises(BrokerUnavailable, match="no answer in time"):
        async with connection.timeout(channel, 0.01):
            await asyncio.Event().wait()
    await connection.plain_channel()
    await asyncio.sleep(0)  # it is closed in the background

    assert [connection.is_closed for connection in opened] == [True, False]


async def test_call_on_a_dropped_connection_does_not_drop_its_successor(
    connection: RabbitMQConnection, channel: AbstractChannel, opened: list[FakeConnection]
) -> None:
    """Two calls time out on one connection; between them another call has opened a healthy one."""

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
        "The exchange orders_topic exists in RabbitMQ with type fanout instead of topic;",
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
    "no queue": (
        aiormq.ChannelNotFoundEntity("NOT_FOUND - no queue 'a' in vhost '/'"),
        "RabbitMQ has no queue 'a' in vhost '/';",
    ),
}


@pytest.mark.parametrize(("error", "said"), REFUSALS.values(), ids=REFUSALS.keys())
def test_server_that_answers_is_not_said_to_be_unreachable(error: Exception, said: str) -> None:
    """A refusal is named, with what to do about it."""
    with pytest.raises(BrokerRefuses) as refused, translate_errors():
        raise error

    assert said in str(refused.value)
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


@pytest.mark.parametrize(("error", "said"), UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_reason_of_a_lost_connection_is_in_plain_words(error: Exception, said: str) -> None:
    """It holds no Python object."""
    with pytest.raises(BrokerUnavailable) as unavailable, translate_errors():
        raise error

    assert str(unavailable.value) == said
