"""Requests fail at once while PostgreSQL is stopped, hangs or has been killed."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import httpx
import pytest

from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.orders import make_order_body
from tests.support.postgres_server import Postgres, running_postgres
from tests.support.responses import assert_problem
from tests.support.waiting import wait_until

DETECTION_TIMEOUT = 6  # s: ping_interval and ping_timeout, and time for a busy machine
MAX_RESPONSE_SECONDS = 1
RECOVERY_TIMEOUT = 5  # s: the retry interval, time to connect, and time for a busy machine
MAX_CONCURRENT = 4
CLIENTS = 40


@dataclass(frozen=True, slots=True)
class Outage:
    """A way in which PostgreSQL becomes unavailable, and available again."""

    name: str
    begin: Callable[[Postgres], None]
    end: Callable[[Postgres], None]


OUTAGES = [
    Outage("stopped", Postgres.stop, Postgres.start),
    Outage("frozen", Postgres.pause, Postgres.resume),
    Outage("killed", Postgres.kill, Postgres.start),
]


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL that no other module uses."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def deployment(own_postgres: Postgres) -> Iterator[Deployment]:
    """Start an order service and a tracking service on the module's PostgreSQL."""
    dsn = own_postgres.dsn(asyncio.run(own_postgres.create_database()))
    with deployments.running(dsn) as deployment:
        deployment.start_order_service("--max-concurrent", str(MAX_CONCURRENT))
        deployment.start_tracking_service()
        deployment.wait_until_ready()
        yield deployment


def timed(request: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
    """Send a request; return the response and the seconds it took."""
    started = time.monotonic()
    return request(), time.monotonic() - started


def all_at_once(
    requests: list[Callable[[], httpx.Response]],
) -> list[tuple[httpx.Response, float]]:
    """Send requests at the same time."""
    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(timed, requests))


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_requests_fail_at_once_while_the_database_is_unavailable_and_succeed_afterwards(
    deployment: Deployment, own_postgres: Postgres, outage: Outage
) -> None:
    number = deployment.place_order()
    requests: list[Callable[[], httpx.Response]] = [
        lambda: deployment.post_order(make_order_body()),
        lambda: deployment.orders.post(f"/orders/{number}/cancel"),
        lambda: deployment.tracking.get(f"/orders/{number}/status"),
        lambda: deployment.tracking.get("/stats"),
    ]

    outage.begin(own_postgres)
    try:
        first = all_at_once(requests * (CLIENTS // len(requests)))
        then = all_at_once(requests)
        health = all_at_once(health_of_both(deployment))
    finally:
        outage.end(own_postgres)

    for response, seconds in first:
        assert_unavailable(response)
        assert seconds < DETECTION_TIMEOUT
    for response, seconds in then:
        assert_unavailable(response)
        assert seconds < MAX_RESPONSE_SECONDS
    for response, seconds in health:
        assert (response.status_code, response.json()["status"]) == (503, "unavailable")
        assert seconds < MAX_RESPONSE_SECONDS
    wait_until(
        lambda: deployment.post_order(make_order_body()).status_code == 201,
        seconds=RECOVERY_TIMEOUT,
        doing="for PostgreSQL to be used again",
    )
    wait_until(
        lambda: deployment.tracking.get(f"/orders/{number}/status").status_code == 200,
        seconds=RECOVERY_TIMEOUT,
        doing="for PostgreSQL to be used again",
    )
    for service in deployment.started:
        service.wait_for("db_connection_failed")
        assert service.running


def test_health_responds_in_time_before_a_hanging_database_is_detected(
    deployment: Deployment, own_postgres: Postgres
) -> None:
    own_postgres.pause()
    try:
        responses = all_at_once(health_of_both(deployment))
        wait_until(
            lambda: {ask().status_code for ask in health_of_both(deployment)} == {503},
            seconds=20,
            doing="for /health to report the outage",
        )
    finally:
        own_postgres.resume()

    assert all(seconds < 2 for _, seconds in responses)


def health_of_both(deployment: Deployment) -> list[Callable[[], httpx.Response]]:
    """Return requests for `/health` to the order service and to the tracking service."""
    return [partial(service.get, "/health") for service in (deployment.orders, deployment.tracking)]


def assert_unavailable(response: httpx.Response) -> None:
    """Assert that a response is a 503 problem with a Retry-After header."""
    assert_problem(response, 503)
    assert int(response.headers["Retry-After"]) > 0
