"""Limit the open file descriptors of this process, and log when they run out."""

import contextlib
import sys
import time

from restaurant_system.logger import get_logger

if sys.platform != "win32":
    import resource

log = get_logger()

RESERVE = 64  # descriptors kept for files and servers
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # s between two log lines of one event


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard limit, where the system allows it."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError, ValueError):
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    """Return how many file descriptors this process may have open."""
    if sys.platform == "win32":
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def missing(descriptor: int) -> int:
    """Return how many descriptors to close, after opening this one, to keep the reserve.

    A new descriptor has the lowest free number.
    """
    return max(0, descriptor + 1 + RESERVE - limit())


class ThrottledLog:
    """Logs an event at most once in a pause, which doubles while the event goes on."""

    def __init__(self, action: str, message: str) -> None:
        self._action = action
        self._message = message
        self._pause = 0.0
        self._quiet_until = 0.0

    def warn(self) -> None:
        """Log the event as a warning, unless it was logged within the pause."""
        now = time.monotonic()
        if now < self._quiet_until:
            return
        is_over = now > self._quiet_until + LONGEST_PAUSE
        doubled = min(2 * self._pause, LONGEST_PAUSE)
        self._pause = SHORTEST_PAUSE if is_over or not self._pause else doubled
        self._quiet_until = now + self._pause
        log.warning(self._action, message=self._message)


exhausted = ThrottledLog(
    "descriptors_exhausted",
    "Too few file descriptors for new connections; raise the limit of open files (ulimit -n)."
    " Connections that have been idle longest are closed.",
)
