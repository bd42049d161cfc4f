"""The delay that grows with each wrong password, per account and per client address."""

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_DELAY = timedelta(seconds=1)  # then twice as long each time
FORGET_AFTER = timedelta(days=1)  # without a further failure


@dataclass(frozen=True, slots=True)
class Attempts:
    """The failed attempts to sign in with one account, or from one address."""

    failures: int
    next_try_at: datetime
    last_failure_at: datetime


@dataclass(frozen=True, slots=True)
class LockOut:
    """Rules: `free_tries` wrong passwords have no delay; further ones one up to `longest_delay`."""

    free_tries: int
    longest_delay: timedelta

    def delay(self, failures: int) -> timedelta:
        """Return the delay after so many failures."""
        if failures < self.free_tries:
            return timedelta()
        doublings = min(failures - self.free_tries, 32)
        return min(FIRST_DELAY * (1 << doublings), self.longest_delay)

    def with_failure(self, attempts: Attempts | None, now: datetime) -> Attempts:
        """Return the attempts with one more failure."""
        is_forgotten = attempts is None or now - attempts.last_failure_at > FORGET_AFTER
        failures = 1 if attempts is None or is_forgotten else attempts.failures + 1
        return Attempts(failures, now + self.delay(failures), now)
