"""The delay that grows with each wrong password or PIN, per account, client address or device.

Failures leak away at a constant rate, so that an address from which many people sign in is not
locked for the few typing errors of each day.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_DELAY = timedelta(seconds=1)  # then twice as long each time
FORGET_AFTER = timedelta(days=1)  # in which the free tries are forgotten, and without a try all


@dataclass(frozen=True, slots=True)
class Attempts:
    """The failed attempts to sign in with one account, from one address, or on one device.

    `forgotten_until` is the time until which failures have been forgotten.
    """

    failures: int
    next_try_at: datetime
    forgotten_until: datetime


@dataclass(frozen=True, slots=True)
class LockOut:
    """Rules: `free_tries` failures have no delay; others one up to `longest_delay`.

    The free tries are forgotten in the course of `forget_after`, which is a day at most.
    """

    free_tries: int
    longest_delay: timedelta
    forget_after: timedelta = FORGET_AFTER

    def delay(self, failures: int) -> timedelta:
        """Return the delay after so many failures."""
        if failures < self.free_tries:
            return timedelta()
        doublings = min(failures - self.free_tries, 32)
        return min(FIRST_DELAY * (1 << doublings), self.longest_delay)

    def with_failure(self, attempts: Attempts | None, now: datetime) -> Attempts:
        """Return the attempts with one more failure."""
        remembered, forgotten_until = self._remembered(attempts, now)
        failures = remembered + 1
        return Attempts(failures, now + self.delay(failures), forgotten_until)

    def _remembered(self, attempts: Attempts | None, now: datetime) -> tuple[int, datetime]:
        """Return the failures that are not forgotten yet, and until when others have been."""
        if attempts is None or now - attempts.next_try_at > self.forget_after:
            return 0, now
        interval = self.forget_after / self.free_tries
        forgotten = max((now - attempts.forgotten_until) // interval, 0)
        if forgotten >= attempts.failures:
            return 0, now
        return attempts.failures - forgotten, attempts.forgotten_until + forgotten * interval
