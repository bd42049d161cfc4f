"""Limit the dead letters of a process within a time window.

Without it, a faulty deployment would move every waiting message to the dead-letter queue. (Sentry's
arroyo has such a limit too: `DlqLimit`.)
"""

from collections import deque
from collections.abc import Callable

from restaurant_system.config import DeliverySettings
from restaurant_system.errors import TooManyDeadLetters


class DeadLetterLimit:
    """Counts the dead letters of one process; `clock` returns monotonic seconds."""

    def __init__(self, settings: DeliverySettings, clock: Callable[[], float]) -> None:
        self._max = settings.max_dead_letters
        self._window = settings.dead_letter_window
        self._clock = clock
        self._times: deque[float] = deque()

    def count(self, reason: str) -> None:
        """Count a dead letter; raises `TooManyDeadLetters` if it would exceed the limit."""
        now = self._clock()
        while self._times and self._times[0] <= now - self._window:
            self._times.popleft()
        if len(self._times) >= self._max:
            raise TooManyDeadLetters(
                f"More than {self._max} messages in {self._window:g} s failed for good (the"
                f" last: {reason}); see `restaurant-system dead-letters list`, correct the cause"
                " and restart the service."
            )
        self._times.append(now)
