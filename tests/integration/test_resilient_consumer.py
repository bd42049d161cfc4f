"""`ResilientConsumer` on real brokers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from restaurant_system.cancellation import cancel
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Broker, Delivery
from restaurant_system.messaging.resilient_consumer import ResilientConsumer
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.models.message import Message
from tests.support.broker_connections import BrokerConnections
from tests.support.messages import (
    RECEIVE_TIMEOUT,
    TAKEOUT,
    make_order_message,
    make_order_messages,
    receive_and_ack,
)
from tests.support.waiting import eventually


async def no_drain() -> None:
    """Return at once: nothing is in flight."""


def ack_into(handled: "asyncio.Queue[Delivery]") -> Callable[[Delivery], Awaitable[None]]:
    """Return a handler that acknowledges a delivery and puts it into `handled`."""

    async def handle(delivery: Delivery) -> None:
        await delivery.ack()
        await handled.put(delivery)

    return handle


@contextlib.asynccontextmanager
async def running(resilient: ResilientConsumer) -> AsyncIterator["asyncio.Task[None]"]:
    """Run the consumer for as long as the block lasts."""
    run = asyncio.create_task(resilient.run())
    try:
        yield run
    finally:
        await cancel(run)


async def publish_soon(broker: Broker, message: Message) -> None:
    """Publish as soon as the broker is reachable."""

    async def published() -> bool:
        with contextlib.suppress(BrokerUnavailable):
            return await broker.publish([message]) == []
        return False

    await eventually(published, doing="for the broker to accept a message")


async def test_messages_keep_arriving_after_each_broken_connection(
    broker: Broker, broker_connections: BrokerConnections, policy: RetryPolicy
) -> None:
    handled: asyncio.Queue[Delivery] = asyncio.Queue()
    resilient = ResilientConsumer(
        broker,
        policy,
        open_consumer=lambda: broker.consume([TAKEOUT], prefetch=1),
        handle=ack_into(handled),
        drain=no_drain,
    )

    async with running(resilient), asyncio.timeout(RECEIVE_TIMEOUT):
        for order in make_order_messages(3):
            await publish_soon(broker, order)
            while (await handled.get()).message.message_id != order.message_id:
                pass  # redelivered, because its acknowledgement was lost
            await broker_connections.cut()


async def test_message_in_flight_at_a_broken_connection_is_redelivered(
    broker: Broker, broker_connections: BrokerConnections, policy: RetryPolicy
) -> None:
    handled: asyncio.Queue[Delivery] = asyncio.Queue()
    order = make_order_message()
    await broker.publish([order])
    resilient = ResilientConsumer(
        broker,
        policy,
        open_consumer=lambda: broker.consume([TAKEOUT], prefetch=1),
        handle=handled.put,
        drain=no_drain,
    )

    async with running(resilient), asyncio.timeout(RECEIVE_TIMEOUT):
        first = await handled.get()
        await broker_connections.cut()
        again = await handled.get()

    assert first.message.message_id == again.message.message_id == order.message_id
    assert again.redelivered


async def test_stop_drains_messages_in_flight_and_leaves_the_others_queued(
    broker: Broker, other_broker: Broker, policy: RetryPolicy
) -> None:
    first, second = make_order_messages(2)
    await broker.publish([first, second])
    in_flight: asyncio.Queue[Delivery] = asyncio.Queue()

    async def drain() -> None:
        for _ in range(10):
            await other_broker.ping()
        await (await in_flight.get()).ack()

    resilient = ResilientConsumer(
        broker,
        policy,
        open_consumer=lambda: broker.consume([TAKEOUT], prefetch=1),
        handle=in_flight.put,
        drain=drain,
    )
    async with running(resilient) as run, asyncio.timeout(RECEIVE_TIMEOUT):
        await in_flight.put(await in_flight.get())
        resilient.stop()
        await run

    assert in_flight.empty()
    async with other_broker.consume([TAKEOUT], prefetch=2) as another:
        (taken,) = await receive_and_ack(another, 1)
    assert taken.message_id == second.message_id
    assert (await other_broker.depths())[TAKEOUT] == 0
