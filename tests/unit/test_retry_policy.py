"""The limit of dead letters within a time window, and the reasons of dead letters."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from restaurant_system.config import DeliverySettings
from restaurant_system.errors import BrokerUnavailable, TooManyDeadLetters
from restaurant_system.messaging.retry_policy import (
    MAX_REASON_LENGTH,
    DeadLetterLimit,
    RetryPolicy,
    one_line,
)
from restaurant_system.models.message import Message
from tests.support.fakes import FakeDelivery
from tests.support.logs import capture_logs
from tests.support.messages import TAKEOUT, make_order_message, make_status_update


class FakeMonotonicClock:
    """A clock that returns the seconds it is set to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Return the seconds that the test has set."""
        return self.seconds


@pytest.fixture
def clock() -> FakeMonotonicClock:
    """Return a fake monotonic clock."""
    return FakeMonotonicClock()


@pytest.fixture
def limit(clock: FakeMonotonicClock) -> DeadLetterLimit:
    """Return a limit of three dead letters in ten seconds."""
    return DeadLetterLimit(DeliverySettings(max_dead_letters=3, dead_letter_window=10), clock)


def test_copies_of_one_message_count_once(limit: DeadLetterLimit) -> None:
    message_id = uuid4()

    for _ in range(10):
        limit.count(message_id, "not JSON")


def test_dead_letter_above_the_limit_raises(limit: DeadLetterLimit) -> None:
    for _ in range(3):
        limit.count(uuid4(), "not JSON")

    with pytest.raises(TooManyDeadLetters):
        limit.count(uuid4(), "not JSON")


def test_dead_letters_before_the_window_do_not_count(
    limit: DeadLetterLimit, clock: FakeMonotonicClock
) -> None:
    for _ in range(10):
        limit.count(uuid4(), "not JSON")
        clock.seconds += 3.4


def test_dead_letters_are_counted_within_a_sliding_window(
    limit: DeadLetterLimit, clock: FakeMonotonicClock
) -> None:
    limit.count(uuid4(), "not JSON")
    clock.seconds += 9
    limit.count(uuid4(), "not JSON")
    limit.count(uuid4(), "not JSON")
    clock.seconds += 2  # the first is outside the window, the others are not
    limit.count(uuid4(), "not JSON")

    with pytest.raises(TooManyDeadLetters):
        limit.count(uuid4(), "not JSON")


def test_error_names_limit_last_reason_and_command(limit: DeadLetterLimit) -> None:
    for _ in range(3):
        limit.count(uuid4(), "not JSON")

    with pytest.raises(TooManyDeadLetters) as stop:
        limit.count(uuid4(), "a page is missing")

    message = str(stop.value)
    assert message.startswith("More than 3 messages in 10 s failed for good")
    assert "a page is missing" in message
    assert "restaurant-system dead-letters list" in message


async def test_message_above_the_limit_is_left_unsettled_and_logged_as_an_error() -> None:
    delivery = FakeDelivery(make_order_message())
    policy = RetryPolicy(DeliverySettings(max_dead_letters=1))
    await policy.dead_letter(FakeDelivery(make_order_message()), "not JSON")

    with capture_logs() as logs, pytest.raises(TooManyDeadLetters):
        await policy.dead_letter(delivery, "not JSON")

    assert delivery.settled == []
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("dead_letters_limited", "error")
    ]


@pytest.mark.parametrize(
    ("queue", "message"),
    [
        (TAKEOUT, make_status_update()),
        (TAKEOUT, make_order_message(type="")),
        ("notifications_queue.printer", make_order_message()),
    ],
)
async def test_message_of_another_type_than_its_queue_takes_does_not_count(
    queue: str, message: Message
) -> None:
    """A third party has published it, so no deployment of this system is faulty."""
    policy = RetryPolicy(DeliverySettings(max_dead_letters=1))
    for _ in range(3):
        delivery = FakeDelivery(replace(message, message_id=uuid4()), queue)
        await policy.dead_letter(delivery, "not JSON")
        assert len(delivery.settled) == 1


async def test_dead_letter_that_the_broker_does_not_accept_does_not_count() -> None:
    class UndeliverableMessage(FakeDelivery):
        async def replace(self, *_: object) -> None:
            raise BrokerUnavailable("The connection broke.")

    policy = RetryPolicy(DeliverySettings(max_dead_letters=1))
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            await policy.dead_letter(UndeliverableMessage(make_order_message()), "not JSON")

    delivery = FakeDelivery(make_order_message())
    await policy.dead_letter(delivery, "not JSON")
    assert len(delivery.settled) == 1


async def test_dead_letters_that_are_being_published_count() -> None:
    accepted = asyncio.Event()

    class SlowDelivery(FakeDelivery):
        async def replace(self, successor: Message, delay: timedelta | None = None) -> None:
            await accepted.wait()
            await super().replace(successor, delay)

    policy = RetryPolicy(DeliverySettings(max_dead_letters=1))
    first = asyncio.create_task(policy.dead_letter(SlowDelivery(make_order_message()), "not JSON"))
    await asyncio.sleep(0)

    with pytest.raises(TooManyDeadLetters):
        await policy.dead_letter(FakeDelivery(make_order_message()), "not JSON")
    accepted.set()
    await first


async def test_last_failed_attempt_counts_as_a_dead_letter() -> None:
    policy = RetryPolicy(DeliverySettings(max_dead_letters=1, max_attempts=1))
    await policy.retry(FakeDelivery(make_order_message()), "the oven is cold")

    with pytest.raises(TooManyDeadLetters):
        await policy.retry(FakeDelivery(make_order_message()), "the oven is cold")


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("not JSON", "not JSON"),
        ("two\n  lines", "two lines"),
        ("\x1b[2J\0\ud800\u202e", r"\x1b[2J\x00\ud800\u202e"),
        ("crème brûlée", "crème brûlée"),
    ],
)
def test_reason_is_one_printable_line(reason: str, line: str) -> None:
    assert one_line(reason) == line


def test_length_of_a_reason_is_limited() -> None:
    assert one_line("x" * MAX_REASON_LENGTH) == "x" * MAX_REASON_LENGTH
    assert len(one_line("x" * 1_000_000)) == MAX_REASON_LENGTH
