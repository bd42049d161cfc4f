"""The queues of orders in several partitions, whose number changes while orders wait."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiormq
import pytest

from restaurant_system.config import RabbitMQSettings
from restaurant_system.messaging import topology
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.rabbitmq.inspection import RabbitMQInspection
from restaurant_system.models.message import Message
from restaurant_system.models.order import OrderType
from tests.conftest import QUICK_RETRIES
from tests.support.messages import (
    KITCHEN,
    TAKEOUT,
    make_messages_for_each_queue,
    message_ids,
    receive,
)
from tests.support.waiting import eventually

QUEUE_TYPES = pytest.mark.parametrize("queue_type", ["classic", "quorum"])
EACH = 40  # messages for each queue, so that no partition stays empty


@contextlib.asynccontextmanager
async def open_broker(
    url: str, partitions: int, queue_type: str = "classic", consumed: tuple[int, ...] = ()
) -> AsyncIterator[RabbitMQBroker]:
    """Connect to a virtual host with this number of partitions."""
    broker = RabbitMQBroker(
        settings_of(url, partitions, queue_type, consumed), QUICK_RETRIES.retry_delays
    )
    await broker.connect()
    try:
        yield broker
    finally:
        await broker.close()


def settings_of(
    url: str, partitions: int, queue_type: str = "classic", consumed: tuple[int, ...] = ()
) -> RabbitMQSettings:
    return RabbitMQSettings.model_validate(
        {
            "url": url,
            "partitions": partitions,
            "queue_type": queue_type,
            "consume_partitions": consumed,
        }
    )


async def ready_messages(url: str, queue: str) -> int:
    """Return how many messages wait in a queue of RabbitMQ."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        return (await channel.queue_declare(queue, passive=True)).message_count or 0
    finally:
        await connection.close()


async def wait_for_count(broker: RabbitMQBroker, count: int) -> None:
    """Wait until so many messages are ready in all queues; a quorum queue counts with a delay."""

    async def are_counted() -> bool:
        depths = await broker.depths()
        assert set(depths) == {queue.name for queue in topology.QUEUES}
        return sum(depths.values()) == count

    await eventually(are_counted, doing=f"for {count} messages")


async def receive_and_ack(
    broker: RabbitMQBroker, count: int, queue_type: str = "classic"
) -> list[Message]:
    """Consume all queues of orders until this number of messages is received.

    Classic queues are empty afterwards. In quorum queues some messages may be ready again: when a
    channel closes, a quorum queue may lose those of its last acknowledgements that RabbitMQ holds
    back, which it does beyond 32 in progress.
    """
    async with broker.consume(KITCHEN, prefetch=count) as consumer:
        deliveries = await receive(consumer, count)
        await broker.ack_all(deliveries)
    if queue_type == "classic":
        await wait_for_count(broker, 0)
    return [each.message for each in deliveries]


@QUEUE_TYPES
async def test_partitions_of_a_queue_are_consumed_as_one(amqp_url: str, queue_type: str) -> None:
    messages = make_messages_for_each_queue(EACH)
    async with open_broker(amqp_url, 3, queue_type) as broker:
        assert sum((await broker.depths()).values()) == 0
        assert await broker.publish(messages) == []
        depths = await broker.depths()
        parts = [await ready_messages(amqp_url, f"{TAKEOUT}{end}") for end in ("", ".1", ".2")]
        received = await receive_and_ack(broker, len(messages), queue_type)

    assert {name: count for name, count in depths.items() if count} == dict.fromkeys(KITCHEN, EACH)
    assert sum(parts) == EACH
    assert min(parts) > 0
    assert sorted(each.routing_key for each in received) == sorted(
        each.routing_key for each in messages
    )
    assert sorted(message_ids(received)) == sorted(message_ids(messages))


@QUEUE_TYPES
async def test_number_of_partitions_changes_while_messages_wait(
    amqp_url: str, queue_type: str
) -> None:
    """Processes with the old and the new number run at the same time, and nothing is lost."""
    messages = make_messages_for_each_queue(EACH)
    async with (
        open_broker(amqp_url, 4, queue_type) as old,
        open_broker(amqp_url, 2, queue_type) as new,
        open_broker(amqp_url, 1, queue_type) as oldest,
    ):
        await old.publish(messages[::2])
        await new.publish(messages[1::2])
        for broker in (old, new, oldest):
            await wait_for_count(broker, len(messages))
        received = await receive_and_ack(oldest, len(messages), queue_type)

    assert sorted(message_ids(received)) == sorted(message_ids(messages))


async def test_deleted_partition_is_missed_by_none(amqp_url: str) -> None:
    """A process with more partitions declares it again."""
    async with open_broker(amqp_url, 2) as old, open_broker(amqp_url, 1) as new:
        assert sum((await new.depths()).values()) == 0
        connection = await aiormq.connect(amqp_url)
        await (await connection.channel()).queue_delete(f"{TAKEOUT}.1")
        await connection.close()
        assert sum((await new.depths()).values()) == 0

        messages = make_messages_for_each_queue(EACH)
        assert await old.publish(messages) == []  # the general queue takes what has no partition
        received = await receive_and_ack(new, len(messages))
        await old.ping()
        assert await ready_messages(amqp_url, f"{TAKEOUT}.1") == 0

    assert sorted(message_ids(received)) == sorted(message_ids(messages))


async def test_retired_partitions_are_looked_for_again_only_while_there_are_any(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ logs each look for a queue that does not exist."""
    looked_for: list[str] = []
    declare = aiormq.Channel.queue_declare

    async def record(channel: aiormq.Channel, queue: str = "", **options: Any) -> Any:  # noqa: ANN401
        if options.get("passive"):
            looked_for.append(queue)
        return await declare(channel, queue, **options)

    monkeypatch.setattr(aiormq.Channel, "queue_declare", record)

    async def looks_at_a_connection(broker: RabbitMQBroker) -> int:
        looked_for.clear()
        async with broker.consume(KITCHEN, prefetch=1):
            return len(looked_for)

    async with open_broker(amqp_url, 1) as never_partitioned:
        looks = [await looks_at_a_connection(never_partitioned) for _ in range(2)]
        assert looks == [len(OrderType), 0]
    async with open_broker(amqp_url, 2), open_broker(amqp_url, 1) as reduced:
        looks = [await looks_at_a_connection(reduced) for _ in range(2)]
        assert looks == [2 * len(OrderType)] * 2  # each has one, and no second one


async def test_worker_takes_messages_of_the_partitions_that_are_named(amqp_url: str) -> None:
    messages = make_messages_for_each_queue(EACH)
    async with (
        open_broker(amqp_url, 3, consumed=(1,)) as one,
        open_broker(amqp_url, 3, consumed=(0, 2)) as others,
    ):
        await one.publish(messages)
        parts = [await ready_messages(amqp_url, f"{TAKEOUT}{end}") for end in ("", ".1", ".2")]
        queue = topology.kitchen_queues([OrderType.TAKEOUT])[:1]
        async with one.consume(queue, prefetch=2 * EACH) as consumer:
            await one.ack_all(await receive(consumer, parts[1]))
            assert (await one.depths())[TAKEOUT] == parts[0] + parts[2]
        async with others.consume(queue, prefetch=2 * EACH) as consumer:
            await others.ack_all(await receive(consumer, parts[0] + parts[2]))
        assert (await one.depths())[TAKEOUT] == 0


async def test_message_of_a_partition_returns_after_its_delay(amqp_url: str) -> None:
    async with open_broker(amqp_url, 3) as broker:
        messages = make_messages_for_each_queue(EACH)
        await broker.publish(messages)
        async with broker.consume([TAKEOUT], prefetch=EACH) as consumer:
            for delivery in await receive(consumer, EACH):
                assert delivery.queue == TAKEOUT
                await delivery.replace(delivery.message, timedelta(seconds=0.2))
            returned = await receive(consumer, EACH)
            await broker.ack_all(returned)

    takeout = [each for each in messages if each.routing_key.startswith("kitchen.takeout.")]
    assert sorted(message_ids(returned)) == sorted(message_ids(takeout))


async def test_doctor_compares_partitions_and_counts_their_messages(amqp_url: str) -> None:
    messages = make_messages_for_each_queue(EACH)
    async with open_broker(amqp_url, 2) as broker:
        await broker.publish(messages)
    more = RabbitMQInspection(settings_of(amqp_url, 3), QUICK_RETRIES.retry_delays)
    try:
        absent = (await more.differences()).absent
        depths = await more.depths()
        lacking = await more.lacking_rights()
    finally:
        await more.close()

    assert absent == len(OrderType)  # the third partition of each
    assert depths[TAKEOUT] == EACH
    assert lacking == {}
