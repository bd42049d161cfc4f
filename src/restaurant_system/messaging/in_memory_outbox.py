"""Hold outbox messages that this process has just committed, until they are published."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from restaurant_system.database.outbox import OutboxMessage


class InMemoryOutbox:
    """A queue of messages that may be published without reading the database, in order.

    A message may be published if its stream has no earlier row in the outbox. If the earlier row
    was added here, the message is held back until that row has been deleted: until then another
    process may publish the row again, after its successor. If the state of a row is unknown (it was
    refused, or its confirm was lost), nothing that follows it is published from here. Methods
    return the ids of messages that must be claimed in the database instead.
    """

    def __init__(
        self, max_age: float, *, capacity: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_age = max_age  # s
        self._capacity = capacity
        self._monotonic = monotonic
        self._ready: deque[tuple[float, OutboxMessage]] = deque()
        self._held_back: dict[int, tuple[float, OutboxMessage]] = {}  # by the id of the row before
        # Rows added here, oldest first, and whether they are deleted. (A dict would be slow to find
        # its first entry after many deletions.)
        self._rows = OrderedDict[int, bool]()

    def __bool__(self) -> bool:
        """Return whether the in-memory outbox has a message that may be published."""
        return bool(self._ready)

    def add(self, messages: Iterable[OutboxMessage]) -> list[int]:
        """Add messages; return the ids of those that must be claimed in the database.

        A message beyond the capacity is neither added nor returned: the next sweep finds it.
        """
        to_claim, now = [], self._monotonic()
        for each in messages:
            if each.previous_id is not None and each.previous_id not in self._rows:
                to_claim.append(each.id)
            elif len(self._ready) + len(self._held_back) < self._capacity:
                self._rows[each.id] = False
                self._enqueue((now, each))
        self._forget_oldest()
        return to_claim

    def take_batch(self, size: int) -> list[OutboxMessage]:
        """Remove up to `size` messages; no two of them belong to one stream."""
        return [self._ready.popleft()[1] for _ in range(min(size, len(self._ready)))]

    def note_deleted(self, rows: Sequence[int]) -> None:
        """Release the messages that these deleted rows held back; they are published first."""
        for row in reversed(rows):
            if row in self._rows:
                self._rows[row] = True
            follower = self._held_back.pop(row, None)
            if follower is not None:
                self._ready.appendleft(follower)

    def clear_if_stale(self) -> list[int]:
        """Remove all messages if the oldest one exceeds the maximum age; return their ids.

        Another process may be about to sweep it.
        """
        oldest = (*list(self._ready)[:1], *list(self._held_back.values())[:1])
        if any(self._monotonic() - since > self._max_age for since, _ in oldest):
            return self.clear()
        return []

    def remove_followers(self, refused: Sequence[OutboxMessage]) -> list[int]:
        """Remove all messages that follow refused ones in a stream; return their ids."""
        followers = [row for each in refused for row in self._pop_followers(each.id)]
        for row in (*followers, *(each.id for each in refused)):
            self._rows.pop(row, None)
        return followers

    def clear(self) -> list[int]:
        """Remove all messages and all recorded rows; return the ids of the messages."""
        removed = [each.id for _, each in (*self._ready, *self._held_back.values())]
        self._ready.clear()
        self._held_back.clear()
        self._rows.clear()
        return removed

    def _enqueue(self, entry: tuple[float, OutboxMessage]) -> None:
        previous = entry[1].previous_id
        if previous is None or self._rows[previous]:
            self._ready.append(entry)
        else:
            self._held_back[previous] = entry

    def _pop_followers(self, row: int) -> Iterator[int]:
        while (follower := self._held_back.pop(row, None)) is not None:
            row = follower[1].id
            yield row

    def _forget_oldest(self) -> None:
        while len(self._rows) > 2 * self._capacity:
            self._rows.popitem(last=False)
