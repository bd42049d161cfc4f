"""The listener on real brokers: it keeps a line open, and stops with clean hands."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Broker, Delivery
from restaurant_system.messaging.listener import Listener
from restaurant_system.models.message import Message
from tests.support.broker_connections import BrokerConnections
from tests.support.messages import PATIENCE, TAKEOUT, make_order_message, orders, take_and_ack
from tests.support.waiting import eventually


async def nothing_in_hand() -> None:
    """Finish at once."""


def ack_into(handled: "asyncio.Queue[Delivery]") -> Callable[[Delivery], Awaitable[None]]:
    """Handle a delivery at once, and tell of it."""

    async def handle(delivery: Delivery) -> None:
        await delivery.ack()
        await handled.put(delivery)

    return handle


@contextlib.asynccontextmanager
async def running(listener: Listener) -> AsyncIterator["asyncio.Task[None]"]:
    """Listen for as long as the block lasts."""
    run = asyncio.create_task(listener.run())
    try:
        yield run
    finally:
        run.cancel()
        await asyncio.wait({run})


async def publish_soon(broker: Broker, message: Message) -> None:
    """Publish as soon as the broker answers."""

    async def published() -> bool:
        with contextlib.suppress(BrokerUnavailable):
            return await broker.publish([message]) == []
        return False

    await eventually(published, doing="for the broker to take a message")


async def test_it_goes_on_over_a_broken_line(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    """After a cut the line is opened again, as often as it takes, and messages go on arriving."""
    handled: asyncio.Queue[Delivery] = asyncio.Queue()
    listener = Listener(
        broker,
        open_line=lambda: broker.consume([TAKEOUT], prefetch=1),
        handle=ack_into(handled),
        finish=nothing_in_hand,
    )

    async with running(listener), asyncio.timeout(PATIENCE):
        for order in orders(3):
            await publish_soon(broker, order)
            while (await handled.get()).message.message_id != order.message_id:
                pass  # one whose ack the cut has swallowed
            await broker_connections.cut()


async def test_it_gives_back_what_it_was_handling_when_the_line_broke(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    """A message in hand at the cut is handed on again."""
    handled: asyncio.Queue[Delivery] = asyncio.Queue()
    order = make_order_message()
    await broker.publish([order])
    listener = Listener(
        broker,
        open_line=lambda: broker.consume([TAKEOUT], prefetch=1),
        handle=handled.put,
        finish=nothing_in_hand,
    )

    async with running(listener), asyncio.timeout(PATIENCE):
        first = await handled.get()
        await broker_connections.cut()
        again = await handled.get()

    assert first.message.message_id == again.message.message_id == order.message_id
    assert again.redelivered


async def test_it_stops_with_clean_hands(broker: Broker, other_broker: Broker) -> None:
    """After `stop` what is in hand is finished on the open line, and the rest left to others."""
    first, second = orders(2)
    await broker.publish([first, second])
    in_hand: asyncio.Queue[Delivery] = asyncio.Queue()

    async def finish() -> None:
        for _ in range(10):
            await other_broker.ping()
        await (await in_hand.get()).ack()

    listener = Listener(
        broker,
        open_line=lambda: broker.consume([TAKEOUT], prefetch=1),
        handle=in_hand.put,
        finish=finish,
    )
    async with running(listener) as run, asyncio.timeout(PATIENCE):
        await in_hand.put(await in_hand.get())
        listener.stop()
        await run

    assert in_hand.empty()
    async with other_broker.consume([TAKEOUT], prefetch=2) as another:
        (taken,) = await take_and_ack(another, 1)
    assert taken.message_id == second.message_id
    assert (await other_broker.depths())[TAKEOUT] == 0
