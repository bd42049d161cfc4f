"""The listener, on lines that fail exactly when a test wants them to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging import listener as listener_module
from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.messaging.listener import Listener
from tests.support.fakes import FakeConsumer, FakeDelivery, RecordingBroker
from tests.support.messages import PATIENCE, make_order_message


class Switchboard:
    """Connects to lines, one after the other, as soon as it is told to."""

    def __init__(self, *lines: FakeConsumer) -> None:
        self._lines = iter(lines)
        self.asked = asyncio.Event()
        self.connects = asyncio.Event()
        self.connects.set()
        self.opened = self.open = 0

    @contextlib.asynccontextmanager
    async def open_line(self) -> AsyncIterator[Consumer]:
        """Lend the next line; once there is none left, nobody ever answers."""
        self.asked.set()
        await self.connects.wait()
        self.opened += 1
        self.open += 1
        try:
            yield next(self._lines, FakeConsumer())
        finally:
            self.open -= 1


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "LONGEST_PAUSE", 0)


@pytest.fixture
def broker() -> RecordingBroker:
    """Make a broker."""
    return RecordingBroker()


def deliveries(count: int) -> list[FakeDelivery]:
    """Make so many deliveries."""
    return [FakeDelivery(make_order_message()) for _ in range(count)]


async def nothing_in_hand() -> None:
    """Finish at once."""


async def turns(count: int = 100) -> None:
    """Let every task that can go on do so, again and again."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(listener: Listener) -> AsyncIterator["asyncio.Task[None]"]:
    """Listen for as long as the block lasts, which is not long."""
    run = asyncio.create_task(listener.run())
    try:
        async with asyncio.timeout(PATIENCE):
            yield run
    finally:
        run.cancel()
        await asyncio.wait({run})


def listener_on(
    broker: RecordingBroker,
    board: Switchboard,
    handle: Callable[[Delivery], Awaitable[None]],
    finish: Callable[[], Awaitable[None]] = nothing_in_hand,
) -> Listener:
    """Make a listener."""
    return Listener(broker, open_line=board.open_line, handle=handle, finish=finish)


async def test_deliveries_are_handed_on_one_after_the_other(broker: RecordingBroker) -> None:
    """The next delivery waits until `handle` has returned."""
    first, second = deliveries(2)
    handled: list[Delivery] = []
    free = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        handled.append(delivery)
        await free.wait()

    async with running(listener_on(broker, Switchboard(FakeConsumer(first, second)), handle)):
        await turns()
        before = list(handled)
        free.set()
        await turns()

    assert before == [first]
    assert handled == [first, second]


async def test_a_broker_that_is_away_at_first_is_waited_for(broker: RecordingBroker) -> None:
    """The line is opened as soon as the broker answers."""
    (delivery,) = deliveries(1)
    handled: asyncio.Queue[Delivery] = asyncio.Queue()
    broker.away = True

    async with running(listener_on(broker, Switchboard(FakeConsumer(delivery)), handled.put)):
        await broker.tried.wait()
        broker.away = False

        assert await handled.get() is delivery


async def test_a_line_that_breaks_again_and_again_is_opened_again_and_again(
    broker: RecordingBroker,
) -> None:
    """Each new line brings what it has, in order, and each broken one is closed."""
    sent = deliveries(5)
    lines = [FakeConsumer(delivery) for delivery in sent]
    for line in lines:
        line.cut()
    board, handled = Switchboard(*lines), asyncio.Queue[Delivery]()

    async with running(listener_on(broker, board, handled.put)):
        assert [await handled.get() for _ in sent] == sent
        await turns()

        assert board.open == 1
    assert board.open == 0


async def test_pauses_grow_while_connections_break_at_once(broker: RecordingBroker) -> None:
    """Whether one cannot be opened or breaks in no time: the retries are counted on."""
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

    listener = Listener(broker, open_line=refuse, handle=FakeHandler(), finish=nothing_in_hand)
    try:
        async with running(listener):
            assert [await retries.get() for _ in range(4)] == [1, 2, 3, 4]
    finally:
        set_on_retry_hooks(previous)


async def test_a_new_line_is_opened_only_when_nothing_is_in_hand(broker: RecordingBroker) -> None:
    """What was in hand when the line broke is finished before the same comes again."""
    finish, handler = asyncio.Event(), FakeHandler()
    first, again = deliveries(2)
    line = FakeConsumer(first)
    listener = listener_on(
        broker, Switchboard(line, FakeConsumer(again)), handler, finish=wait_for(finish)
    )

    async with running(listener):
        line.cut()
        await turns()
        before = list(handler.handled)
        finish.set()
        await turns()

    assert before == [first]
    assert handler.handled == [first, again]


async def test_stop_ends_the_run_when_all_is_finished(broker: RecordingBroker) -> None:
    """The line is stopped at once, and closed only after `finish` has returned."""
    line, finish = FakeConsumer(), asyncio.Event()
    board = Switchboard(line)
    listener = listener_on(broker, board, FakeHandler(), finish=wait_for(finish))

    async with running(listener) as run:
        await turns()
        listener.stop()
        await turns()
        during = (line.stopped, board.open, run.done())
        finish.set()
        await run

    assert during == (True, 1, False)
    assert (board.opened, board.open) == (1, 0)


async def test_stop_works_while_the_broker_is_away(broker: RecordingBroker) -> None:
    """Nobody has to wait for a broker only to leave it."""
    broker.away = True
    listener = listener_on(broker, Switchboard(), FakeHandler())

    async with running(listener) as run:
        await broker.tried.wait()
        listener.stop()
        await run


async def test_a_line_that_opens_after_the_stop_hands_on_nothing(broker: RecordingBroker) -> None:
    """A cook who is asked to stop while the line is opened anew finishes, and takes no more."""
    finish, handler = asyncio.Event(), FakeHandler()
    board = Switchboard(FakeConsumer(*deliveries(3)))
    board.connects.clear()
    listener = listener_on(broker, board, handler, finish=wait_for(finish))

    async with running(listener) as run:
        await board.asked.wait()
        listener.stop()
        await turns()
        board.connects.set()
        await turns()
        finish.set()
        await run

    assert handler.handled == []


async def test_a_broker_that_comes_back_after_the_stop_hands_on_nothing(
    broker: RecordingBroker,
) -> None:
    """A cook who is asked to stop in an outage takes no more when it is over."""
    finish, handler = asyncio.Event(), FakeHandler()
    broker.answers.clear()
    board = Switchboard(FakeConsumer(*deliveries(3)))
    listener = listener_on(broker, board, handler, finish=wait_for(finish))

    async with running(listener) as run:
        await broker.tried.wait()
        listener.stop()
        await turns()
        broker.answers.set()
        await turns()
        finish.set()
        await run

    assert handler.handled == []


async def test_a_line_that_breaks_while_it_is_stopped_hands_on_nothing_more(
    broker: RecordingBroker,
) -> None:
    """A cut while the last orders are finished does not start the evening anew."""
    line, finish, handler = FakeConsumer(), asyncio.Event(), FakeHandler()
    board = Switchboard(line, FakeConsumer(*deliveries(3)))
    listener = listener_on(broker, board, handler, finish=wait_for(finish))

    async with running(listener) as run:
        await turns()
        line.broken = True
        listener.stop()
        await turns()
        line.cut()
        await turns()
        finish.set()
        await run

    assert handler.handled == []


async def test_an_error_of_the_handler_ends_the_run(broker: RecordingBroker) -> None:
    """What is no outage is not taken for one: it reaches whoever runs the listener."""

    async def handle(_: Delivery) -> None:
        raise ZeroDivisionError

    board = Switchboard(FakeConsumer(*deliveries(1)))

    async with running(listener_on(broker, board, handle)) as run:
        with pytest.raises(ZeroDivisionError):
            await run

    assert board.open == 0


async def test_a_run_that_is_cancelled_closes_the_line(broker: RecordingBroker) -> None:
    """Nothing keeps listening for somebody who is gone."""
    board = Switchboard(FakeConsumer())

    async with running(listener_on(broker, board, FakeHandler())):
        await turns()
        assert board.open == 1

    assert board.open == 0


class FakeHandler:
    """Remembers what it was handed."""

    def __init__(self) -> None:
        self.handled: list[Delivery] = []

    async def __call__(self, delivery: Delivery) -> None:
        """Take one."""
        self.handled.append(delivery)


def wait_for(event: asyncio.Event) -> Callable[[], Awaitable[None]]:
    """Finish once the event has come."""

    async def finish() -> None:
        await event.wait()

    return finish
