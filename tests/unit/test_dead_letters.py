"""The properties and the origin of a dead letter."""

from dataclasses import replace

import pytest

from restaurant_system.errors import MessageRejected
from restaurant_system.messaging import retry_policy
from restaurant_system.messaging.dead_letters import DeadLetter
from restaurant_system.models.message import Message, StatusChanged
from tests.support.messages import (
    DEAD_LETTERS,
    DINE_IN,
    GENERAL,
    TAKEOUT,
    make_order_message,
    make_update_about,
)


def test_dead_letter_of_rabbitmq_has_the_properties_that_rabbitmq_states() -> None:
    letter = DeadLetter(
        make_order_message(
            exchange="orders_dlx",
            headers={
                "x-first-death-exchange": "orders_topic",
                "x-first-death-queue": TAKEOUT,
                "x-first-death-reason": "expired",
                "x-last-death-reason": "expired",
                "x-delivery-count": 3,
                "retry-delay-ms": 200,
                "table": 12,
            },
        )
    )

    assert (letter.queue, letter.exchange, letter.reason) == (TAKEOUT, "orders_topic", "expired")
    assert (letter.attempts, letter.first_seen) == ("", "")
    assert letter.original().exchange == "orders_topic"
    assert letter.original().routing_key == "kitchen.takeout.1"
    assert letter.original().headers == {"table": 12}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b"\xff",
        b"[" * 10_000,
        b'{"order_number": {}}',
        b'{"order_number": ' + b"9" * 4_300 + b"}",
        b'{"order_number": "' + b"A" * 200_000 + b'"}',
    ],
    ids=["empty", "a list", "no text", "deep", "an object", "a huge number", "a long text"],
)
def test_undecodable_body_has_no_order_number(body: bytes) -> None:
    assert DeadLetter(make_order_message(body=body)).order_number == ""


ORDER, UPDATE = make_order_message(), make_update_about("ORD_20241216_001")
SUBSCRIBER = "notifications_queue.printer"


def dead_letter(message: Message, exchange: str, key: str, queue: str) -> DeadLetter:
    """Return a dead letter with these headers."""
    headers = {
        retry_policy.EXCHANGE: exchange,
        retry_policy.ROUTING_KEY: key,
        retry_policy.QUEUE: queue,
    }
    return DeadLetter(replace(message, exchange="orders_dlx", headers=headers))


@pytest.mark.parametrize(
    ("message", "exchange", "key", "queue", "destination"),
    [
        (ORDER, "orders_topic", "kitchen.dine_in.9", "any", ("orders_topic", "kitchen.dine_in.9")),
        (ORDER, "orders_topic", "spy.me", GENERAL, ("", GENERAL)),
        (ORDER, "orders_topic", "kitchen.dine_in.11", DINE_IN, ("", DINE_IN)),
        (ORDER, "unknown", "kitchen.dine_in.1", DINE_IN, ("", DINE_IN)),
        (replace(ORDER, type=""), "", DINE_IN, DINE_IN, ("", DINE_IN)),
        (replace(ORDER, type="order.placed"), "", DINE_IN, DINE_IN, ("", DINE_IN)),
        (UPDATE, "notifications_fanout", "", SUBSCRIBER, ("", SUBSCRIBER)),
        (UPDATE, "orders_topic", "kitchen.dine_in.1", SUBSCRIBER, ("", SUBSCRIBER)),
        (replace(UPDATE, type=""), "", "", SUBSCRIBER, ("", SUBSCRIBER)),
    ],
)
def test_dead_letter_returns_to_a_queue_that_takes_its_type(
    message: Message, exchange: str, key: str, queue: str, destination: tuple[str, str]
) -> None:
    """A status update to its subscriber, an order to the kitchen, by its own key if it has one."""
    original = dead_letter(message, exchange, key, queue).original()

    assert (original.exchange, original.routing_key) == destination


@pytest.mark.parametrize(
    ("message", "exchange", "key", "queue"),
    [
        (ORDER, "orders_topic", "spy.me", "spy"),
        (ORDER, "orders_topic", "kitchen.catering.1", ""),
        (ORDER, "notifications_fanout", "", SUBSCRIBER),
        (replace(ORDER, type=""), "", SUBSCRIBER, SUBSCRIBER),
        (replace(ORDER, type=StatusChanged.TYPE), "", SUBSCRIBER, SUBSCRIBER),
        (ORDER, "", DEAD_LETTERS, DEAD_LETTERS),
        (UPDATE, "orders_topic", "kitchen.dine_in.1", DINE_IN),
        (UPDATE, "", "", "spy"),
        (replace(UPDATE, type=ORDER.type), "", "", SUBSCRIBER),
    ],
)
def test_dead_letter_is_not_sent_where_its_type_does_not_belong(
    message: Message, exchange: str, key: str, queue: str
) -> None:
    """No signature covers the headers; a forger could have changed them."""
    with pytest.raises(MessageRejected, match=f"'{queue}' is no queue to which a message of type"):
        dead_letter(message, exchange, key, queue).original()
