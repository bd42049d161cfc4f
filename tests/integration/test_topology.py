"""The topology that is declared in RabbitMQ equals the contract."""

import asyncio

import pytest

from restaurant_system.errors import BrokerRefuses
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from tests.conftest import QUICK_RETRIES, make_rabbitmq_broker
from tests.support.management_api import ManagementApi
from tests.support.messages import (
    DEAD_LETTERS,
    DELIVERY,
    DINE_IN,
    GENERAL,
    KITCHEN,
    TAKEOUT,
    make_order_messages,
    receive_one,
)
from tests.support.waiting import eventually

CLASSIC = {"x-queue-type": "classic"}
EARLIER_KITCHEN_QUEUE = {"x-max-priority": 10, "x-dead-letter-exchange": "orders_dlx"}
KITCHEN_QUEUE = {**CLASSIC, **EARLIER_KITCHEN_QUEUE}
RETRY_QUEUES = ("delivery_retry_queue.200ms", "delivery_retry_queue.600ms")


@pytest.mark.usefixtures("rabbitmq_broker")
def test_declared_exchanges_are_those_of_the_contract(management_api: ManagementApi) -> None:
    exchanges = management_api.listed("exchanges")
    own = [each for each in exchanges if each["name"] and not each["name"].startswith("amq.")]

    assert {each["name"]: (each["type"], each["arguments"]) for each in own} == {
        "orders_topic": ("topic", {"alternate-exchange": "orders_unrouted"}),
        "orders_unrouted": ("fanout", {}),
        "notifications_fanout": ("fanout", {}),
        "orders_dlx": ("fanout", {}),
        "delivery_retry": ("headers", {}),
    }
    assert all(each["durable"] and not each["auto_delete"] for each in own)


@pytest.mark.usefixtures("rabbitmq_broker")
def test_declared_queues_are_those_of_the_contract(management_api: ManagementApi) -> None:
    queues = management_api.listed("queues")

    assert {each["name"]: each["arguments"] for each in queues} == {
        DINE_IN: KITCHEN_QUEUE,
        TAKEOUT: KITCHEN_QUEUE,
        DELIVERY: KITCHEN_QUEUE,
        GENERAL: KITCHEN_QUEUE,
        DEAD_LETTERS: CLASSIC,
        RETRY_QUEUES[0]: {**CLASSIC, "x-message-ttl": 200, "x-dead-letter-exchange": ""},
        RETRY_QUEUES[1]: {**CLASSIC, "x-message-ttl": 600, "x-dead-letter-exchange": ""},
    }
    assert all(each["durable"] and not each["auto_delete"] for each in queues)


async def test_queues_of_a_cluster_are_quorum_queues_without_a_delivery_limit(
    amqp_url: str, management_api: ManagementApi
) -> None:
    """Only a subscriber without a name has a classic queue, which ends with its connection."""
    quorum = {"x-queue-type": "quorum", "x-delivery-limit": 2_147_483_647}
    at_least_once = {
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    kitchen_queue = {**quorum, "x-dead-letter-exchange": "orders_dlx"}
    retry_queue = {**quorum, **at_least_once, "x-dead-letter-exchange": ""}
    broker = make_rabbitmq_broker(amqp_url, QUICK_RETRIES, "quorum")
    await broker.connect()
    await broker.mark()

    async with broker.subscribe("printer"), broker.subscribe():
        queues = {each["name"]: each["arguments"] for each in management_api.listed("queues")}
    await broker.close()

    (unnamed,) = queues.keys() - {
        *KITCHEN,
        *RETRY_QUEUES,
        DEAD_LETTERS,
        "reconciliation_marker",
        "notifications_queue.printer",
    }
    durable = {
        **dict.fromkeys(KITCHEN, kitchen_queue),
        DEAD_LETTERS: quorum,
        RETRY_QUEUES[0]: {**retry_queue, "x-message-ttl": 200},
        RETRY_QUEUES[1]: {**retry_queue, "x-message-ttl": 600},
        "reconciliation_marker": quorum,
        "notifications_queue.printer": {**quorum, "x-single-active-consumer": True},
    }
    (unnamed,) = queues.keys() - durable.keys()
    assert queues == {**durable, unnamed: {**CLASSIC, "x-single-active-consumer": True}}


@pytest.mark.usefixtures("rabbitmq_broker")
def test_declared_bindings_are_those_of_the_contract(management_api: ManagementApi) -> None:
    bindings = {
        (each["source"], each["routing_key"], each["arguments"].get("retry-delay-ms")): each[
            "destination"
        ]
        for each in management_api.listed("bindings")
        if each["source"]  # not the default exchange, to which every queue is bound
    }

    assert bindings == {
        ("orders_topic", "kitchen.dine_in.*", None): DINE_IN,
        ("orders_topic", "kitchen.takeout.*", None): TAKEOUT,
        ("orders_topic", "kitchen.delivery.*", None): DELIVERY,
        ("orders_unrouted", "", None): GENERAL,
        ("orders_dlx", "", None): DEAD_LETTERS,
        ("delivery_retry", "", 200): RETRY_QUEUES[0],
        ("delivery_retry", "", 600): RETRY_QUEUES[1],
    }


async def test_no_feature_is_used_that_rabbitmq_4_deprecates(
    rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi
) -> None:
    """Such as transient non-exclusive queues, mirroring, and a prefetch limit per channel."""

    async def consumers_are_listed() -> bool:
        return management_api.consumers() == 6

    async with (
        rabbitmq_broker.consume(KITCHEN, prefetch=4) as worker,
        rabbitmq_broker.subscribe(),
        rabbitmq_broker.subscribe("printer"),
    ):
        idle = asyncio.create_task(receive_one(worker))
        await eventually(consumers_are_listed, doing="for the statistics of the consumers")
        channels, queues = management_api.channels(), management_api.listed("queues")
        idle.cancel()

    assert {each.get("global_prefetch_count", 0) for each in channels} == {0}
    assert len(queues) == 9
    assert all(each["durable"] or each["exclusive"] for each in queues)
    assert {each["type"] for each in queues} == {"classic"}
    arguments = {argument for each in queues for argument in each["arguments"]}
    assert arguments == {
        "x-queue-type",
        "x-max-priority",
        "x-dead-letter-exchange",
        "x-message-ttl",
        "x-single-active-consumer",
    }


OTHER_ARGUMENTS = {
    "another type": (
        "kitchen_takeout_queue",
        {"x-queue-type": "quorum", "x-dead-letter-exchange": "orders_dlx"},
        "The queue kitchen_takeout_queue exists in RabbitMQ with x-queue-type quorum instead of",
    ),
    "no priorities": (
        "kitchen_queue",
        {"x-dead-letter-exchange": "orders_dlx"},
        "The queue kitchen_queue exists in RabbitMQ with x-max-priority none instead of 10;",
    ),
    "another time to live": (
        RETRY_QUEUES[0],
        {"x-message-ttl": 7, "x-dead-letter-exchange": ""},
        f"The queue {RETRY_QUEUES[0]} exists in RabbitMQ with x-message-ttl 7 instead of 200;",
    ),
}


@pytest.mark.parametrize(
    ("queue", "arguments", "message"), OTHER_ARGUMENTS.values(), ids=OTHER_ARGUMENTS.keys()
)
async def test_queue_with_other_arguments_is_refused_until_it_is_deleted(
    amqp_url: str,
    management_api: ManagementApi,
    queue: str,
    arguments: dict[str, object],
    message: str,
) -> None:
    """While a queue has other arguments, publications and pings fail, with the reason."""
    management_api.declare_queue(queue, arguments)
    broker = make_rabbitmq_broker(amqp_url, QUICK_RETRIES)

    for call in (broker.connect(), broker.publish(make_order_messages(1)), broker.ping()):
        with pytest.raises(BrokerRefuses) as refused:
            await call
        assert str(refused.value).startswith(message)
    management_api.delete_queue(queue)

    assert await broker.ping() > 0
    assert await broker.publish(make_order_messages(1)) == []
    await broker.close()


async def test_exchange_of_another_type_is_refused(
    amqp_url: str, management_api: ManagementApi
) -> None:
    management_api.declare_exchange("orders_topic", "fanout")
    broker = make_rabbitmq_broker(amqp_url, QUICK_RETRIES)

    with pytest.raises(BrokerRefuses, match=r"exchange orders_topic .* type fanout instead of"):
        await broker.connect()
    await broker.close()


async def test_queues_of_an_earlier_release_without_a_type_are_accepted(
    amqp_url: str, management_api: ManagementApi
) -> None:
    """A queue that was declared without a type is a classic queue."""
    management_api.declare_queue("kitchen_queue", EARLIER_KITCHEN_QUEUE)
    broker = make_rabbitmq_broker(amqp_url, QUICK_RETRIES)

    await broker.connect()
    await broker.close()
