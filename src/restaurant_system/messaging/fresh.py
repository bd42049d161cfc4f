"""Messages that have just been committed here, on their way out of memory."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from restaurant_system.database.outbox import OutboxMessage


class Fresh:
    """A line of messages that may leave without a look at the database, in order.

    A message may leave if no row of its stream is owed before it. Behind a row of ours it stands
    back until that has been struck off: as long as it is there, others may sweep it up, and what
    they repeat would be heard after its successor. Any doubt about a row (it was refused, or
    whether the broker has it is unknown) is a doubt about those behind it. What may not leave is
    returned, by its row's id: it takes its turn in the database.
    """

    def __init__(
        self, seconds: float, *, at_most: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._at_most = at_most
        self._monotonic = monotonic
        self._line: deque[tuple[float, OutboxMessage]] = deque()
        self._behind: dict[int, tuple[float, OutboxMessage]] = {}  # by the row that is before each
        # Rows of ours, oldest first, and whether they are struck off. (A dict would be searched for
        # its first entry, past the places of all that were before it.)
        self._ours = OrderedDict[int, bool]()

    def __bool__(self) -> bool:
        """Whether something may leave."""
        return bool(self._line)

    def take(self, owed: Iterable[OutboxMessage]) -> list[int]:
        """Put messages at the end of the line; return those that must take their turn elsewhere.

        When the line is full, neither: a row that nobody remembers is swept up.
        """
        elsewhere, now = [], self._monotonic()
        for each in owed:
            if each.previous_id is not None and each.previous_id not in self._ours:
                elsewhere.append(each.id)
            elif len(self._line) + len(self._behind) < self._at_most:
                self._ours[each.id] = False
                self._stand((now, each))
        self._forget()
        return elsewhere

    def batch(self, at_most: int) -> list[OutboxMessage]:
        """Take from the front of the line; of a stream there is never more than one in it."""
        return [self._line.popleft()[1] for _ in range(min(at_most, len(self._line)))]

    def struck_off(self, rows: Sequence[int]) -> None:
        """Let those leave that stood behind these rows, which are gone from the database.

        They come first: they have stood here for longer than anybody in the line.
        """
        for row in reversed(rows):
            if row in self._ours:
                self._ours[row] = True
            follower = self._behind.pop(row, None)
            if follower is not None:
                self._line.appendleft(follower)

    def stale(self) -> list[int]:
        """Give up everything if the first has stood there for too long; return it.

        Another process may be about to take it for left behind.
        """
        standing = (*list(self._line)[:1], *list(self._behind.values())[:1])
        if any(self._monotonic() - since > self._seconds for since, _ in standing):
            return self.give_up()
        return []

    def withhold(self, refused: Sequence[OutboxMessage]) -> list[int]:
        """Have nothing leave behind these, which did not leave; return what stood behind them."""
        held = [row for each in refused for row in self._take_out_behind(each.id)]
        for row in (*held, *(each.id for each in refused)):
            self._ours.pop(row, None)
        return held

    def give_up(self) -> list[int]:
        """Empty the line, and return what stood there."""
        held = [each.id for _, each in (*self._line, *self._behind.values())]
        self._line.clear()
        self._behind.clear()
        self._ours.clear()
        return held

    def _stand(self, entry: tuple[float, OutboxMessage]) -> None:
        before = entry[1].previous_id
        if before is None or self._ours[before]:
            self._line.append(entry)
        else:
            self._behind[before] = entry

    def _take_out_behind(self, row: int) -> Iterator[int]:
        while (follower := self._behind.pop(row, None)) is not None:
            row = follower[1].id
            yield row

    def _forget(self) -> None:
        """Remember of what has left only the last."""
        while len(self._ours) > 2 * self._at_most:
            self._ours.popitem(last=False)
