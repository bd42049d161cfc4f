"""Routing of messages by the bindings of the topology."""

import itertools

import pytest

from restaurant_system.messaging import topology
from restaurant_system.messaging.topology import Binding
from restaurant_system.models.order import OrderType

DINE_IN = "kitchen_dine_in_queue"
TAKEOUT = "kitchen_takeout_queue"
DELIVERY = "kitchen_delivery_queue"
GENERAL = "kitchen_queue"
DEAD_LETTERS = "kitchen_dead_letter_queue"


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("", "kitchen.takeout.5"),
        ("", ""),
        ("kitchen", "kitchen"),
        ("kitchen.takeout.5", "kitchen.takeout.5"),
        ("kitchen.takeout.*", "kitchen.takeout.5"),
        ("*.takeout.5", "kitchen.takeout.5"),
        ("*.*.*", "kitchen.takeout.5"),
        ("#", "kitchen"),
        ("#", "kitchen.takeout.5"),
        ("kitchen.#", "kitchen"),
        ("kitchen.#", "kitchen.takeout.5"),
        ("#.5", "5"),
        ("#.5", "kitchen.takeout.5"),
        ("kitchen.#.5", "kitchen.5"),
        ("kitchen.#.5", "kitchen.takeout.now.5"),
        ("#.takeout.#", "kitchen.takeout.5"),
        ("#.*", "kitchen"),
        ("*.#.*", "kitchen.5"),
    ],
)
def test_binding_matches_keys_of_its_pattern(pattern: str, key: str) -> None:
    assert Binding("orders_topic", TAKEOUT, pattern).matches(key)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("kitchen", "kitchens"),
        ("kitchen", "kitchen.takeout"),
        ("kitchen.takeout.5", "kitchen.takeout.50"),
        ("kitchen.takeout.*", "kitchen.takeout"),
        ("kitchen.takeout.*", "kitchen.takeout.5.now"),
        ("kitchen.takeout.*", "kitchen.takeout_now.5"),
        ("kitchen.*", "kitchen"),
        ("*.*", "kitchen"),
        ("kitchen.t*.5", "kitchen.takeout.5"),
        ("kitchen.#.5", "kitchen.takeout.1"),
        ("#.takeout", "kitchen.takeout.5"),
        ("*.#.*", "kitchen"),
        ("Kitchen.#", "kitchen.takeout.5"),
    ],
)
def test_binding_does_not_match_other_keys(pattern: str, key: str) -> None:
    assert not Binding("orders_topic", TAKEOUT, pattern).matches(key)


@pytest.mark.parametrize(
    ("order_type", "queue"),
    [(OrderType.DINE_IN, DINE_IN), (OrderType.TAKEOUT, TAKEOUT), (OrderType.DELIVERY, DELIVERY)],
)
@pytest.mark.parametrize("priority", range(1, 11))
def test_order_is_routed_to_the_queue_of_its_type_only(
    order_type: OrderType, priority: int, queue: str
) -> None:
    key = topology.routing_key(order_type, priority)

    assert key == f"kitchen.{order_type}.{priority}"
    assert list(topology.route("orders_topic", key)) == [queue]


@pytest.mark.parametrize("key", ["", "kitchen", "kitchen.catering.5", "kitchen.takeout.5.now"])
def test_order_of_an_unknown_type_is_routed_to_the_general_queue(key: str) -> None:
    assert list(topology.route("orders_topic", key)) == [GENERAL]


def test_dead_letters_of_all_queues_are_routed_to_one_queue() -> None:
    assert list(topology.route("orders_dlx", TAKEOUT)) == [DEAD_LETTERS]
    assert list(topology.route("orders_dlx", "notifications_queue.printer")) == [DEAD_LETTERS]


@pytest.mark.parametrize("exchange", ["notifications_fanout", "delivery_retry"])
def test_exchanges_of_subscribers_and_retries_have_no_fixed_queues(exchange: str) -> None:
    assert list(topology.route(exchange, TAKEOUT)) == []


def test_only_updates_may_be_unroutable() -> None:
    not_mandatory = [exchange.name for exchange in topology.EXCHANGES if not exchange.mandatory]

    assert not_mandatory == ["notifications_fanout"]


def test_kitchen_queues_have_ten_priorities() -> None:
    assert {queue.name: queue.max_priority for queue in topology.QUEUES} == {
        DINE_IN: 10,
        TAKEOUT: 10,
        DELIVERY: 10,
        GENERAL: 10,
        DEAD_LETTERS: None,
    }


def test_worker_for_all_types_consumes_every_kitchen_queue() -> None:
    for order_types in itertools.permutations(OrderType):
        queues = topology.kitchen_queues(order_types)

        assert sorted(queues) == sorted([DINE_IN, TAKEOUT, DELIVERY, GENERAL])


@pytest.mark.parametrize(
    ("order_types", "queues"),
    [
        ([OrderType.TAKEOUT], (TAKEOUT, GENERAL)),
        ([OrderType.DELIVERY, OrderType.DINE_IN], (DELIVERY, DINE_IN, GENERAL)),
    ],
)
def test_specialised_worker_consumes_the_queues_of_its_types_and_the_general_one(
    order_types: list[OrderType], queues: tuple[str, ...]
) -> None:
    assert topology.kitchen_queues(order_types) == queues


def test_subscriber_queue_is_named_by_subscriber_and_retry_queue_by_delay() -> None:
    assert topology.subscriber_queue("printer") == "notifications_queue.printer"
    assert topology.retry_queue(1500) == "delivery_retry_queue.1500ms"
