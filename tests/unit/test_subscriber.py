import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from restaurant_system.config import DeliverySettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Consumer
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.models.message import Message, StatusChanged, decode
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.notification import subscriber as module
from restaurant_system.services.notification.subscriber import NotificationSubscriber, sentence
from restaurant_system.shutdown import Shutdown
from tests.support import messages
from tests.support.fakes import FakeConsumer, FakeDelivery, RecordingBroker
from tests.support.logs import capture_logs, logged
from tests.support.waiting import eventually

POLICY = RetryPolicy(DeliverySettings())


def make_status_update(number: int) -> Message:
    """Return an update from received to cooking."""
    update = StatusChanged(
        order_number=f"ORD_20241216_{number:03}",
        old_status=OrderStatus.RECEIVED,
        new_status=OrderStatus.COOKING,
        changed_by="mario",
        timestamp=datetime(2024, 12, 16, 12, 0, tzinfo=UTC),
    )
    return messages.make_status_update(body=update.encode())


def test_control_characters_of_a_forged_update_are_escaped() -> None:
    forged = b"""{
        "order_number": "ORD_20241216_001", "old_status": "received", "new_status": "cooking",
        "changed_by": "mario\\u001b[2J\\u009b\\u202e\\u2066\\n", "timestamp": "2024-12-16T12:00:00Z"
    }"""

    line = sentence(decode(messages.make_status_update(body=forged), StatusChanged))

    assert line.endswith(r"from 'received' to 'cooking' by mario\x1b[2J\x9b\u202e\u2066\n.")


class SlowDelivery(FakeDelivery):
    """A delivery whose acknowledgement waits for `may_acknowledge`."""

    def __init__(self, number: int = 1) -> None:
        super().__init__(make_status_update(number))
        self.acknowledging = asyncio.Event()
        self.may_acknowledge = asyncio.Event()

    async def ack(self) -> None:
        """Wait for `may_acknowledge`, then acknowledge."""
        self.acknowledging.set()
        await self.may_acknowledge.wait()
        await super().ack()


class LostDelivery(FakeDelivery):
    """A delivery whose acknowledgement fails."""

    def __init__(self, number: int) -> None:
        super().__init__(make_status_update(number))

    async def ack(self) -> None:
        """Fail to acknowledge, with `BrokerUnavailable`."""
        raise BrokerUnavailable("Connection lost.")


class OneConsumerBroker(RecordingBroker):
    """A broker with one consumer, for the subscriber `display`."""

    def __init__(self, consumer: Consumer) -> None:
        super().__init__()
        self._consumer = consumer

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        """Yield the broker's only consumer."""
        assert name == "display"
        yield self._consumer


class SlowBroker(OneConsumerBroker):
    """A broker whose subscription waits for `may_subscribe`."""

    def __init__(self, consumer: Consumer) -> None:
        super().__init__(consumer)
        self.subscribing = asyncio.Event()
        self.may_subscribe = asyncio.Event()

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        """Wait for `may_subscribe`, then yield the consumer."""
        self.subscribing.set()
        await self.may_subscribe.wait()
        async with super().subscribe(name) as consumer:
            yield consumer


async def test_subscribed_is_logged_after_the_subscription() -> None:
    """Updates published before that may be missed, later ones are not."""
    broker = SlowBroker(FakeConsumer())
    shutdown = Shutdown()
    subscriber = NotificationSubscriber(broker, POLICY, "display", io.StringIO())

    with capture_logs() as lines:
        running = asyncio.create_task(subscriber.run(shutdown))
        await broker.subscribing.wait()
        logged_too_early = await logged(lines, "subscribed")
        broker.may_subscribe.set()
        await eventually(lambda: logged(lines, "subscribed"), doing="for the subscription")
        shutdown.request_stop()
        await running

    assert not logged_too_early


async def test_printed_update_is_acknowledged_before_the_stop() -> None:
    """An unacknowledged update would be printed again after the next start."""
    delivery = SlowDelivery()
    out = io.StringIO()
    shutdown = Shutdown()
    subscriber = NotificationSubscriber(
        OneConsumerBroker(FakeConsumer(delivery)), POLICY, "display", out
    )
    running = asyncio.create_task(subscriber.run(shutdown))
    await delivery.acknowledging.wait()

    shutdown.request_stop()
    await asyncio.wait({running}, timeout=0.1)  # without the wait it would end at once
    delivery.may_acknowledge.set()
    await running

    assert out.getvalue().count("\n") == 1
    assert delivery.settled == ["ack"]


async def test_updates_are_printed_in_order_without_waiting_for_acknowledgements() -> None:
    deliveries = [SlowDelivery(number) for number in range(1, 4)]
    out = io.StringIO()
    shutdown = Shutdown()
    subscriber = NotificationSubscriber(
        OneConsumerBroker(FakeConsumer(*deliveries)), POLICY, "display", out
    )
    running = asyncio.create_task(subscriber.run(shutdown))

    await deliveries[-1].acknowledging.wait()
    printed = out.getvalue()
    for delivery in deliveries:
        delivery.may_acknowledge.set()
    shutdown.request_stop()
    await running

    assert [line.split()[3] for line in printed.splitlines()] == [
        "ORD_20241216_001:",
        "ORD_20241216_002:",
        "ORD_20241216_003:",
    ]
    assert [delivery.settled for delivery in deliveries] == [["ack"]] * 3


async def printed_until_acknowledged(*earlier: FakeDelivery, last: SlowDelivery) -> list[str]:
    """Run a subscriber until the last delivery is acknowledged; return the printed lines."""
    deliveries = [*earlier, last]
    for delivery in deliveries:
        if isinstance(delivery, SlowDelivery):
            delivery.may_acknowledge.set()
    out, shutdown = io.StringIO(), Shutdown()
    subscriber = NotificationSubscriber(
        OneConsumerBroker(FakeConsumer(*deliveries)), POLICY, "display", out
    )
    running = asyncio.create_task(subscriber.run(shutdown))
    await last.acknowledging.wait()
    shutdown.request_stop()
    await running
    return out.getvalue().splitlines()


async def test_failed_acknowledgement_does_not_stop_the_subscriber() -> None:
    lost, good = LostDelivery(1), SlowDelivery(2)

    printed = await printed_until_acknowledged(lost, last=good)

    assert len(printed) == 2
    assert good.settled == ["ack"]


async def test_update_that_is_delivered_again_is_printed_once_and_acknowledged() -> None:
    """It may be a redelivery, or a copy that a third party has published."""
    first, copy, other = SlowDelivery(1), SlowDelivery(1), SlowDelivery(2)
    copy.message = first.message

    printed = await printed_until_acknowledged(first, copy, last=other)

    assert [line.split()[3] for line in printed] == ["ORD_20241216_001:", "ORD_20241216_002:"]
    assert [delivery.settled for delivery in (first, copy, other)] == [["ack"]] * 3


async def test_only_the_latest_printed_updates_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_PRINTED_IDS", 1)
    first, other, copy = SlowDelivery(1), SlowDelivery(2), SlowDelivery(1)
    copy.message = first.message

    printed = await printed_until_acknowledged(first, other, last=copy)

    assert len(printed) == 3
