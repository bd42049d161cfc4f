"""A database that is stopped, hangs or is killed: requests fail at once."""

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

NOTICED = 6  # s: a second between two pings, two of patience, and time for a busy machine
AT_ONCE = 1  # s
BACK = 5  # s: a second between two tries, time to connect, and again a busy machine
AT_A_TIME = 4  # requests that the order service works on at once
CLIENTS = 40


@dataclass(frozen=True, slots=True)
class Absence:
    """A way in which a server goes away, and comes back."""

    name: str
    leave: Callable[[Postgres], None]
    come_back: Callable[[Postgres], None]


ABSENCES = [
    Absence("stopped", Postgres.stop, Postgres.start),
    Absence("frozen", Postgres.pause, Postgres.resume),
    Absence("killed", Postgres.kill, Postgres.start),
]


@pytest.fixture(scope="module")
def frail_postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL that no other module uses."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def deployment(frail_postgres: Postgres) -> Iterator[Deployment]:
    """Take orders and answer questions on it."""
    dsn = frail_postgres.dsn(asyncio.run(frail_postgres.create_database()))
    with deployments.running(dsn) as deployment:
        deployment.start_order_service("--max-concurrent", str(AT_A_TIME))
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


@pytest.mark.parametrize("absence", ABSENCES, ids=lambda absence: absence.name)
def test_requests_fail_at_once_while_the_database_is_unavailable_and_succeed_after_it_is_back(
    deployment: Deployment, frail_postgres: Postgres, absence: Absence
) -> None:
    number = deployment.place_order()
    questions: list[Callable[[], httpx.Response]] = [
        lambda: deployment.post_order(make_order_body()),
        lambda: deployment.orders.post(f"/orders/{number}/cancel"),
        lambda: deployment.tracking.get(f"/orders/{number}/status"),
        lambda: deployment.tracking.get("/stats"),
    ]

    absence.leave(frail_postgres)
    try:
        first = all_at_once(questions * (CLIENTS // len(questions)))
        then = all_at_once(questions)
        health = all_at_once(health_of_both(deployment))
    finally:
        absence.come_back(frail_postgres)

    for response, seconds in first:
        assert_unavailable(response)
        assert seconds < NOTICED
    for response, seconds in then:
        assert_unavailable(response)
        assert seconds < AT_ONCE
    for response, seconds in health:
        assert (response.status_code, response.json()["status"]) == (503, "unavailable")
        assert seconds < AT_ONCE
    wait_until(
        lambda: deployment.post_order(make_order_body()).status_code == 201,
        seconds=BACK,
        doing="for its return",
    )
    wait_until(
        lambda: deployment.tracking.get(f"/orders/{number}/status").status_code == 200,
        seconds=BACK,
        doing="for its return",
    )
    for service in deployment.started:
        service.wait_for("db_connection_failed")
        assert service.running


def test_health_responds_in_time_before_a_hanging_database_is_detected(
    deployment: Deployment, frail_postgres: Postgres
) -> None:
    frail_postgres.pause()
    try:
        responses = all_at_once(health_of_both(deployment))
        wait_until(
            lambda: {ask().status_code for ask in health_of_both(deployment)} == {503},
            seconds=20,
            doing="for health to know",
        )
    finally:
        frail_postgres.resume()

    assert all(seconds < 2 for _, seconds in responses)


def health_of_both(deployment: Deployment) -> list[Callable[[], httpx.Response]]:
    """Ask both services how they are."""
    return [partial(service.get, "/health") for service in (deployment.orders, deployment.tracking)]


def assert_unavailable(answer: httpx.Response) -> None:
    """Hold an answer to what is promised while the database is away."""
    assert_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
