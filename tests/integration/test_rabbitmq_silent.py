"""RabbitMQ when it hangs, or is short of memory: nobody waits for it longer than is stated."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiormq.connection import FrameReceiver

from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.rabbitmq.error_translation import translate_handshake_errors
from tests.conftest import QUICK_RETRIES
from tests.support.messages import (
    KITCHEN,
    TAKEOUT,
    make_order_messages,
    receive_and_ack,
    receive_one,
)
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.tcp_proxy import TcpProxy, proxy
from tests.support.waiting import eventually

RECEIVE_TIMEOUT = 1.0  # s, of ours in these tests
IN_TIME = 6  # s; far less than the half minute after which a heartbeat would fail


@pytest.fixture
async def wire(rabbitmq_server: RabbitMQ) -> AsyncIterator[TcpProxy]:
    """Have a wire to RabbitMQ."""
    async with proxy(rabbitmq_server.port) as wire:
        yield wire


def impatient(url: str) -> RabbitMQBroker:
    """Build a broker that waits for little."""
    settings = RabbitMQSettings.model_validate(
        {"url": url, "connect_timeout": RECEIVE_TIMEOUT, "confirm_timeout": RECEIVE_TIMEOUT}
    )
    return RabbitMQBroker(settings, QUICK_RETRIES.retry_delays)


@pytest.fixture
async def far(
    amqp_url: str, rabbitmq_server: RabbitMQ, wire: TcpProxy
) -> AsyncIterator[RabbitMQBroker]:
    """Open RabbitMQ over the wire."""
    broker = impatient(amqp_url.replace(str(rabbitmq_server.port), str(wire.port)))
    await broker.connect()
    yield broker
    await broker.close()


@pytest.mark.parametrize("says", [b"", b"no AMQP at all", b"AMQP\x00\x00\x09\x01"])
@pytest.mark.parametrize("listens", [False, True])
async def test_who_hangs_up_while_a_line_is_opened_is_away(says: bytes, *, listens: bool) -> None:
    """Whatever stands at the address, and however it ends the talk, it is waited for."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if listens:
            await reader.read(8)
        writer.write(says)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        with pytest.raises(BrokerUnavailable):
            await impatient(f"amqp://guest:guest@{host}:{port}/").connect()


async def test_a_virtual_host_that_is_not_there(rabbitmq_server: RabbitMQ) -> None:
    """It is said in words what to do about it."""
    with pytest.raises(BrokerUnavailable, match="create it"):
        await impatient(rabbitmq_server.url("nowhere")).connect()


async def test_a_line_that_ends_before_the_first_word_is_no_end_of_an_iteration() -> None:
    """That is what aiormq takes it for; taken for that, it would end a service."""
    with (
        pytest.raises(BrokerUnavailable, match="during the handshake"),
        translate_handshake_errors(encrypted=False),
    ):
        await FrameReceiver(_ended()).get_frame()


def _ended() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_eof()
    return reader


async def consume(broker: RabbitMQBroker) -> None:
    """Begin to consume, and leave it at that."""
    async with broker.consume(KITCHEN, prefetch=1):
        pass


async def subscribe(broker: RabbitMQBroker) -> None:
    """Begin to listen for updates, and leave it at that."""
    async with broker.subscribe():
        pass


async def publish(broker: RabbitMQBroker) -> None:
    """Publish an order."""
    assert await broker.publish(make_order_messages(1)) == []


CALLS = [
    RabbitMQBroker.connect,
    RabbitMQBroker.ping,
    RabbitMQBroker.depths,
    publish,
    consume,
    subscribe,
]


async def seconds_to_give_up(call: Awaitable[object]) -> float:
    """Return how long a call took to find the broker away."""
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        await call
    return time.monotonic() - started


async def works(
    call: Callable[[RabbitMQBroker], Awaitable[object]], broker: RabbitMQBroker
) -> bool:
    """Tell whether a call finds the broker there."""
    try:
        await call(broker)
    except BrokerUnavailable:
        return False
    return True


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_no_call_waits_for_a_frozen_broker(
    far: RabbitMQBroker, wire: TcpProxy, call: Callable[[RabbitMQBroker], Awaitable[object]]
) -> None:
    """Each gives up in its time, the first and the next; and works once it is back."""
    await call(far)
    wire.pause()

    for _ in range(2):
        assert await seconds_to_give_up(call(far)) < IN_TIME

    wire.resume()
    await eventually(lambda: works(call, far), doing="for the return to be noticed", seconds=8)


@pytest.mark.parametrize("call", [publish, consume])
async def test_a_silent_line_is_not_used_again(
    far: RabbitMQBroker, wire: TcpProxy, call: Callable[[RabbitMQBroker], Awaitable[object]]
) -> None:
    """A server that has come back in the place of one that is lost is found at the next call."""
    await call(far)
    wire.pause()
    await seconds_to_give_up(call(far))

    wire.fail_over()

    await call(far)


async def test_a_consumer_can_be_left_while_the_broker_is_frozen(
    far: RabbitMQBroker, wire: TcpProxy
) -> None:
    """Nobody who stops waits for a farewell; what was in hand comes again."""
    await publish(far)
    async with asyncio.timeout(2 * IN_TIME):
        async with far.consume([TAKEOUT], prefetch=1) as cook:
            held = await receive_one(cook)
            wire.pause()
            with pytest.raises(BrokerUnavailable):
                await cook.stop()

    wire.resume()

    async def comes_again() -> bool:
        async with far.consume([TAKEOUT], prefetch=1) as cook:
            return (await receive_and_ack(cook, 1)) == [held.message]

    await eventually(lambda: works(lambda _: comes_again(), far), doing="for the order")


async def test_a_broker_short_of_memory_is_relieved(
    rabbitmq_server: RabbitMQ, amqp_url: str
) -> None:
    """Whoever publishes gives up in time; what was taken before can be consumed, and frees it."""
    broker = impatient(amqp_url)
    await broker.publish(waiting := make_order_messages(3))
    with rabbitmq_server.short_of_memory():
        assert await seconds_to_give_up(publish(broker)) < IN_TIME

        async with broker.consume([TAKEOUT], prefetch=1) as cook:
            assert await receive_and_ack(cook, 3) == waiting

    await eventually(lambda: works(publish, broker), doing="for publishing to go on")
    await broker.close()
