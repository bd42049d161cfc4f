"""How many messages a process may put aside within a while.

A bad deployment that can handle nothing would otherwise move everything that waits into the
dead-letter queue, one message after the other. (sentry's arroyo has such a limit too: `DlqLimit`.)
"""

from collections import deque
from collections.abc import Callable

from restaurant_system.config import DeliverySettings
from restaurant_system.errors import TooManyDeadLetters


class DeadLetterLimit:
    """Counts the dead letters of one process; `clock` tells seconds that never go backwards."""

    def __init__(self, settings: DeliverySettings, clock: Callable[[], float]) -> None:
        self._most = settings.max_dead_letters
        self._window = settings.dead_letter_window
        self._clock = clock
        self._put_aside: deque[float] = deque()

    def count(self, reason: str) -> None:
        """Count one more; raises `TooManyDeadLetters` instead when it would be one too many."""
        now = self._clock()
        while self._put_aside and self._put_aside[0] <= now - self._window:
            self._put_aside.popleft()
        if len(self._put_aside) >= self._most:
            raise TooManyDeadLetters(
                f"More than {self._most} messages in {self._window:g} s could not be handled (the"
                f" last: {reason}); look at `restaurant-system dead-letters list`, mend the cause"
                " and start it again."
            )
        self._put_aside.append(now)
