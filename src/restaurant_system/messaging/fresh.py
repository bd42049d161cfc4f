"""Messages that have just been committed here, on their way out of memory."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from restaurant_system.database.outbox import Owed


class Fresh:
    """A line of messages that may leave without a look at the database, in order.

    A message may leave if no row of its stream is owed before it, or if that row left from here or
    stands in this line. Any doubt about one (it was refused, or whether the broker has it is
    unknown) is a doubt about those behind it. What may not leave is returned, by its row's id: it
    takes its turn in the database.
    """

    def __init__(
        self, seconds: float, *, at_most: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._at_most = at_most
        self._monotonic = monotonic
        self._line: deque[tuple[float, Owed]] = deque()
        self._ours: dict[int, None] = {}  # rows that stand here or left from here, oldest first

    def __bool__(self) -> bool:
        return bool(self._line)

    def take(self, owed: Iterable[Owed]) -> list[int]:
        """Put messages at the end of the line; return those that must take their turn elsewhere.

        When the line is full, neither: a row that nobody remembers is swept up.
        """
        elsewhere, now = [], self._monotonic()
        for each in owed:
            if each.after is not None and each.after not in self._ours:
                elsewhere.append(each.id)
            elif len(self._line) < self._at_most:
                self._line.append((now, each))
                self._ours[each.id] = None
        self._forget()
        return elsewhere

    def batch(self, at_most: int) -> list[Owed]:
        """Take from the front of the line, of each stream one."""
        batch: dict[str, Owed] = {}
        later: list[tuple[float, Owed]] = []
        while self._line and len(batch) < at_most:
            entry = self._line.popleft()
            if entry[1].stream in batch:
                later.append(entry)
            else:
                batch[entry[1].stream] = entry[1]
        self._line.extendleft(reversed(later))
        return list(batch.values())

    def stale(self) -> list[int]:
        """Give up the whole line if its first has stood there for too long; return it.

        Another process may be about to take it for left behind.
        """
        if self._line and self._monotonic() - self._line[0][0] > self._seconds:
            return self.give_up()
        return []

    def withhold(self, refused: Sequence[Owed]) -> list[int]:
        """Have nothing leave behind these, which did not leave; return what stood behind them."""
        streams = {each.stream for each in refused}
        if not streams:
            return []
        held = [each.id for _, each in self._line if each.stream in streams]
        self._line = deque(entry for entry in self._line if entry[1].stream not in streams)
        for row in (*held, *(each.id for each in refused)):
            self._ours.pop(row, None)
        return held

    def give_up(self) -> list[int]:
        """Empty the line, and return what stood there."""
        held = [each.id for _, each in self._line]
        self._line.clear()
        self._ours.clear()
        return held

    def _forget(self) -> None:
        """Remember of what has left only the last."""
        while len(self._ours) > 2 * self._at_most:
            del self._ours[next(iter(self._ours))]
