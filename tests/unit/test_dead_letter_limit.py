"""How many messages a process may put aside before it has to stop."""

import pytest
from structlog.testing import capture_logs

from restaurant_system.config import DeliverySettings
from restaurant_system.errors import BrokerUnavailable, TooManyDeadLetters
from restaurant_system.messaging.retry_policy import (
    MAX_REASON_LENGTH,
    DeadLetterLimit,
    RetryPolicy,
    one_line,
)
from tests.support.fakes import FakeDelivery
from tests.support.messages import make_order_message


class StopWatch:
    """A clock that shows the seconds it is set to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.seconds


@pytest.fixture
def watch() -> StopWatch:
    """Hold a watch."""
    return StopWatch()


@pytest.fixture
def limit(watch: StopWatch) -> DeadLetterLimit:
    """Allow three in ten seconds."""
    return DeadLetterLimit(DeliverySettings(max_dead_letters=3, dead_letter_window=10), watch)


def test_as_many_as_are_allowed_pass(limit: DeadLetterLimit) -> None:
    """The limit itself is within the limit; the next one is not."""
    for _ in range(3):
        limit.count("not JSON")

    with pytest.raises(TooManyDeadLetters):
        limit.count("not JSON")


def test_what_lies_further_back_than_the_window_does_not_count(
    limit: DeadLetterLimit, watch: StopWatch
) -> None:
    """Bad messages now and then never stop a process."""
    for _ in range(10):
        limit.count("not JSON")
        watch.seconds += 3.4


def test_the_window_slides(limit: DeadLetterLimit, watch: StopWatch) -> None:
    """A burst counts wherever it falls: no window starts anew in the middle of it."""
    limit.count("not JSON")
    watch.seconds += 9
    limit.count("not JSON")
    limit.count("not JSON")
    watch.seconds += 2  # the first is forgotten now, the burst is not
    limit.count("not JSON")

    with pytest.raises(TooManyDeadLetters):
        limit.count("not JSON")


def test_error_names_limit_last_reason_and_command(limit: DeadLetterLimit) -> None:
    for _ in range(3):
        limit.count("not JSON")

    with pytest.raises(TooManyDeadLetters) as stop:
        limit.count("a page is missing")

    sentence = str(stop.value)
    assert sentence.startswith("More than 3 messages in 10 s failed for good")
    assert "a page is missing" in sentence
    assert "restaurant-system dead-letters list" in sentence


async def test_the_one_too_many_goes_back_to_its_queue() -> None:
    """It is not put aside; it is given back, logged as an error, and whoever handles it stops."""
    delivery = FakeDelivery(make_order_message())
    policy = RetryPolicy(DeliverySettings(max_dead_letters=1))
    await policy.dead_letter(delivery, "not JSON")
    delivery.settled.clear()

    with capture_logs() as logs, pytest.raises(TooManyDeadLetters):
        await policy.dead_letter(delivery, "not JSON")

    assert delivery.settled == ["requeue"]
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("dead_letters_limited", "error")
    ]


async def test_a_last_attempt_that_fails_counts_too() -> None:
    """No way around the limit leads through the retries."""
    delivery = FakeDelivery(make_order_message())
    policy = RetryPolicy(DeliverySettings(max_dead_letters=1, max_attempts=1))
    await policy.retry(delivery, "the oven is cold")

    with pytest.raises(TooManyDeadLetters):
        await policy.retry(delivery, "the oven is cold")


async def test_an_outage_does_not_hide_the_limit() -> None:
    """Where the one too many cannot even be given back, the process stops nevertheless."""

    class Cut(FakeDelivery):
        async def requeue(self) -> None:
            raise BrokerUnavailable("The line broke.")

    delivery = Cut(make_order_message())
    policy = RetryPolicy(DeliverySettings(max_dead_letters=1))
    await policy.dead_letter(delivery, "not JSON")

    with pytest.raises(TooManyDeadLetters):
        await policy.dead_letter(delivery, "not JSON")


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("not JSON", "not JSON"),
        ("two\n  lines", "two lines"),
        ("\x1b[2J\0\ud800\u202e", r"\x1b[2J\x00\ud800\u202e"),
        ("crème brûlée", "crème brûlée"),
    ],
)
def test_a_reason_is_one_line_that_can_be_carried_and_shown(reason: str, line: str) -> None:
    """No terminal obeys it, no database refuses it, and it is readable as it was meant."""
    assert one_line(reason) == line


def test_a_reason_is_bounded() -> None:
    """However much an error has to say, its reason fits into a header."""
    assert one_line("x" * MAX_REASON_LENGTH) == "x" * MAX_REASON_LENGTH
    assert len(one_line("x" * 1_000_000)) == MAX_REASON_LENGTH
