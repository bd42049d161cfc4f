"""A database that is stopped, hangs or is killed: guests are told so at once."""

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
GUESTS = 40


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
    """Make a request, and measure how long the answer took."""
    started = time.monotonic()
    return request(), time.monotonic() - started


def all_at_once(
    requests: list[Callable[[], httpx.Response]],
) -> list[tuple[httpx.Response, float]]:
    """Make requests at the same time."""
    with ThreadPoolExecutor(len(requests)) as guests:
        return list(guests.map(timed, requests))


@pytest.mark.parametrize("absence", ABSENCES, ids=lambda absence: absence.name)
def test_guests_are_told_at_once_that_the_database_is_away(
    deployment: Deployment, frail_postgres: Postgres, absence: Absence
) -> None:
    """However it went, and however many ask; and once it is back they are served again."""
    number = deployment.place_order()
    questions: list[Callable[[], httpx.Response]] = [
        lambda: deployment.post_order(make_order_body()),
        lambda: deployment.orders.post(f"/orders/{number}/cancel"),
        lambda: deployment.tracking.get(f"/orders/{number}/status"),
        lambda: deployment.tracking.get("/stats"),
    ]

    absence.leave(frail_postgres)
    try:
        first = all_at_once(questions * (GUESTS // len(questions)))
        then = all_at_once(questions)
        health = all_at_once(health_of_both(deployment))
    finally:
        absence.come_back(frail_postgres)

    for answer, seconds in first:
        assert_told_to_come_back(answer)
        assert seconds < NOTICED
    for answer, seconds in then:
        assert_told_to_come_back(answer)
        assert seconds < AT_ONCE
    for answer, seconds in health:
        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
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


def test_health_answers_in_time_while_nobody_knows_yet(
    deployment: Deployment, frail_postgres: Postgres
) -> None:
    """A database that has just begun to hang does not make health hang, and is soon known to."""
    frail_postgres.pause()
    try:
        answers = all_at_once(health_of_both(deployment))
        wait_until(
            lambda: {ask().status_code for ask in health_of_both(deployment)} == {503},
            seconds=20,
            doing="for health to know",
        )
    finally:
        frail_postgres.resume()

    assert all(seconds < 2 for _, seconds in answers)


def health_of_both(deployment: Deployment) -> list[Callable[[], httpx.Response]]:
    """Ask both services how they are."""
    return [partial(service.get, "/health") for service in (deployment.orders, deployment.tracking)]


def assert_told_to_come_back(answer: httpx.Response) -> None:
    """Hold an answer to what is promised while the database is away."""
    assert_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
