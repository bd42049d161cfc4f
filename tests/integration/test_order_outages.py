"""The order service while the database is unavailable, or under overload."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from restaurant_system.database.connection import Database
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.web import request_checks
from tests.support.database import wait_for_lock_wait
from tests.support.logs import capture_logs
from tests.support.orders import make_order_body
from tests.support.responses import assert_problem
from tests.support.services import http_client, make_order_service

JSON = {"Content-Type": "application/json"}
BREAK = """
CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the cellar is under water'; END $$;
CREATE TRIGGER break AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION break();
"""


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the order service."""
    async with http_client(OrderHandler(make_order_service(database), 50).feature()) as client:
        yield client


async def place(client: httpx.AsyncClient) -> str:
    """Place an order; return its number."""
    response = await client.post("/orders", content=make_order_body(), headers=JSON)
    assert response.status_code == 201, response.text
    number: str = response.json()["order_number"]
    return number


async def test_unavailable_database_is_answered_503_with_retry_after(
    client: httpx.AsyncClient, database: Database
) -> None:
    number = await place(client)
    await database.close()

    for response in (
        await client.post("/orders", content=make_order_body(), headers=JSON),
        await client.post(f"/orders/{number}/cancel"),
    ):
        assert_problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0


async def test_503_advises_to_repeat_the_key_only_if_one_was_sent(
    client: httpx.AsyncClient, database: Database
) -> None:
    await database.close()

    with_key = await client.post(
        "/orders", content=make_order_body(), headers={**JSON, "Idempotency-Key": uuid4().hex}
    )
    without = await client.post("/orders/ORD_20241216_001/cancel")

    assert "same Idempotency-Key" in with_key.json()["detail"]
    assert "Idempotency-Key" not in without.json()["detail"]


async def test_request_beyond_the_concurrency_limit_waits_and_is_then_answered_503(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_checks, "QUEUE_TIMEOUT", 0.05)
    handler = OrderHandler(make_order_service(database), max_concurrent=1)
    async with http_client(handler.feature()) as client:
        async with database.transaction() as tx:
            await tx.execute("LOCK TABLE orders")
            first = asyncio.create_task(place(client))
            await wait_for_lock_wait(database)

            async with asyncio.timeout(10):  # sooner than the database gives up the first
                rejected = await client.post("/orders", content=make_order_body(), headers=JSON)

        assert_problem(rejected, 503)
        assert int(rejected.headers["Retry-After"]) > 0
        assert (await first).endswith("_001")
        assert (await place(client)).endswith("_002")


async def test_internal_error_is_logged_with_the_request_id_and_not_shown(
    client: httpx.AsyncClient, database: Database
) -> None:
    number = await place(client)
    async with database.connection() as connection:
        await connection.execute(BREAK)

    for path in ("/orders", f"/orders/{number}/cancel"):
        with capture_logs() as lines:
            response = await client.post(
                path, content=make_order_body() if path == "/orders" else b"", headers=JSON
            )

        assert_problem(response, 500)
        assert "cellar" not in response.text
        (error,) = [line for line in lines if line["log_level"] == "error"]
        assert "cellar" in str(error["exc_info"])
