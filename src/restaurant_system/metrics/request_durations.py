"""Record the durations of HTTP requests, at little cost for each request."""

import functools
from typing import Final

from restaurant_system.metrics.definitions import http_request_duration_seconds
from restaurant_system.metrics.histogram import BufferedHistogram

UNKNOWN_PATH: Final = "(unknown path)"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD: Final = "other"  # the parser accepts thirty more


class RequestDurations:
    """The durations of the requests for one route, by status code."""

    __slots__ = ("_by_code", "_method", "_route")

    def __init__(self, method: str, route: str) -> None:
        self._method = method
        self._route = route
        self._by_code: dict[int, BufferedHistogram] = {}

    def record(self, code: int, seconds: float) -> None:
        """Record the status code and the duration of a request."""
        histogram = self._by_code.get(code)
        if histogram is None:
            histogram = self._add(code)
        histogram.observe(seconds)

    def expect(self, *codes: int) -> None:
        """Create the series of status codes, so that their rates start from 0."""
        for code in codes:
            self._add(code)

    def _add(self, code: int) -> BufferedHistogram:
        histogram = http_request_duration_seconds.labels(self._method, self._route, code)
        self._by_code[code] = histogram
        return histogram


@functools.cache
def _durations_of(method: str, route: str) -> RequestDurations:
    return RequestDurations(method, route)


def durations_of(method: str, route: str) -> RequestDurations:
    """Return where to record the requests with a method for a route, given as its template."""
    return _durations_of(method if method in METHODS else OTHER_METHOD, route)
