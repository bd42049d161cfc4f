"""Every call has a time limit if RabbitMQ does not respond or is short of memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

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
from tests.support.processes import free_port
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.tcp_proxy import TcpProxy, proxy
from tests.support.waiting import eventually

TIMEOUT = 1.0  # s, of the broker under test
MAX_DURATION = 6  # s; far less than the 30 s after which a heartbeat would fail


@pytest.fixture
async def tcp_proxy(rabbitmq_server: RabbitMQ) -> AsyncIterator[TcpProxy]:
    """Run a TCP proxy in front of RabbitMQ."""
    async with proxy(rabbitmq_server.port) as tcp_proxy:
        yield tcp_proxy


def make_broker(url: str) -> RabbitMQBroker:
    """Return a broker with short timeouts."""
    settings = RabbitMQSettings.model_validate(
        {"url": url, "connect_timeout": TIMEOUT, "confirm_timeout": TIMEOUT}
    )
    return RabbitMQBroker(settings, QUICK_RETRIES.retry_delays)


@pytest.fixture
def proxied_url(amqp_url: str, rabbitmq_server: RabbitMQ, tcp_proxy: TcpProxy) -> str:
    """Return the URL of the test's virtual host through the proxy."""
    return amqp_url.replace(str(rabbitmq_server.port), str(tcp_proxy.port))


@pytest.fixture
async def broker(proxied_url: str) -> AsyncIterator[RabbitMQBroker]:
    """Connect to RabbitMQ through the proxy."""
    broker = make_broker(proxied_url)
    await broker.connect()
    yield broker
    await broker.close()


@pytest.mark.parametrize("sent", [b"", b"no AMQP at all", b"AMQP\x00\x00\x09\x01"])
@pytest.mark.parametrize("reads", [False, True])
async def test_connection_closed_during_the_handshake_raises_broker_unavailable(
    sent: bytes, *, reads: bool
) -> None:
    """The connection may be closed at any step of the AMQP handshake."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reads:
            await reader.read(8)
        writer.write(sent)
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        with pytest.raises(BrokerUnavailable):
            await make_broker(f"amqp://guest:guest@{host}:{port}/").connect()


async def test_tls_alert_in_the_handshake_is_explained() -> None:
    """RabbitMQ 4.x sends it on a TLS port before it closes the connection."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x0a")
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        with pytest.raises(BrokerUnavailable, match=r"enable rabbitmq\.tls"):
            await make_broker(f"amqp://guest:guest@{host}:{port}/").connect()


async def test_missing_virtual_host_is_explained(rabbitmq_server: RabbitMQ) -> None:
    with pytest.raises(BrokerUnavailable, match="create it"):
        await make_broker(rabbitmq_server.url("missing")).connect()


async def test_next_node_is_tried_while_nodes_are_away(
    amqp_url: str, rabbitmq_server: RabbitMQ, tcp_proxy: TcpProxy
) -> None:
    """One node refuses connections, and one accepts them without an answer."""
    tcp_proxy.pause()
    nodes = [free_port(), tcp_proxy.port, rabbitmq_server.port]
    several = ",".join(f"127.0.0.1:{port}" for port in nodes)
    url = amqp_url.replace(f"127.0.0.1:{rabbitmq_server.port}", several)

    for _ in range(4):  # in random order
        broker = make_broker(url)
        started = time.monotonic()
        await broker.connect()
        assert time.monotonic() - started < 2 * TIMEOUT
        await broker.close()


async def test_stop_iteration_of_aiormq_is_translated() -> None:
    """Aiormq raises it when the connection closes at once; untranslated it would end a service."""
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
    """Open a consumer and close it."""
    async with broker.consume(KITCHEN, prefetch=1):
        pass


async def subscribe(broker: RabbitMQBroker) -> None:
    """Open a subscription and close it."""
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


async def seconds_until_unavailable(call: Awaitable[object]) -> float:
    """Return the seconds until a call raises `BrokerUnavailable`."""
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        await call
    return time.monotonic() - started


async def works(
    call: Callable[[RabbitMQBroker], Awaitable[object]], broker: RabbitMQBroker
) -> bool:
    """Return whether a call to the broker succeeds."""
    try:
        await call(broker)
    except BrokerUnavailable:
        return False
    return True


async def test_calls_time_out_while_the_broker_is_frozen_and_work_afterwards(
    proxied_url: str, tcp_proxy: TcpProxy
) -> None:
    """Each call is tried with a connection of its own, all at once."""
    brokers = [make_broker(proxied_url) for _ in CALLS]
    for call, broker in zip(CALLS, brokers, strict=True):
        await broker.connect()
        await call(broker)

    async def time_out(
        call: Callable[[RabbitMQBroker], Awaitable[object]], broker: RabbitMQBroker
    ) -> None:
        for _ in range(2):
            assert await seconds_until_unavailable(call(broker)) < MAX_DURATION, call.__name__

    tcp_proxy.pause()
    async with asyncio.TaskGroup() as group:
        for call, broker in zip(CALLS, brokers, strict=True):
            group.create_task(time_out(call, broker))

    tcp_proxy.resume()
    for call, broker in zip(CALLS, brokers, strict=True):
        doing = f"for {call.__name__} to succeed"
        await eventually(partial(works, call, broker), doing=doing, seconds=8)
        await broker.close()


@pytest.mark.parametrize("call", [publish, consume])
async def test_connection_without_responses_is_not_used_again(
    broker: RabbitMQBroker, tcp_proxy: TcpProxy, call: Callable[[RabbitMQBroker], Awaitable[object]]
) -> None:
    """The next call connects to the server that has replaced the lost one."""
    await call(broker)
    tcp_proxy.pause()
    await seconds_until_unavailable(call(broker))

    tcp_proxy.fail_over()

    await call(broker)


async def test_consumer_closes_in_time_while_the_broker_is_frozen(
    broker: RabbitMQBroker, tcp_proxy: TcpProxy
) -> None:
    """The unacknowledged message of the closed consumer is redelivered."""
    await publish(broker)
    async with asyncio.timeout(2 * MAX_DURATION):
        async with broker.consume([TAKEOUT], prefetch=1) as cook:
            held = await receive_one(cook)
            tcp_proxy.pause()
            with pytest.raises(BrokerUnavailable):
                await cook.stop()

    tcp_proxy.resume()

    async def is_redelivered() -> bool:
        async with broker.consume([TAKEOUT], prefetch=1) as cook:
            return (await receive_and_ack(cook, 1)) == [held.message]

    await eventually(lambda: works(lambda _: is_redelivered(), broker), doing="for the order")


async def test_messages_can_be_consumed_while_the_broker_is_short_of_memory(
    rabbitmq_server: RabbitMQ, amqp_url: str
) -> None:
    """While RabbitMQ is short of memory, publications time out, but messages can be consumed."""
    broker = make_broker(amqp_url)
    await broker.publish(waiting := make_order_messages(3))
    with rabbitmq_server.short_of_memory():
        assert await seconds_until_unavailable(publish(broker)) < MAX_DURATION

        async with broker.consume([TAKEOUT], prefetch=1) as cook:
            assert await receive_and_ack(cook, 3) == waiting

    await eventually(lambda: works(publish, broker), doing="for publishing to go on")
    await broker.close()
