import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from structlog.testing import capture_logs

from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Consumer
from restaurant_system.models.message import Message, StatusChanged, decode
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.notification.subscriber import NotificationSubscriber, sentence
from restaurant_system.shutdown import Shutdown
from tests.support import messages
from tests.support.fakes import FakeConsumer, FakeDelivery, RecordingBroker
from tests.support.logs import logged
from tests.support.waiting import eventually


def make_status_update(number: int) -> Message:
    """Write that an order of that day is cooking."""
    update = StatusChanged(
        order_number=f"ORD_20241216_{number:03}",
        old_status=OrderStatus.RECEIVED,
        new_status=OrderStatus.COOKING,
        changed_by="mario",
        timestamp=datetime(2024, 12, 16, 12, 0, tzinfo=UTC),
    )
    return messages.make_status_update(body=update.encode())


def test_control_characters_of_a_forged_update_are_printed_escaped() -> None:
    """The line is one line, and no terminal obeys it."""
    forged = b"""{
        "order_number": "ORD_20241216_001", "old_status": "received", "new_status": "cooking",
        "changed_by": "mario\\u001b[2J\\u009b\\u202e\\u2066\\n", "timestamp": "2024-12-16T12:00:00Z"
    }"""

    line = sentence(decode(messages.make_status_update(body=forged), StatusChanged))

    assert line.endswith(r"from 'received' to 'cooking' by mario\x1b[2J\x9b\u202e\u2066\n.")


class SlowDelivery(FakeDelivery):
    """A delivery whose acknowledgement takes as long as a test wants it to."""

    def __init__(self, number: int = 1) -> None:
        super().__init__(make_status_update(number))
        self.settling = asyncio.Event()
        self.may_settle = asyncio.Event()

    async def ack(self) -> None:
        """Be done, in a while."""
        self.settling.set()
        await self.may_settle.wait()
        await super().ack()


class LostDelivery(FakeDelivery):
    """A delivery whose line breaks when it is acknowledged."""

    def __init__(self, number: int) -> None:
        super().__init__(make_status_update(number))

    async def ack(self) -> None:
        """Fail."""
        raise BrokerUnavailable("The line broke.")


class OneLineBroker(RecordingBroker):
    """A broker that has one line, for one subscriber."""

    def __init__(self, line: Consumer) -> None:
        super().__init__()
        self._line = line

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        """Lend the line."""
        assert name == "display"
        yield self._line


class SlowBroker(OneLineBroker):
    """A broker whose line takes as long to open as a test wants it to."""

    def __init__(self, line: Consumer) -> None:
        super().__init__(line)
        self.subscribing = asyncio.Event()
        self.may_subscribe = asyncio.Event()

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        """Lend the line, in a while."""
        self.subscribing.set()
        await self.may_subscribe.wait()
        async with super().subscribe(name) as line:
            yield line


async def test_it_says_that_it_is_subscribed_once_it_is() -> None:
    """From that line on nothing is missed; before it, something may be."""
    broker = SlowBroker(FakeConsumer())
    shutdown = Shutdown()
    subscriber = NotificationSubscriber(broker, "display", io.StringIO())

    with capture_logs() as lines:
        running = asyncio.create_task(subscriber.run(shutdown))
        await broker.subscribing.wait()
        said_too_early = await logged(lines, "subscribed")
        broker.may_subscribe.set()
        await eventually(lambda: logged(lines, "subscribed"), doing="for it to say so")
        shutdown.request_stop()
        await running

    assert not said_too_early


async def test_what_is_printed_is_settled_before_the_end() -> None:
    """Asked to stop in the middle of an update, it acknowledges it: nobody is told twice."""
    delivery = SlowDelivery()
    out = io.StringIO()
    shutdown = Shutdown()
    subscriber = NotificationSubscriber(OneLineBroker(FakeConsumer(delivery)), "display", out)
    running = asyncio.create_task(subscriber.run(shutdown))
    await delivery.settling.wait()

    shutdown.request_stop()
    await asyncio.wait({running}, timeout=0.1)  # it would leave at once, if it did not care
    delivery.may_settle.set()
    await running

    assert out.getvalue().count("\n") == 1
    assert delivery.settled == ["ack"]


async def test_an_update_is_printed_while_the_one_before_is_settled() -> None:
    """Updates are printed in order, and none waits for another's acknowledgement."""
    deliveries = [SlowDelivery(number) for number in range(1, 4)]
    out = io.StringIO()
    shutdown = Shutdown()
    subscriber = NotificationSubscriber(OneLineBroker(FakeConsumer(*deliveries)), "display", out)
    running = asyncio.create_task(subscriber.run(shutdown))

    await deliveries[-1].settling.wait()
    printed = out.getvalue()
    for delivery in deliveries:
        delivery.may_settle.set()
    shutdown.request_stop()
    await running

    assert [line.split()[3] for line in printed.splitlines()] == [
        "ORD_20241216_001:",
        "ORD_20241216_002:",
        "ORD_20241216_003:",
    ]
    assert [delivery.settled for delivery in deliveries] == [["ack"]] * 3


async def test_a_lost_acknowledgement_stops_nobody() -> None:
    """When the line breaks under an acknowledgement, the next update is printed all the same."""
    lost, good = LostDelivery(1), SlowDelivery(2)
    good.may_settle.set()
    out = io.StringIO()
    shutdown = Shutdown()
    subscriber = NotificationSubscriber(OneLineBroker(FakeConsumer(lost, good)), "display", out)
    running = asyncio.create_task(subscriber.run(shutdown))

    await good.settling.wait()
    shutdown.request_stop()
    await running

    assert out.getvalue().count("\n") == 2
    assert good.settled == ["ack"]
