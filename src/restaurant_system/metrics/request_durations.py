"""Record the durations of HTTP requests, at little cost for each request."""

import functools
from typing import Final

from restaurant_system.metrics.definitions import http_request_duration_seconds
from restaurant_system.metrics.histogram import BatchHistogram

UNKNOWN_PATH: Final = "(unknown path)"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD: Final = "other"  # the parser accepts thirty more
BATCH_SIZE: Final = 256  # durations that are kept before they are observed together


class RequestDurations:
    """The durations of the requests for one route, by status code."""

    __slots__ = ("_method", "_pending", "_route")

    def __init__(self, method: str, route: str) -> None:
        self._method = method
        self._route = route
        self._pending: dict[int, list[float]] = {}

    def record(self, code: int, seconds: float) -> None:
        """Record the status code and the duration of a request; they are observed in batches."""
        pending = self._pending.get(code)
        if pending is None:
            pending = self._pending[code] = []
        pending.append(seconds)
        if len(pending) >= BATCH_SIZE:
            self._observe(code)

    def expect(self, *codes: int) -> None:
        """Create the series of status codes, so that their rates start from 0."""
        for code in codes:
            self._histogram(code)

    def observe_pending(self) -> None:
        """Observe the durations that were recorded since the last batch."""
        for code in self._pending:
            self._observe(code)

    def _observe(self, code: int) -> None:
        pending = self._pending[code]
        self._histogram(code).observe_all(pending)
        pending.clear()

    def _histogram(self, code: int) -> BatchHistogram:
        return http_request_duration_seconds.labels(self._method, self._route, code)


_all: list[RequestDurations] = []


@functools.cache
def _durations_of(method: str, route: str) -> RequestDurations:
    durations = RequestDurations(method, route)
    _all.append(durations)
    return durations


def durations_of(method: str, route: str) -> RequestDurations:
    """Return where to record the requests with a method for a route, given as its template."""
    return _durations_of(method if method in METHODS else OTHER_METHOD, route)


def observe_pending() -> None:
    """Observe all durations that were recorded so far; call it in the event loop's thread."""
    for durations in _all:
        durations.observe_pending()
