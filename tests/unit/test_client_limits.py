"""Token buckets and numbers of streams by client."""

import pytest

from restaurant_system.web import client_limits
from restaurant_system.web.client_limits import RateLimit, StreamLimit
from restaurant_system.web.problem import Refusal


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def accepted(limit: RateLimit, client: str | None, requests: int) -> int:
    """Send requests; return how many are accepted."""
    number = 0
    for _ in range(requests):
        try:
            limit.check(client)
        except Refusal:
            continue
        number += 1
    return number


def test_client_may_send_a_burst_and_then_its_rate() -> None:
    """Refused requests take no token."""
    clock = Clock()
    limit = RateLimit(5, clock=clock)

    assert accepted(limit, "a", 1000) == 50
    clock.now += 1
    assert accepted(limit, "a", 1000) == 5
    clock.now += 3600
    assert accepted(limit, "a", 1000) == 50


def test_clients_do_not_share_a_limit() -> None:
    limit = RateLimit(1, clock=Clock())

    assert accepted(limit, "a", 100) == 10
    assert accepted(limit, "b", 100) == 10
    assert accepted(limit, None, 100) == 100


def test_refused_request_is_accepted_after_retry_after() -> None:
    clock = Clock()
    limit = RateLimit(0.02, clock=clock)
    limit.check("a")

    with pytest.raises(Refusal) as refusal:
        limit.check("a")
    assert refusal.value.status == 429
    assert refusal.value.headers == {"Retry-After": "50"}

    clock.now += 49
    assert accepted(limit, "a", 1) == 0
    clock.now += 1
    assert accepted(limit, "a", 1) == 1


def test_rate_of_zero_means_no_limit() -> None:
    assert accepted(RateLimit(0), "a", 10_000) == 10_000


def test_memory_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_limits, "MAX_CLIENTS", 30)
    monkeypatch.setattr(client_limits, "KEPT_CLIENTS", 20)
    limit = RateLimit(1, clock=Clock())

    for number in range(1000):
        limit.check(str(number))
        assert len(limit._full_at) <= 30  # noqa: SLF001 - the memory in question


def test_requests_of_many_addresses_reset_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither that of the client that controls them, nor that of another one."""
    monkeypatch.setattr(client_limits, "MAX_CLIENTS", 30)
    monkeypatch.setattr(client_limits, "KEPT_CLIENTS", 20)
    clock = Clock()
    limit = RateLimit(1, clock=clock)
    assert accepted(limit, "empty", 100) == 10
    assert accepted(limit, "half empty", 5) == 5

    for number in range(1000):
        clock.now += 0.001
        limit.check(f"2001:db8:0:{number:x}::/64")

    assert accepted(limit, "empty", 100) == 1
    assert accepted(limit, "half empty", 100) == 6


def test_full_buckets_are_deleted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_limits, "MAX_CLIENTS", 3)
    monkeypatch.setattr(client_limits, "KEPT_CLIENTS", 3)
    clock = Clock()
    limit = RateLimit(1, clock=clock)
    for client in ("a", "b"):
        limit.check(client)
    clock.now += 1
    for client in ("c", "d"):
        limit.check(client)

    assert set(limit._full_at) == {"c", "d"}  # noqa: SLF001 - nothing else tells a full bucket


def test_stream_above_the_limit_of_its_client_is_refused() -> None:
    limit = StreamLimit(2)
    with limit.counted("a"), limit.counted("a"):
        with limit.counted("b"), limit.counted(None), limit.counted(None), limit.counted(None):
            pass
        with pytest.raises(Refusal) as refusal, limit.counted("a"):
            pytest.fail("The stream was not refused.")
    assert refusal.value.status == 429
    assert refusal.value.headers is not None

    with limit.counted("a"), limit.counted("a"):
        pass


def test_stream_that_fails_is_no_longer_counted() -> None:
    limit = StreamLimit(1)
    with pytest.raises(ConnectionError), limit.counted("a"):
        raise ConnectionError

    with limit.counted("a"):
        pass


def test_limit_of_zero_streams_means_no_limit() -> None:
    limit = StreamLimit(0)
    with limit.counted("a"), limit.counted("a"):
        pass
