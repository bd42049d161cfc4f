"""Messages on their way out of memory: what may leave, and what must take its turn elsewhere."""

from dataclasses import replace

import pytest

from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.messaging.fresh import Fresh
from tests.support.messages import make_status_update

SECONDS = 2.5
UPDATE = make_status_update()


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Start at nought."""
    return Clock()


@pytest.fixture
def fresh(clock: Clock) -> Fresh:
    """Open a line with room for four."""
    return Fresh(SECONDS, at_most=4, monotonic=clock)


def owed(row: int, about: str = "ada", after: int | None = None) -> OutboxMessage:
    """Owe an update about an order."""
    return OutboxMessage(row, about, UPDATE, after)


def rows(batch: list[OutboxMessage]) -> list[int]:
    """Return the rows of a batch."""
    return [each.id for each in batch]


def test_what_nothing_is_before_leaves(fresh: Fresh) -> None:
    """Messages of different streams leave together, in order."""
    assert fresh.take([owed(1, "ada"), owed(2, "bob")]) == []

    assert rows(fresh.batch(10)) == [1, 2]
    assert not fresh


def test_a_batch_has_a_limit(fresh: Fresh) -> None:
    """What does not fit stays in the line."""
    fresh.take([owed(1, "ada"), owed(2, "bob"), owed(3, "cyd")])

    assert rows(fresh.batch(2)) == [1, 2]
    assert rows(fresh.batch(2)) == [3]


def test_what_is_behind_a_row_of_ours_stands_back_until_that_is_struck_off(fresh: Fresh) -> None:
    """As long as it is there, somebody may sweep it up and repeat it; other streams are free."""
    fresh.take([owed(1), owed(2, after=1), owed(3, "bob")])

    assert rows(fresh.batch(10)) == [1, 3]
    assert not fresh
    fresh.struck_off([1, 3])
    assert rows(fresh.batch(10)) == [2]


def test_a_stream_leaves_one_by_one(fresh: Fresh) -> None:
    """Each of a stream waits for the one before it."""
    fresh.take([owed(1), owed(2, after=1), owed(3, after=2)])

    left = []
    while batch := rows(fresh.batch(10)):
        left.append(batch)
        fresh.struck_off(batch)

    assert left == [[1], [2], [3]]


def test_what_follows_our_own_leaves_once_that_is_struck_off(fresh: Fresh) -> None:
    """A message whose predecessor is gone need not look whether it is, nor who took it."""
    fresh.take([owed(1), owed(2, "bob")])
    fresh.batch(10)
    fresh.struck_off([1])

    assert fresh.take([owed(3, after=1), owed(4, "bob", after=2)]) == []
    assert rows(fresh.batch(10)) == [3]


def test_what_follows_somebody_elses_does_not(fresh: Fresh) -> None:
    """Behind a row of another process, a message takes its turn in the database."""
    assert fresh.take([owed(2, after=1)]) == [2]
    assert fresh.take([owed(3, after=2)]) == [3]
    assert not fresh


def test_nothing_leaves_behind_a_refused_one(fresh: Fresh) -> None:
    """What stands behind it goes elsewhere, also what comes later; other streams stay."""
    fresh.take([owed(1), owed(2, after=1), owed(3, after=2), owed(4, "bob")])
    (refused, _) = fresh.batch(10)

    assert fresh.withhold([refused]) == [2, 3]
    fresh.struck_off([4])
    assert fresh.take([owed(5, after=1), owed(6, after=3), owed(7, "bob", after=4)]) == [5, 6]
    assert rows(fresh.batch(10)) == [7]


def test_what_has_waited_for_too_long_is_given_up(fresh: Fresh, clock: Clock) -> None:
    """Others may be about to sweep it; with it goes the whole line."""
    fresh.take([owed(1)])
    clock.now = SECONDS
    fresh.take([owed(2, "bob")])
    assert fresh.stale() == []

    clock.now += 0.1

    assert fresh.stale() == [1, 2]
    assert not fresh


def test_what_stands_back_for_too_long_is_given_up(fresh: Fresh, clock: Clock) -> None:
    """The row before it cannot be struck off, and others may be about to sweep both."""
    fresh.take([owed(1), owed(2, after=1)])
    fresh.batch(10)

    clock.now = SECONDS + 0.1

    assert fresh.stale() == [2]


def test_what_stood_back_keeps_its_time(fresh: Fresh, clock: Clock) -> None:
    """Once it may leave, it is first in the line, and given up if that was too late."""
    fresh.take([owed(1), owed(2, after=1)])
    fresh.batch(10)
    clock.now = SECONDS
    fresh.take([owed(3, "bob")])
    fresh.struck_off([1])
    clock.now += 0.1

    assert fresh.stale() == [2, 3]


def test_who_gives_up_the_line_does_not_know_what_has_left(fresh: Fresh) -> None:
    """After a doubt, what follows takes its turn in the database."""
    fresh.take([owed(1), owed(2, after=1)])
    fresh.batch(10)

    assert fresh.give_up() == [2]
    assert fresh.take([owed(3, after=1)]) == [3]


def test_a_full_line_takes_no_more(fresh: Fresh) -> None:
    """What does not fit is left to the sweep, and what is behind it follows nothing of ours."""
    full = [owed(row, f"order {row}") for row in range(1, 4)]
    assert fresh.take([*full, owed(4, "order 3", after=3), owed(5, "order 5")]) == []

    assert rows(fresh.batch(10)) == [1, 2, 3]
    fresh.struck_off([3])
    assert rows(fresh.batch(10)) == [4]
    assert fresh.take([owed(9, "order 5", after=5)]) == [9]


def test_only_the_last_to_leave_are_remembered(fresh: Fresh) -> None:
    """What left long ago is looked up like anybody's."""
    for row in range(1, 20):
        fresh.take([owed(row, f"order {row}")])
        fresh.batch(10)
        fresh.struck_off([row])

    assert fresh.take([replace(owed(30, "order 1"), previous_id=1)]) == [30]
    assert fresh.take([replace(owed(31, "order 19"), previous_id=19)]) == []
