"""HTTP of the tracking service: status codes, formats, read-only access."""

import re
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from restaurant_system.app.pages import OF_TRACKING_SERVICE, pages_feature
from restaurant_system.app.runtime import Runtime, read_only_database
from restaurant_system.config import DeliverySettings, Settings
from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.json_body import JSON
from tests.conftest import open_database
from tests.support.logs import capture_logs
from tests.support.orders import make_order
from tests.support.responses import assert_problem
from tests.support.services import (
    NOON,
    FakeClock,
    http_client,
    make_broker,
    make_tracking_service,
    move_through,
)

RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")
TIMES = ("_at", "_completion", "_seen", "timestamp", "hour")
MALFORMED_NUMBERS = [
    *("5", "ord_20241216_001", "ORD_20241216_01", "%00", "ORD_20241216_001%00", "%FF", "%ED%A0%80"),
    *("%20", "%0A", "%27%20OR%201=1", "..%5C..", "%E2%80%AE", "ORD_" + "9" * 9000),
]


async def place(intake: OrderService) -> str:
    """Place an order, and return its number."""
    return (await intake.place(make_order(), request_id="request-1", key=None)).order_number


def times_in(response: object) -> Iterator[str]:
    """Yield all times in a response."""
    if isinstance(response, list):
        for part in response:
            yield from times_in(part)
    elif isinstance(response, dict):
        for name, part in response.items():
            if isinstance(part, str) and name.endswith(TIMES):
                yield part
            else:
                yield from times_in(part)


async def test_malformed_order_number_is_answered_404(
    tracking: httpx.AsyncClient, intake: OrderService
) -> None:
    await place(intake)
    unexpected = {}
    with capture_logs() as lines:
        for number in ["ORD_20241216_999", *MALFORMED_NUMBERS]:
            for suffix in ("/status", "/history", ""):
                response = await tracking.get(f"/orders/{number}{suffix}")
                answer = (response.status_code, response.headers["Content-Type"])
                if answer != (404, "application/problem+json"):
                    unexpected[f"{number[:30]}{suffix}"] = answer

    assert unexpected == {}
    assert "error" not in {line["log_level"] for line in lines}


async def test_path_with_extra_slashes_is_answered_404_or_redirected(
    tracking: httpx.AsyncClient,
) -> None:
    for path in ("/orders/a/b/status", "/orders//status", "/orders/%2F/status", "/orders/..%2Fx"):
        response = await tracking.get(path)

        assert response.status_code in {307, 404}


async def test_times_are_rfc_3339_in_utc(
    tracking: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    number = await place(intake)
    await move_through(database, number, OrderStatus.COOKING, due=NOON)
    async with database.connection() as connection:
        await workers.register(connection, "mario", tuple(OrderType), timedelta(5), uuid4())

    for path, expected in (
        (f"/orders/{number}/status", 2),
        (f"/orders/{number}/history", 2),
        (f"/orders/{number}", 4),
        ("/orders", 4),
        ("/workers/status", 1),
        ("/stats", 1),
    ):
        found = list(times_in((await tracking.get(path)).json()))

        assert len(found) == expected
        assert all(RFC_3339.fullmatch(time) for time in found)


async def test_all_routes_work_on_a_read_only_database(dsn: str, intake: OrderService) -> None:
    placed = await intake.place(make_order(), request_id="request-1", key=None)
    number, link = placed.order_number, placed.tracking_url or ""
    async with open_database(dsn, read_only=True) as replica:
        reader = make_tracking_service(replica, clock=FakeClock())
        async with http_client(TrackingHandler(reader).feature()) as tracking:
            for path in (
                *(f"/orders/{number}/status", f"/orders/{number}/history", f"/orders/{number}"),
                *("/orders", "/workers/status", "/stats"),
                f"/orders/{number}/tracking/{link.rpartition('/')[2]}",
            ):
                assert (await tracking.get(path)).status_code == 200


@pytest.mark.parametrize("server", ["the same server", "a replica"])
async def test_read_only_database_refuses_writes(server: str, dsn: str, database: Database) -> None:
    """A connection stays read-only after it was released and acquired again."""
    replica = {"replica": {"url": dsn}} if server == "a replica" else {}
    settings = Settings.model_validate({"database": {"url": dsn, **replica}})
    runtime = Runtime(
        "test",
        settings,
        database,
        make_broker(database),
        RetryPolicy(DeliverySettings()),
        Shutdown(),
    )

    async with read_only_database(runtime) as reader:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match="read-only transaction"):
                async with reader.connection() as connection:
                    await connection.execute("DELETE FROM orders")
        async with reader.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM orders") == 0


async def test_writing_methods_are_answered_405(tracking: httpx.AsyncClient) -> None:
    for path in ("/orders", "/orders/ORD_20241216_001", "/orders/ORD_20241216_001/status"):
        assert_problem(await tracking.post(path, json={}), 405)


async def test_unreachable_database_is_answered_503_with_retry_after(
    tracking: httpx.AsyncClient, database: Database
) -> None:
    await database.close()

    for path in ("/orders/ORD_20241216_001/status", "/orders", "/workers/status", "/stats"):
        response = await tracking.get(path)

        assert_problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0


async def test_all_routes_are_documented(tracking: httpx.AsyncClient) -> None:
    described = (await tracking.get("/openapi.json")).json()

    assert set(described["paths"]) == {
        "/orders/{order_number}/status",
        "/orders/{order_number}/history",
        "/orders/{order_number}",
        "/orders/{order_number}/tracking/{token}",
        "/orders/{order_number}/qr.svg",
        "/orders",
        "/workers/status",
        "/stats",
    }
    status = described["paths"]["/orders/{order_number}/status"]["get"]
    assert "200" in status["responses"]
    assert [each["name"] for each in status["parameters"]] == ["order_number"]
    assert (await tracking.get("/docs")).status_code == 200


async def test_address_of_the_list_is_a_page_for_browsers(database: Database) -> None:
    screens = pages_feature(Settings(), OF_TRACKING_SERVICE)
    api = TrackingHandler(make_tracking_service(database)).feature()
    async with http_client(screens, api) as client:
        page = await client.get("/orders", headers={"Accept": "text/html,*/*;q=0.8"})
        lists = [await client.get("/orders"), await client.get("/orders", headers={"Accept": JSON})]

    assert page.headers["Content-Type"].startswith("text/html")
    assert "Accept" in page.headers["Vary"].split(", ")
    for each in lists:
        assert each.json() == {"orders": [], "next_cursor": None}
        assert each.headers["Vary"] == "Accept"
