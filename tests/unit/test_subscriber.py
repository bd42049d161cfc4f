import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from restaurant_system.messaging.broker import Consumer
from restaurant_system.models.message import StatusChanged
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.notification.subscriber import NotificationSubscriber
from restaurant_system.shutdown import Shutdown
from tests.support import messages
from tests.support.fakes import FakeDelivery, FakeLine, RecordingBroker

UPDATE = StatusChanged(
    order_number="ORD_20241216_001",
    old_status=OrderStatus.RECEIVED,
    new_status=OrderStatus.COOKING,
    changed_by="mario",
    timestamp=datetime(2024, 12, 16, 12, 0, tzinfo=UTC),
)


class SlowDelivery(FakeDelivery):
    """A delivery whose acknowledgement takes as long as a test wants it to."""

    def __init__(self) -> None:
        super().__init__(messages.an_update(body=UPDATE.encode()))
        self.settling = asyncio.Event()
        self.may_settle = asyncio.Event()

    async def ack(self) -> None:
        """Be done, in a while."""
        self.settling.set()
        await self.may_settle.wait()
        await super().ack()


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


async def test_what_is_printed_is_settled_before_the_end() -> None:
    """Asked to stop in the middle of an update, it acknowledges it: nobody is told twice."""
    delivery = SlowDelivery()
    out = io.StringIO()
    shutdown = Shutdown()
    subscriber = NotificationSubscriber(OneLineBroker(FakeLine(delivery)), "display", out)
    running = asyncio.create_task(subscriber.run(shutdown))
    await delivery.settling.wait()

    shutdown.ask()
    await asyncio.wait({running}, timeout=0.1)  # it would leave at once, if it did not care
    delivery.may_settle.set()
    await running

    assert out.getvalue().count("\n") == 1
    assert delivery.settled == ["ack"]
