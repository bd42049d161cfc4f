"""Deleted queues, limits, and messages of third-party publishers in RabbitMQ."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from restaurant_system.errors import BrokerRefuses, BrokerUnavailable
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.resilient_consumer import ResilientConsumer
from restaurant_system.messaging.retry_policy import RetryPolicy, attempt_of
from tests.conftest import QUICK_RETRIES, make_rabbitmq_broker
from tests.support.broker_connections import RabbitMQConnections
from tests.support.management_api import ManagementApi
from tests.support.messages import (
    DEAD_LETTERS,
    DELIVERY,
    DINE_IN,
    GENERAL,
    KITCHEN,
    RECEIVE_TIMEOUT,
    TAKEOUT,
    make_order_message,
    make_order_messages,
    receive,
    receive_one,
    unroutable,
)
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.waiting import eventually

RETRY_QUEUES = ("delivery_retry_queue.200ms", "delivery_retry_queue.600ms")


async def test_connect_declares_deleted_queues_again(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi
) -> None:
    """Deleted queues are declared again on an open connection too."""
    queues = {*KITCHEN, DEAD_LETTERS, *RETRY_QUEUES}
    for queue in queues:
        management_api.delete_queue(queue)

    await rabbitmq_broker.connect()

    assert {each["name"] for each in management_api.listed("queues")} == queues


async def test_resilient_consumer_continues_after_the_deletion_of_its_queue(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi, policy: RetryPolicy
) -> None:
    handled: asyncio.Queue[Delivery] = asyncio.Queue()
    resilient = ResilientConsumer(
        rabbitmq_broker,
        policy,
        open_consumer=lambda: rabbitmq_broker.consume([TAKEOUT, DINE_IN], prefetch=2),
        handle=handled.put,
        drain=no_drain,
    )
    consuming = asyncio.create_task(resilient.run())
    await rabbitmq_broker.publish(make_order_messages(1))
    await (await handled.get()).ack()

    async def is_bound() -> bool:
        bindings = management_api.listed("bindings")
        return TAKEOUT in {each["destination"] for each in bindings if each["source"]}

    management_api.delete_queue(TAKEOUT)
    await eventually(is_bound, doing="for the queue to be declared again", seconds=RECEIVE_TIMEOUT)
    order = make_order_message()
    await rabbitmq_broker.publish([order])

    async with asyncio.timeout(RECEIVE_TIMEOUT):
        assert (await handled.get()).message.message_id == order.message_id
    consuming.cancel()


async def no_drain() -> None:
    """Return at once: nothing is in flight."""


async def test_deletion_of_a_consumed_queue_ends_the_iteration_with_an_error(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi
) -> None:
    async with rabbitmq_broker.consume(KITCHEN, prefetch=4) as cook:
        management_api.delete_queue(TAKEOUT)

        with pytest.raises(BrokerUnavailable):
            await receive_one(cook)


async def test_message_to_a_deleted_queue_is_refused_and_the_queue_declared_again(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi
) -> None:
    management_api.delete_queue(GENERAL)
    order = make_order_message("catering")

    refused = await rabbitmq_broker.publish([order])
    refused_again = await rabbitmq_broker.publish([order])

    assert [each.message for each in refused] == [order]
    assert refused_again == []
    assert (await rabbitmq_broker.depths())[GENERAL] == 1


async def test_confirmed_messages_are_not_published_again_if_a_queue_cannot_be_declared(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi
) -> None:
    """A publication that raises is repeated with all of its messages."""
    management_api.delete_queue(DELIVERY)
    management_api.declare_queue(DELIVERY, {"x-max-priority": 3})
    refused_message = unroutable()

    refused = await rabbitmq_broker.publish([make_order_message(), refused_message])

    assert [each.message for each in refused] == [refused_message]


@pytest.mark.parametrize("exchange", ["orders_topic", "notifications_fanout"])
async def test_deleted_exchange_is_declared_again(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi, exchange: str
) -> None:
    """The first publication raises `BrokerUnavailable`, the second succeeds."""
    management_api.delete_exchange(exchange)
    message = make_order_message(exchange=exchange)

    with pytest.raises(BrokerUnavailable):
        await asyncio.wait_for(rabbitmq_broker.publish([message]), RECEIVE_TIMEOUT)
    refused = await rabbitmq_broker.publish([message])

    assert refused == []


async def test_broker_is_blank_without_its_marker(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi
) -> None:
    new = await rabbitmq_broker.is_blank()
    await rabbitmq_broker.mark()
    marked = await rabbitmq_broker.is_blank()
    management_api.delete_queue("reconciliation_marker")
    deleted = await rabbitmq_broker.is_blank()

    assert (new, marked, deleted) == (True, False, True)
    assert await rabbitmq_broker.publish(make_order_messages(1)) == []


async def test_message_to_a_full_queue_is_refused_and_the_others_published(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi
) -> None:
    management_api.limit(TAKEOUT, **{"max-length": 1, "overflow": "reject-publish"})

    async def is_full() -> bool:
        return bool(await rabbitmq_broker.publish(make_order_messages(1)))

    await eventually(is_full, doing="for the limit to be in force")
    refused_order, other = make_order_message(), make_order_message("dine_in")
    refused = await rabbitmq_broker.publish([refused_order, other])

    assert [each.message for each in refused] == [refused_order]
    assert "a queue is full" in refused[0].reason
    assert (await rabbitmq_broker.depths())[DINE_IN] == 1


async def test_message_is_requeued_if_its_retry_cannot_be_published(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi, policy: RetryPolicy
) -> None:
    order = make_order_message()
    await rabbitmq_broker.publish([order])
    for queue in RETRY_QUEUES:
        management_api.delete_queue(queue)

    async with rabbitmq_broker.consume([TAKEOUT], prefetch=1) as cook:
        with pytest.raises(BrokerUnavailable):
            await policy.retry(await receive_one(cook), "the oven is cold")
        again = await receive_one(cook)

    assert again.message.message_id == order.message_id
    assert attempt_of(again.message) == 1


async def test_closing_the_broker_ends_an_iteration_with_an_error(
    rabbitmq_broker: RabbitMQBroker,
) -> None:
    async with rabbitmq_broker.consume(KITCHEN, prefetch=1) as cook:
        await rabbitmq_broker.close()

        with pytest.raises(BrokerUnavailable):
            await receive_one(cook)


async def test_message_without_properties_is_delivered(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi
) -> None:
    """A message without an id keeps its generated id at each redelivery."""
    management_api.publish(TAKEOUT, "hello")

    async with rabbitmq_broker.consume([TAKEOUT], prefetch=1) as cook:
        first = await receive_one(cook)
        await first.requeue()
        again = await receive_one(cook)

    assert again.message.body == b"hello"
    assert again.message.message_id == first.message.message_id
    assert again.message.content_type == ""
    assert attempt_of(again.message) == 1


async def test_message_of_a_third_party_publisher_can_be_dead_lettered(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi, policy: RetryPolicy
) -> None:
    """Unknown header types and an id that is no UUID do not prevent dead-lettering."""
    management_api.publish(
        TAKEOUT,
        "hello",
        message_id="42",
        headers={"x-attempts": "many", "list": [1, 2], "table": {"a": 1}, "half": 0.5},
    )

    async with rabbitmq_broker.consume([TAKEOUT], prefetch=1) as cook:
        delivery = await receive_one(cook)
        await policy.dead_letter(delivery, "not JSON")

    async with rabbitmq_broker.consume([DEAD_LETTERS], prefetch=1) as consumer:
        letter = await receive_one(consumer)
    assert attempt_of(delivery.message) == 1
    assert letter.message.body == b"hello"


async def test_message_dead_lettered_by_rabbitmq_has_a_reason_and_its_origin(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi
) -> None:
    order = make_order_message(priority=5)
    management_api.limit(TAKEOUT, **{"message-ttl": 1})

    async def has_expired() -> bool:
        await rabbitmq_broker.publish([order])
        return bool(await dead_letters.read(rabbitmq_broker))

    await eventually(has_expired, doing="for the limit to be in force")
    letter, *_ = await dead_letters.read(rabbitmq_broker)

    assert (letter.reason, letter.queue) == ("expired", TAKEOUT)
    assert letter.original() == order


async def test_message_that_amqp_cannot_express_is_refused_and_the_others_published(
    rabbitmq_broker: RabbitMQBroker,
) -> None:
    inexpressible = [
        make_order_message(routing_key="k" * 256),
        make_order_message(correlation_id="\N{LATIN SMALL LETTER E WITH ACUTE}" * 128),
        make_order_message(priority=256),
        make_order_message(priority=-1),
        make_order_message(timestamp=datetime(1969, 12, 31, tzinfo=UTC)),
    ]
    good = [make_order_message() for _ in inexpressible]

    refused = await rabbitmq_broker.publish(
        [each for pair in zip(inexpressible, good, strict=True) for each in pair]
    )

    assert [each.message for each in refused] == inexpressible
    assert (await rabbitmq_broker.depths())[TAKEOUT] == len(good)


async def test_batch_is_published_within_few_iterations_of_a_busy_event_loop(
    rabbitmq_broker: RabbitMQBroker,
) -> None:
    """More iterations would slow the relay in a process that is busy with HTTP requests."""
    iterations = 0

    async def keep_busy() -> None:
        nonlocal iterations
        while True:
            time.sleep(0.005)  # noqa: ASYNC251 - as requests do
            iterations += 1
            await asyncio.sleep(0)

    requests = asyncio.create_task(keep_busy())
    await rabbitmq_broker.publish(make_order_messages(500))
    requests.cancel()

    assert iterations < 100


async def test_publication_without_permission_is_refused_with_the_reason(
    amqp_url: str, management_api: ManagementApi
) -> None:
    user = urlsplit(amqp_url).path.removeprefix("/") + "-reader"
    management_api.create_user(user, write="^(?!orders_topic$).*")
    broker = make_rabbitmq_broker(amqp_url.replace("guest:guest", f"{user}:{user}"), QUICK_RETRIES)
    try:
        with pytest.raises(BrokerRefuses, match="access to exchange 'orders_topic'"):
            await broker.publish(make_order_messages(3))
    finally:
        await broker.close()


@pytest.fixture
async def unretrieved() -> AsyncIterator[list[dict[str, Any]]]:
    """Collect what asyncio reports about exceptions that were never retrieved."""
    loop, reported = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _loop, context: reported.append(context))
    yield reported
    loop.set_exception_handler(None)


async def test_connection_broken_under_load_leaves_no_exception_unretrieved(
    rabbitmq_server: RabbitMQ,
    rabbitmq_broker: RabbitMQBroker,
    unretrieved: list[dict[str, Any]],
) -> None:
    """Calls in flight raise `BrokerUnavailable` with a message without a Python object."""

    async def publish() -> None:
        while True:
            await rabbitmq_broker.publish(make_order_messages(200))

    async with rabbitmq_broker.consume(KITCHEN, prefetch=100) as worker:
        held = await _publish_and_receive(rabbitmq_broker, worker)
        calls = [asyncio.create_task(call) for call in (publish(), receive_one(worker))]
        await RabbitMQConnections(rabbitmq_server).cut()
        calls += [asyncio.create_task(delivery.ack()) for delivery in held]
        results = await asyncio.gather(*calls, return_exceptions=True)
        errors = [(type(each), str(each)) for each in results if isinstance(each, Exception)]
    await rabbitmq_broker.close()
    del calls, held, results, worker  # their tracebacks keep futures alive
    gc.collect()
    await asyncio.sleep(0.1)

    assert errors
    assert {kind for kind, _ in errors} == {BrokerUnavailable}
    assert not [text for _, text in errors if "<" in text]
    assert unretrieved == []


async def test_channel_closed_under_load_leaves_no_exception_unretrieved(
    rabbitmq_broker: RabbitMQBroker,
    management_api: ManagementApi,
    unretrieved: list[dict[str, Any]],
) -> None:
    """RabbitMQ closes a channel on which something is published to a missing exchange."""
    publishing = [
        asyncio.create_task(rabbitmq_broker.publish(make_order_messages(400))) for _ in range(5)
    ]
    await asyncio.sleep(0)  # the first messages are sent before the exchange is deleted
    await asyncio.to_thread(management_api.delete_exchange, "orders_topic")
    publishing.append(asyncio.create_task(rabbitmq_broker.publish(make_order_messages(400))))
    results = await asyncio.gather(*publishing, return_exceptions=True)
    await rabbitmq_broker.close()
    kinds = {type(each) for each in results if isinstance(each, BaseException)}
    del publishing, results  # their tracebacks keep futures alive
    gc.collect()
    await asyncio.sleep(0.1)

    assert BrokerRefuses in kinds
    assert all(issubclass(kind, BrokerUnavailable) for kind in kinds)
    assert unretrieved == []


async def test_refused_declaration_leaves_no_exception_unretrieved(
    rabbitmq_broker: RabbitMQBroker,
    management_api: ManagementApi,
    unretrieved: list[dict[str, Any]],
) -> None:
    management_api.delete_queue(TAKEOUT)
    management_api.declare_queue(TAKEOUT, {"x-max-priority": 3})

    for _ in range(2):
        with contextlib.suppress(BrokerRefuses):
            await rabbitmq_broker.connect()
    await rabbitmq_broker.close()
    gc.collect()
    await asyncio.sleep(0.1)

    assert unretrieved == []


async def _publish_and_receive(broker: RabbitMQBroker, worker: Consumer) -> list[Delivery]:
    await broker.publish(make_order_messages(50))
    return await receive(worker, 50)
