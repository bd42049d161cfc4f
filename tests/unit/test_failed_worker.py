"""A worker that fails while messages arrive: these stay with the broker."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from restaurant_system.config import DeliverySettings, KitchenSettings
from restaurant_system.errors import TooManyDeadLetters
from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import OrderType
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.lifecycle import KitchenWorker
from restaurant_system.worker.order_processor import ClaimRules
from restaurant_system.worker.registration import Registration
from tests.support.fakes import FakeDelivery, RecordingBroker
from tests.support.messages import make_order_message

MESSAGES = 20


class BusyConsumer(Consumer):
    """Yields one delivery in each iteration of the event loop."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self.is_closed = False
        self._deliveries = deliveries

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        for delivery in self._deliveries:
            yield delivery
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Do nothing: the test does not stop it."""


class BusyBroker(RecordingBroker):
    """A broker with one consumer, which redelivers what is unsettled when it is closed."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        super().__init__()
        self.consumer = BusyConsumer(deliveries)

    @contextlib.asynccontextmanager
    async def consume(self, queues: Sequence[str], *, prefetch: int) -> AsyncIterator[Consumer]:
        """Open the consumer."""
        assert queues
        assert prefetch
        try:
            yield self.consumer
        finally:
            self.consumer.is_closed = True


class IdleProcessor:
    """Processes no orders."""

    is_busy = False
    capacity = 1
    is_station = False

    async def poll_orders(self) -> None:
        """Wait until cancelled."""
        await asyncio.Event().wait()


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register workers without a database."""

    async def succeed(_: Registration) -> None:
        """Do nothing."""

    for step in ("register", "deregister", "send_heartbeats"):
        monkeypatch.setattr(Registration, step, succeed)


def make_worker(broker: RecordingBroker, policy: RetryPolicy) -> KitchenWorker:
    """Make a worker without a database."""
    day = BusinessDay(ZoneInfo("UTC"))
    rules = ClaimRules("chef", tuple(OrderType), KitchenSettings(prefetch=9), utc_now, day)
    nothing = cast("Any", None)
    processor = cast("Any", IdleProcessor())
    return KitchenWorker(nothing, broker, policy, processor, rules, session=uuid4())


def unawaited(warnings: pytest.WarningsRecorder) -> list[str]:
    """Return which coroutines were never awaited."""
    gc.collect()  # a traceback may keep them
    return [str(each.message) for each in warnings if "never awaited" in str(each.message)]


@pytest.mark.usefixtures("_registered")
async def test_message_that_arrives_while_a_worker_fails_is_left_to_the_broker(
    recwarn: pytest.WarningsRecorder,
) -> None:
    invalid = [FakeDelivery(make_order_message()) for _ in range(MESSAGES)]
    broker = BusyBroker(invalid)
    policy = RetryPolicy(DeliverySettings(max_dead_letters=1))

    with pytest.raises(ExceptionGroup) as failure:
        await make_worker(broker, policy).run(Shutdown())

    assert failure.group_contains(TooManyDeadLetters)
    assert not failure.group_contains(RuntimeError)
    assert broker.consumer.is_closed
    assert ["publish" in str(each.settled) for each in invalid].count(True) == 1
    assert invalid[-1].settled == []
    assert unawaited(recwarn) == []
