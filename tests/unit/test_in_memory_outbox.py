"""Messages published from memory: which may be published, and which must be claimed."""

from dataclasses import replace

import pytest

from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.messaging.in_memory_outbox import InMemoryOutbox
from tests.support.messages import make_status_update

MAX_AGE = 2.5  # s
UPDATE = make_status_update()


class Clock:
    """A clock that is set by a test."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def in_memory(clock: Clock) -> InMemoryOutbox:
    return InMemoryOutbox(MAX_AGE, capacity=4, monotonic=clock)


def message(row: int, stream: str = "ada", after: int | None = None) -> OutboxMessage:
    """Return an outbox message; `after` is the row before it in its stream."""
    return OutboxMessage(row, stream, UPDATE, after)


def rows(batch: list[OutboxMessage]) -> list[int]:
    """Return the row ids of a batch."""
    return [each.id for each in batch]


def test_messages_of_different_streams_are_published_together(in_memory: InMemoryOutbox) -> None:
    assert in_memory.add([message(1, "ada"), message(2, "bob")]) == []

    assert rows(in_memory.take_batch(10)) == [1, 2]
    assert not in_memory


def test_batch_has_at_most_the_requested_size(in_memory: InMemoryOutbox) -> None:
    in_memory.add([message(1, "ada"), message(2, "bob"), message(3, "cyd")])

    assert rows(in_memory.take_batch(2)) == [1, 2]
    assert rows(in_memory.take_batch(2)) == [3]


def test_message_is_held_back_until_the_row_before_it_is_deleted(
    in_memory: InMemoryOutbox,
) -> None:
    in_memory.add([message(1), message(2, after=1), message(3, "bob")])

    assert rows(in_memory.take_batch(10)) == [1, 3]
    assert not in_memory
    in_memory.note_deleted([1, 3])
    assert rows(in_memory.take_batch(10)) == [2]


def test_messages_of_one_stream_are_published_one_at_a_time(in_memory: InMemoryOutbox) -> None:
    in_memory.add([message(1), message(2, after=1), message(3, after=2)])

    published = []
    while batch := rows(in_memory.take_batch(10)):
        published.append(batch)
        in_memory.note_deleted(batch)

    assert published == [[1], [2], [3]]


def test_message_after_a_deleted_row_of_this_process_is_ready_at_once(
    in_memory: InMemoryOutbox,
) -> None:
    in_memory.add([message(1), message(2, "bob")])
    in_memory.take_batch(10)
    in_memory.note_deleted([1])

    assert in_memory.add([message(3, after=1), message(4, "bob", after=2)]) == []
    assert rows(in_memory.take_batch(10)) == [3]


def test_message_after_a_row_of_another_process_must_be_claimed(in_memory: InMemoryOutbox) -> None:
    assert in_memory.add([message(2, after=1)]) == [2]
    assert in_memory.add([message(3, after=2)]) == [3]
    assert not in_memory


def test_messages_after_a_refused_one_must_be_claimed(in_memory: InMemoryOutbox) -> None:
    in_memory.add([message(1), message(2, after=1), message(3, after=2), message(4, "bob")])
    (refused, _) = in_memory.take_batch(10)

    assert in_memory.remove_followers([refused]) == [2, 3]
    in_memory.note_deleted([4])
    later = [message(5, after=1), message(6, after=3), message(7, "bob", after=4)]
    assert in_memory.add(later) == [5, 6]
    assert rows(in_memory.take_batch(10)) == [7]


def test_in_memory_outbox_is_cleared_when_the_oldest_ready_message_is_stale(
    in_memory: InMemoryOutbox, clock: Clock
) -> None:
    in_memory.add([message(1)])
    clock.now = MAX_AGE
    in_memory.add([message(2, "bob")])
    assert in_memory.clear_if_stale() == []

    clock.now += 0.1

    assert in_memory.clear_if_stale() == [1, 2]
    assert not in_memory


def test_in_memory_outbox_is_cleared_when_a_held_back_message_is_stale(
    in_memory: InMemoryOutbox, clock: Clock
) -> None:
    in_memory.add([message(1), message(2, after=1)])
    in_memory.take_batch(10)

    clock.now = MAX_AGE + 0.1

    assert in_memory.clear_if_stale() == [2]


def test_held_back_message_keeps_its_age_and_is_published_first(
    in_memory: InMemoryOutbox, clock: Clock
) -> None:
    in_memory.add([message(1), message(2, after=1)])
    in_memory.take_batch(10)
    clock.now = MAX_AGE
    in_memory.add([message(3, "bob")])
    in_memory.note_deleted([1])
    clock.now += 0.1

    assert in_memory.clear_if_stale() == [2, 3]


def test_message_added_after_a_clear_must_be_claimed(in_memory: InMemoryOutbox) -> None:
    in_memory.add([message(1), message(2, after=1)])
    in_memory.take_batch(10)

    assert in_memory.clear() == [2]
    assert in_memory.add([message(3, after=1)]) == [3]


def test_messages_beyond_the_capacity_are_left_to_the_sweep(in_memory: InMemoryOutbox) -> None:
    full = [message(row, f"order {row}") for row in range(1, 4)]
    assert in_memory.add([*full, message(4, "order 3", after=3), message(5, "order 5")]) == []

    assert rows(in_memory.take_batch(10)) == [1, 2, 3]
    in_memory.note_deleted([3])
    assert rows(in_memory.take_batch(10)) == [4]
    assert in_memory.add([message(9, "order 5", after=5)]) == [9]


def test_only_the_latest_published_rows_are_recorded(in_memory: InMemoryOutbox) -> None:
    for row in range(1, 20):
        in_memory.add([message(row, f"order {row}")])
        in_memory.take_batch(10)
        in_memory.note_deleted([row])

    assert in_memory.add([replace(message(30, "order 1"), previous_id=1)]) == [30]
    assert in_memory.add([replace(message(31, "order 19"), previous_id=19)]) == []
