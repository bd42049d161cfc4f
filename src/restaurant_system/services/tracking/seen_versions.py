"""Remember which version of each order was read, because the next server to be read may lag."""

import time
from collections.abc import Callable
from datetime import datetime


class SeenVersions:
    """The newest `updated_at` of each order that was read in the last `lifetime` seconds.

    A server that is read later is behind by less than `lifetime`, so that it has everything that
    was read before. With a lifetime of 0 nothing is remembered.
    """

    def __init__(self, lifetime: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._newest: dict[str, datetime] = {}
        self._before: dict[str, datetime] = {}  # those of the period before
        self._period_ends_at = clock() + lifetime

    def add(self, number: str, updated_at: datetime) -> None:
        """Remember that this version of an order was read."""
        if self._lifetime and not self.has_newer(number, updated_at):
            self._newest[number] = updated_at

    def has_newer(self, number: str, updated_at: datetime) -> bool:
        """Return whether a newer version of an order than this one was read."""
        self._forget()
        seen = self._newest.get(number) or self._before.get(number)
        return seen is not None and seen > updated_at

    def _forget(self) -> None:
        now = self._clock()
        if now >= self._period_ends_at:
            is_next = now < self._period_ends_at + self._lifetime
            self._before, self._newest = (self._newest if is_next else {}), {}
            self._period_ends_at = now + self._lifetime
