"""Invalid orders are refused with every error, and nothing is stored."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from restaurant_system.database.connection import Database
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.web import api
from restaurant_system.web.headers import MAX_BODY_SIZE
from tests.support.invalid_orders import INVALID_ORDERS, UNUSUAL_ORDERS
from tests.support.logs import capture_logs
from tests.support.orders import make_item, make_order_body
from tests.support.responses import assert_problem, invalid_fields
from tests.support.services import http_client, make_order_service, serve_site

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the order service."""
    async with http_client(OrderHandler(make_order_service(database), 50).feature()) as client:
        yield client


async def post(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    """Send a body as an order."""
    return await client.post("/orders", content=body, headers=JSON)


async def stored_rows(database: Database) -> int:
    """Count the rows that orders leave."""
    async with database.connection() as connection:
        rows: int = await connection.fetchval(
            """SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM order_items)
               + (SELECT count(*) FROM order_status_log) + (SELECT count(*) FROM outbox)
               + (SELECT count(*) FROM idempotency_keys) + (SELECT count(*) FROM order_counters)"""
        )
    return rows


async def test_invalid_body_is_refused_by_its_field_and_not_stored(
    client: httpx.AsyncClient, database: Database
) -> None:
    mishandled = {}
    for bad in INVALID_ORDERS:
        response = await post(client, bad.body)
        if response.status_code != 400 or bad.field not in invalid_fields(response):
            mishandled[bad.name] = (response.status_code, response.text[:200])

    assert mishandled == {}
    assert await stored_rows(database) == 0


async def test_unusual_body_is_accepted_or_refused(client: httpx.AsyncClient) -> None:
    with capture_logs():
        answers = [(await post(client, body)).status_code for body in UNUSUAL_ORDERS]

    assert set(answers) <= {201, 400}


async def test_refusal_lists_every_invalid_field(client: httpx.AsyncClient) -> None:
    body = make_order_body(
        customer_name="!",
        order_type="dine_in",
        items=[make_item(quantity=0), make_item(price=-1)],
        tip=1,
    )

    response = await post(client, body)

    assert_problem(response, 400)
    assert sorted(invalid_fields(response)) == [
        "customer_name",
        "items.0.quantity",
        "items.1.price",
        "table_number",
        "tip",
    ]


async def test_body_of_256_kib_is_read(client: httpx.AsyncClient) -> None:
    body = make_order_body().ljust(256 * 1024)

    assert len(body) == MAX_BODY_SIZE
    assert (await post(client, body)).status_code == 201


async def test_body_above_256_kib_is_refused(client: httpx.AsyncClient, database: Database) -> None:
    """A chunked body above 256 KiB is refused too."""
    body = make_order_body().ljust(256 * 1024 + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    announced = await post(client, body)
    chunked = await client.post("/orders", content=pieces(), headers=JSON)

    assert "Content-Length" not in chunked.request.headers
    for response in (announced, chunked):
        assert_problem(response, 413)
    assert await stored_rows(database) == 0


async def test_chunked_body_is_accepted(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in make_order_body():
            yield bytes([byte])
            await asyncio.sleep(0)

    assert (await client.post("/orders", content=pieces(), headers=JSON)).status_code == 201


async def test_json_content_type_is_accepted_in_every_notation(client: httpx.AsyncClient) -> None:
    for spelt in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        headers = {"Content-Type": spelt}

        assert (
            await client.post("/orders", content=make_order_body(), headers=headers)
        ).status_code == 201


async def test_other_or_missing_content_type_is_answered_415(client: httpx.AsyncClient) -> None:
    for other in ("", "text/plain", "application/xml", "application/jsonp", "application", None):
        headers = {} if other is None else {"Content-Type": other}
        response = await client.post("/orders", content=make_order_body(), headers=headers)

        assert_problem(response, 415)


async def test_invalid_idempotency_key_is_refused(client: httpx.AsyncClient) -> None:
    for key in (b"", b"1", b"k" * 15, b"two words" * 3, b"k" * 256, "schlüssel".encode() * 3):
        headers = [(b"Content-Type", b"application/json"), (b"Idempotency-Key", key)]
        response = await client.post("/orders", content=make_order_body(), headers=headers)

        assert_problem(response, 400)
        assert invalid_fields(response) == ["Idempotency-Key"]
        assert "16 to 255 visible ASCII" in response.json()["errors"][0]["message"]
        body = make_order_body(customer_name="", items=[])
        both = await client.post("/orders", content=body, headers=headers)
        assert invalid_fields(both) == ["customer_name", "items", "Idempotency-Key"]


async def test_two_idempotency_keys_are_refused(
    client: httpx.AsyncClient, database: Database
) -> None:
    keys = [(b"Idempotency-Key", each * 4) for each in (b"key-1", b"key-2")]
    headers = [(b"Content-Type", b"application/json"), *keys]

    response = await client.post("/orders", content=make_order_body(), headers=headers)

    assert_problem(response, 400)
    assert invalid_fields(response) == ["Idempotency-Key"]
    assert await stored_rows(database) == 0


@pytest.mark.parametrize("path", ["/orders", "/orders/ORD_20241216_001/cancel"])
async def test_client_that_disconnects_during_its_body_is_not_logged_as_an_error(
    database: Database, path: str
) -> None:
    site = api.build("Test", [OrderHandler(make_order_service(database), 10).feature()])
    begun = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    async with serve_site(site) as address:
        url = httpx.URL(address)
        with capture_logs() as lines:
            _, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(f"{begun}Content-Length: 100\r\n\r\n{{".encode())
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
            await asyncio.sleep(0.05)

    assert [line for line in lines if line["log_level"] != "debug"] == []
    assert await stored_rows(database) == 0
