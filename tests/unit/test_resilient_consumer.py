"""`ResilientConsumer` with fake consumers that break when a test says so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from restaurant_system.cancellation import cancel
from restaurant_system.config import DeliverySettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging import resilient_consumer
from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.messaging.resilient_consumer import ResilientConsumer
from restaurant_system.messaging.retry_policy import RetryPolicy
from tests.support.fakes import FakeConsumer, FakeDelivery, RecordingBroker
from tests.support.messages import RECEIVE_TIMEOUT, make_order_message


class FakeConnections:
    """Opens the given consumers one after the other, each once `connects` is set."""

    def __init__(self, *consumers: FakeConsumer) -> None:
        self._consumers = iter(consumers)
        self.requested = asyncio.Event()
        self.connects = asyncio.Event()
        self.connects.set()
        self.opened = self.open = 0

    @contextlib.asynccontextmanager
    async def open_consumer(self) -> AsyncIterator[Consumer]:
        """Open the next consumer; after the last one, a consumer without messages."""
        self.requested.set()
        await self.connects.wait()
        self.opened += 1
        self.open += 1
        try:
            yield next(self._consumers, FakeConsumer())
        finally:
            self.open -= 1


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resilient_consumer, "MAX_RECONNECT_DELAY", 0)


@pytest.fixture
def broker() -> RecordingBroker:

    return RecordingBroker()


def deliveries(count: int) -> list[FakeDelivery]:
    """Return `count` fake deliveries."""
    return [FakeDelivery(make_order_message()) for _ in range(count)]


async def no_drain() -> None:
    """Return at once: nothing is in flight."""


async def turns(count: int = 100) -> None:
    """Let the event loop run this many iterations."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(resilient: ResilientConsumer) -> AsyncIterator["asyncio.Task[None]"]:
    """Run the consumer for as long as the block lasts."""
    run = asyncio.create_task(resilient.run())
    try:
        async with asyncio.timeout(RECEIVE_TIMEOUT):
            yield run
    finally:
        await cancel(run)


def make_consumer(
    broker: RecordingBroker,
    connections: FakeConnections,
    handle: Callable[[Delivery], Awaitable[None]],
    drain: Callable[[], Awaitable[None]] = no_drain,
) -> ResilientConsumer:
    """Return a consumer on these connections."""
    return ResilientConsumer(
        broker,
        RetryPolicy(DeliverySettings()),
        open_consumer=connections.open_consumer,
        handle=handle,
        drain=drain,
    )


async def test_next_delivery_waits_until_the_handler_returns(broker: RecordingBroker) -> None:
    first, second = deliveries(2)
    handled: list[Delivery] = []
    free = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        handled.append(delivery)
        await free.wait()

    async with running(make_consumer(broker, FakeConnections(FakeConsumer(first, second)), handle)):
        await turns()
        before = list(handled)
        free.set()
        await turns()

    assert before == [first]
    assert handled == [first, second]


async def test_consumer_waits_for_a_broker_that_is_unreachable_at_first(
    broker: RecordingBroker,
) -> None:
    (delivery,) = deliveries(1)
    handled: asyncio.Queue[Delivery] = asyncio.Queue()
    broker.unavailable = True

    async with running(make_consumer(broker, FakeConnections(FakeConsumer(delivery)), handled.put)):
        await broker.tried.wait()
        broker.unavailable = False

        assert await handled.get() is delivery


async def test_connection_is_reopened_each_time_it_breaks(
    broker: RecordingBroker,
) -> None:
    sent = deliveries(5)
    consumers = [FakeConsumer(delivery) for delivery in sent]
    for consumer in consumers:
        consumer.cut()
    connections, handled = FakeConnections(*consumers), asyncio.Queue[Delivery]()

    async with running(make_consumer(broker, connections, handled.put)):
        assert [await handled.get() for _ in sent] == sent
        await turns()

        assert connections.open == 1
    assert connections.open == 0


async def test_backoff_grows_while_connections_break_at_once(broker: RecordingBroker) -> None:
    retries: asyncio.Queue[int] = asyncio.Queue()
    previous = get_on_retry_hooks()
    set_on_retry_hooks([lambda details: retries.put_nowait(details.retry_num)])
    broken = FakeConsumer()
    broken.cut()

    @contextlib.asynccontextmanager
    async def refuse() -> AsyncIterator[Consumer]:
        if retries.empty():
            yield broken
        raise BrokerUnavailable("PostgreSQL has no connection free")

    resilient = ResilientConsumer(
        broker,
        RetryPolicy(DeliverySettings()),
        open_consumer=refuse,
        handle=FakeHandler(),
        drain=no_drain,
    )
    try:
        async with running(resilient):
            assert [await retries.get() for _ in range(4)] == [1, 2, 3, 4]
    finally:
        set_on_retry_hooks(previous)


async def test_new_connection_is_opened_only_after_the_drain(broker: RecordingBroker) -> None:
    drained, handler = asyncio.Event(), FakeHandler()
    first, again = deliveries(2)
    consumer = FakeConsumer(first)
    resilient = make_consumer(
        broker, FakeConnections(consumer, FakeConsumer(again)), handler, drain=wait_for(drained)
    )

    async with running(resilient):
        consumer.cut()
        await turns()
        before = list(handler.handled)
        drained.set()
        await turns()

    assert before == [first]
    assert handler.handled == [first, again]


async def test_stop_stops_consuming_at_once_and_closes_after_the_drain(
    broker: RecordingBroker,
) -> None:
    consumer, drained = FakeConsumer(), asyncio.Event()
    connections = FakeConnections(consumer)
    resilient = make_consumer(broker, connections, FakeHandler(), drain=wait_for(drained))

    async with running(resilient) as run:
        await turns()
        resilient.stop()
        await turns()
        during = (consumer.stopped, connections.open, run.done())
        drained.set()
        await run

    assert during == (True, 1, False)
    assert (connections.opened, connections.open) == (1, 0)


async def test_stop_ends_the_run_while_the_broker_is_unreachable(broker: RecordingBroker) -> None:
    broker.unavailable = True
    resilient = make_consumer(broker, FakeConnections(), FakeHandler())

    async with running(resilient) as run:
        await broker.tried.wait()
        resilient.stop()
        await run


@pytest.mark.usefixtures("quick_cancellation")
async def test_stop_ends_a_connection_attempt_that_loses_its_cancellation(
    broker: RecordingBroker,
) -> None:
    broker.lost_cancellations = 1
    resilient = make_consumer(broker, FakeConnections(), FakeHandler())

    async with running(resilient) as run:
        await broker.tried.wait()
        resilient.stop()
        await run


async def test_connection_that_opens_after_the_stop_delivers_nothing(
    broker: RecordingBroker,
) -> None:
    drained, handler = asyncio.Event(), FakeHandler()
    connections = FakeConnections(FakeConsumer(*deliveries(3)))
    connections.connects.clear()
    resilient = make_consumer(broker, connections, handler, drain=wait_for(drained))

    async with running(resilient) as run:
        await connections.requested.wait()
        resilient.stop()
        await turns()
        connections.connects.set()
        await turns()
        drained.set()
        await run

    assert handler.handled == []


async def test_broker_that_returns_after_the_stop_delivers_nothing(
    broker: RecordingBroker,
) -> None:
    drained, handler = asyncio.Event(), FakeHandler()
    broker.answers.clear()
    connections = FakeConnections(FakeConsumer(*deliveries(3)))
    resilient = make_consumer(broker, connections, handler, drain=wait_for(drained))

    async with running(resilient) as run:
        await broker.tried.wait()
        resilient.stop()
        await turns()
        broker.answers.set()
        await turns()
        drained.set()
        await run

    assert handler.handled == []


async def test_connection_that_breaks_during_the_drain_is_not_reopened(
    broker: RecordingBroker,
) -> None:
    consumer, drained, handler = FakeConsumer(), asyncio.Event(), FakeHandler()
    connections = FakeConnections(consumer, FakeConsumer(*deliveries(3)))
    resilient = make_consumer(broker, connections, handler, drain=wait_for(drained))

    async with running(resilient) as run:
        await turns()
        consumer.broken = True
        resilient.stop()
        await turns()
        consumer.cut()
        await turns()
        drained.set()
        await run

    assert handler.handled == []


async def test_error_of_the_handler_ends_the_run(broker: RecordingBroker) -> None:
    async def handle(_: Delivery) -> None:
        raise ZeroDivisionError

    connections = FakeConnections(FakeConsumer(*deliveries(1)))

    async with running(make_consumer(broker, connections, handle)) as run:
        with pytest.raises(ZeroDivisionError):
            await run

    assert connections.open == 0


async def test_error_of_the_handler_after_the_stop_ends_the_run_with_that_error(
    broker: RecordingBroker,
) -> None:
    stopped = asyncio.Event()

    async def handle(_: Delivery) -> None:
        await stopped.wait()
        raise ZeroDivisionError

    connections = FakeConnections(FakeConsumer(*deliveries(1)))
    resilient = make_consumer(broker, connections, handle, drain=turns)

    async with running(resilient) as run:
        await turns()
        resilient.stop()
        await turns(10)
        stopped.set()
        with pytest.raises(ZeroDivisionError):
            await run

    assert connections.open == 0


async def test_cancelled_run_closes_the_consumer(broker: RecordingBroker) -> None:
    connections = FakeConnections(FakeConsumer())

    async with running(make_consumer(broker, connections, FakeHandler())):
        await turns()
        assert connections.open == 1

    assert connections.open == 0


class FakeHandler:
    """Records the deliveries that it gets."""

    def __init__(self) -> None:
        self.handled: list[Delivery] = []

    async def __call__(self, delivery: Delivery) -> None:
        self.handled.append(delivery)


def wait_for(event: asyncio.Event) -> Callable[[], Awaitable[None]]:
    """Return a drain that ends once the event is set."""

    async def drain() -> None:
        await event.wait()

    return drain
