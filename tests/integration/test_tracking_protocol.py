"""How the tracking service answers, whatever it is asked."""

import re
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from structlog.testing import capture_logs

from restaurant_system.app.runtime import Runtime, read_only_database
from restaurant_system.config import Settings
from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.shutdown import Shutdown
from tests.conftest import open_database
from tests.support.orders import make_order
from tests.support.responses import assert_problem
from tests.support.services import (
    NOON,
    FakeClock,
    http_client,
    make_broker,
    make_tracking_service,
    walk,
)

RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")
TIMES = ("_at", "_completion", "_seen", "timestamp", "hour")
ODD_NUMBERS = [
    *("5", "ord_20241216_001", "ORD_20241216_01", "%00", "ORD_20241216_001%00", "%FF", "%ED%A0%80"),
    *("%20", "%0A", "%27%20OR%201=1", "..%5C..", "%E2%80%AE", "ORD_" + "9" * 9000),
]


async def place(intake: OrderService) -> str:
    """Place an order, and return its number."""
    return (await intake.place(make_order(), request_id="request-1", key=None)).order_number


def times(answer: object) -> Iterator[str]:
    """Find every time in an answer."""
    if isinstance(answer, list):
        for part in answer:
            yield from times(part)
    elif isinstance(answer, dict):
        for name, part in answer.items():
            if isinstance(part, str) and name.endswith(TIMES):
                yield part
            else:
                yield from times(part)


async def test_odd_numbers(tracking: httpx.AsyncClient, intake: OrderService) -> None:
    """A number that is no order's is answered 404, however odd it is."""
    await place(intake)
    mishandled = {}
    with capture_logs() as lines:
        for number in ["ORD_20241216_999", *ODD_NUMBERS]:
            for question in ("/status", "/history", ""):
                response = await tracking.get(f"/orders/{number}{question}")
                answer = (response.status_code, response.headers["Content-Type"])
                if answer != (404, "application/problem+json"):
                    mishandled[f"{number[:30]}{question}"] = answer

    assert mishandled == {}
    assert "error" not in {line["log_level"] for line in lines}


async def test_slashes(tracking: httpx.AsyncClient) -> None:
    """An address with slashes in odd places is answered as one that is none."""
    for path in ("/orders/a/b/status", "/orders//status", "/orders/%2F/status", "/orders/..%2Fx"):
        response = await tracking.get(path)

        assert response.status_code in {307, 404}


async def test_times(tracking: httpx.AsyncClient, intake: OrderService, database: Database) -> None:
    """Every time is written as RFC 3339 wants it, in UTC with a Z."""
    number = await place(intake)
    await walk(database, number, OrderStatus.COOKING, due=NOON)
    async with database.connection() as connection:
        await workers.register(connection, "mario", tuple(OrderType), timedelta(5), uuid4())

    for path, expected in (
        (f"/orders/{number}/status", 2),
        (f"/orders/{number}/history", 2),
        (f"/orders/{number}", 3),
        ("/orders", 3),
        ("/workers/status", 1),
        ("/stats", 1),
    ):
        found = list(times((await tracking.get(path)).json()))

        assert len(found) == expected
        assert all(RFC_3339.fullmatch(time) for time in found)


async def test_only_reads(dsn: str, intake: OrderService) -> None:
    """Every question is answered by a database that lets nobody write."""
    number = await place(intake)
    async with open_database(dsn, read_only=True) as replica:
        reader = make_tracking_service(replica, clock=FakeClock())
        async with http_client(TrackingHandler(reader).feature()) as tracking:
            for path in (
                *(f"/orders/{number}/status", f"/orders/{number}/history", f"/orders/{number}"),
                *("/orders", "/workers/status", "/stats"),
            ):
                assert (await tracking.get(path)).status_code == 200


@pytest.mark.parametrize("server", ["the same server", "a replica"])
async def test_cannot_write(server: str, dsn: str, database: Database) -> None:
    """What questions are asked on refuses every change, wherever it is and however often lent."""
    replica = {"replica": {"url": dsn}} if server == "a replica" else {}
    settings = Settings.model_validate({"database": {"url": dsn, **replica}})
    runtime = Runtime("test", settings, database, make_broker(database), Shutdown())

    async with read_only_database(runtime) as reader:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match="read-only transaction"):
                async with reader.connection() as connection:
                    await connection.execute("DELETE FROM orders")
        async with reader.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM orders") == 0


async def test_nothing_but_questions(tracking: httpx.AsyncClient) -> None:
    """Nothing can be changed here."""
    for path in ("/orders", "/orders/ORD_20241216_001", "/orders/ORD_20241216_001/status"):
        assert_problem(await tracking.post(path, json={}), 405)


async def test_the_database_is_away(tracking: httpx.AsyncClient, database: Database) -> None:
    """With the database away the caller is asked to come again soon."""
    await database.close()

    for path in ("/orders/ORD_20241216_001/status", "/orders", "/workers/status", "/stats"):
        response = await tracking.get(path)

        assert_problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0


async def test_documentation(tracking: httpx.AsyncClient) -> None:
    """The service documents each question and its answer."""
    described = (await tracking.get("/openapi.json")).json()

    assert set(described["paths"]) == {
        "/orders/{order_number}/status",
        "/orders/{order_number}/history",
        "/orders/{order_number}",
        "/orders",
        "/workers/status",
        "/stats",
    }
    status = described["paths"]["/orders/{order_number}/status"]["get"]
    assert "200" in status["responses"]
    assert [each["name"] for each in status["parameters"]] == ["order_number"]
    assert (await tracking.get("/docs")).status_code == 200
