"""Which way a message goes, as both brokers read it from one table."""

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
def test_a_binding_takes_the_keys_that_match_its_pattern(pattern: str, key: str) -> None:
    """An empty pattern takes all, ``*`` is one word, ``#`` is any number of them."""
    assert Binding("orders_topic", TAKEOUT, pattern).takes(key)


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
def test_a_binding_takes_no_other_key(pattern: str, key: str) -> None:
    """A pattern matches whole words, all of them, in their order."""
    assert not Binding("orders_topic", TAKEOUT, pattern).takes(key)


@pytest.mark.parametrize(
    ("order_type", "queue"),
    [(OrderType.DINE_IN, DINE_IN), (OrderType.TAKEOUT, TAKEOUT), (OrderType.DELIVERY, DELIVERY)],
)
@pytest.mark.parametrize("priority", range(1, 11))
def test_an_order_is_in_exactly_one_queue(order_type: OrderType, priority: int, queue: str) -> None:
    """The key of an order leads to its type's queue and no other, whatever its priority."""
    key = topology.routing_key(order_type, priority)

    assert key == f"kitchen.{order_type}.{priority}"
    assert list(topology.route("orders_topic", key)) == [queue]


@pytest.mark.parametrize("key", ["", "kitchen", "kitchen.catering.5", "kitchen.takeout.5.now"])
def test_what_no_other_queue_takes_goes_to_the_general_one(key: str) -> None:
    """An order of a type that nobody knows is not lost."""
    assert list(topology.route("orders_topic", key)) == [GENERAL]


def test_every_dead_letter_goes_to_one_queue() -> None:
    """What is put aside lies in one place, wherever it came from."""
    assert list(topology.route("orders_dlx", TAKEOUT)) == [DEAD_LETTERS]
    assert list(topology.route("orders_dlx", "notifications_queue.printer")) == [DEAD_LETTERS]


@pytest.mark.parametrize("exchange", ["notifications_fanout", "delivery_retry"])
def test_exchanges_whose_queues_come_and_go_have_no_fixed_ones(exchange: str) -> None:
    """Subscribers' and retry queues are not in the table."""
    assert list(topology.route(exchange, TAKEOUT)) == []


def test_only_news_may_have_no_audience() -> None:
    """A message that reaches no queue is an error everywhere else."""
    indifferent = [exchange.name for exchange in topology.EXCHANGES if not exchange.mandatory]

    assert indifferent == ["notifications_fanout"]


def test_the_kitchen_queues_are_served_by_urgency() -> None:
    """Each kitchen queue has ten priorities; the dead letters have none."""
    assert {queue.name: queue.max_priority for queue in topology.QUEUES} == {
        DINE_IN: 10,
        TAKEOUT: 10,
        DELIVERY: 10,
        GENERAL: 10,
        DEAD_LETTERS: None,
    }


def test_a_general_cook_takes_from_every_kitchen_queue() -> None:
    """Whoever cooks everything also takes what no type's queue takes."""
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
def test_specialised_worker_takes_from_its_types_queues_and_the_general_one(
    order_types: list[OrderType], queues: tuple[str, ...]
) -> None:
    """An order of any type may lie in the general queue, with specialised workers only."""
    assert topology.kitchen_queues(order_types) == queues


def test_queues_that_come_and_go_are_named_for_what_they_are() -> None:
    """A subscriber's queue carries its name, a retry queue its delay."""
    assert topology.subscriber_queue("printer") == "notifications_queue.printer"
    assert topology.retry_queue(1500) == "delivery_retry_queue.1500ms"
