"""Limit what each client may do: requests by a token bucket, and streams at the same time."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http import HTTPStatus
from operator import itemgetter

from restaurant_system.error_texts import ErrorText
from restaurant_system.web.file_descriptors import ThrottledLog
from restaurant_system.web.problem import Refusal

BURST_SECONDS = 10  # a bucket holds what a client may send in this time
MAX_CLIENTS = 10_000  # whose buckets are kept
KEPT_CLIENTS = 9_000  # of them at most; the others are deleted together, as each search costs time
ROUNDING_ERROR = 1e-6  # s
STREAM_RETRY = 60  # s after which a client may try to open a stream again

rate_exceeded = ThrottledLog(
    "requests_limited",
    "A client sends more requests than http.changes_per_second or http.lookups_per_second allow."
    " If it is a proxy, add its address to security.trusted_proxies.",
)
streams_exceeded = ThrottledLog(
    "streams_limited",
    "A client has more live views open than http.streams_per_address allows."
    " If it is a proxy, add its address to security.trusted_proxies.",
)
TOO_MANY_REQUESTS = ErrorText(
    "This address sends too many requests; wait as long as Retry-After says.", "too_many_requests"
)
TOO_MANY_LIVE_VIEWS = ErrorText(
    "This address has too many live views open; close some pages.", "too_many_live_views"
)


class RateLimit:
    """A number of requests per second for each client, 0 for no limit.

    Of each bucket only the time is kept at which it will be full again (the generic cell rate
    algorithm); one that is full needs no memory. If there are too many, full ones are deleted, and
    then those that are full soonest. So requests from many addresses cannot reset the empty bucket
    of the client that sends them, or of another one: as many buckets would have to be emptier.
    """

    def __init__(self, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._capacity = max(BURST_SECONDS, self._interval)  # in seconds; at least one request
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def check(self, client: str | None) -> None:
        """Take a token from the client's bucket; raises `Refusal` (429) if it is empty.

        `None` is a client without a limit.
        """
        if client is None or not self._interval:
            return
        now = self._clock()
        full_at = max(self._full_at.get(client, now), now) + self._interval
        missing = full_at - now - self._capacity
        if missing > ROUNDING_ERROR:
            rate_exceeded.warn()
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                TOO_MANY_REQUESTS,
                retry_after=math.ceil(missing),
            )
        self._full_at[client] = full_at
        if len(self._full_at) > MAX_CLIENTS:
            self._delete_fullest(now)

    def _delete_fullest(self, now: float) -> None:
        """Keep the `KEPT_CLIENTS` buckets that will be full last, and of these no full one."""
        by_time = sorted(self._full_at.items(), key=itemgetter(1))  # faster than heapq here
        self._full_at = {client: at for client, at in by_time[-KEPT_CLIENTS:] if at > now}


class StreamLimit:
    """A number of responses that each client may receive at the same time, 0 for no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextlib.contextmanager
    def counted(self, client: str | None) -> Iterator[None]:
        """Count a stream for the duration of the block; raises `Refusal` (429) for one too many.

        `None` is a client without a limit.
        """
        if client is None or not self._most:
            yield
            return
        if self._open[client] >= self._most:
            streams_exceeded.warn()
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                TOO_MANY_LIVE_VIEWS,
                retry_after=STREAM_RETRY,
            )
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
