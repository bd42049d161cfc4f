"""Record the durations of HTTP requests, at little cost for each request."""

import functools
from typing import Final

from restaurant_system.metrics.definitions import http_request_duration_seconds

UNKNOWN_PATH: Final = "(unknown path)"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD: Final = "other"  # the parser accepts thirty more
BATCH_SIZE: Final = 256  # durations that are kept before they are observed together


class _DurationsOfCode:
    """The durations of a route's responses with one status code."""

    __slots__ = ("_histogram", "_pending")

    def __init__(self, method: str, route: str, code: int) -> None:
        self._histogram = http_request_duration_seconds.labels(method, route, code)
        self._pending: list[float] = []

    def record(self, seconds: float) -> None:
        self._pending.append(seconds)
        if len(self._pending) >= BATCH_SIZE:
            self.observe_pending()

    def observe_pending(self) -> None:
        pending, self._pending = self._pending, []
        self._histogram.observe_all(pending)


class RequestDurations:
    """The durations of the requests for one route."""

    __slots__ = ("_by_code", "_method", "_route")

    def __init__(self, method: str, route: str) -> None:
        self._method = method
        self._route = route
        self._by_code: dict[int, _DurationsOfCode] = {}

    def record(self, code: int, seconds: float) -> None:
        """Record the status code and the duration of a request; they are observed in batches."""
        of_code = self._by_code.get(code)
        if of_code is None:
            of_code = self._add(code)
        of_code.record(seconds)

    def expect(self, *codes: int) -> None:
        """Create the series of status codes, so that their rates start from 0."""
        for code in codes:
            if code not in self._by_code:
                self._add(code)

    def _add(self, code: int) -> _DurationsOfCode:
        of_code = self._by_code[code] = _DurationsOfCode(self._method, self._route, code)
        return of_code

    def observe_pending(self) -> None:
        """Observe the durations that were recorded since the last batch."""
        for of_code in tuple(self._by_code.values()):
            of_code.observe_pending()


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
