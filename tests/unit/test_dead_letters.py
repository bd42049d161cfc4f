"""The properties and the origin of a dead letter."""

from uuid import uuid4

import pytest

from restaurant_system.messaging import retry_policy
from restaurant_system.messaging.dead_letters import DeadLetter
from tests.support.messages import DINE_IN, TAKEOUT, make_order_message


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


def test_dead_letter_of_an_unknown_exchange_returns_to_its_queue() -> None:
    headers = {
        retry_policy.EXCHANGE: "unknown",
        retry_policy.ROUTING_KEY: "a.b",
        retry_policy.QUEUE: DINE_IN,
    }

    message = DeadLetter(make_order_message(message_id=uuid4(), headers=headers)).original()

    assert (message.exchange, message.routing_key) == ("", DINE_IN)
