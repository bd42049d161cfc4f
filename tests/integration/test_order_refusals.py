"""What is no order is refused with every fault, and leaves nothing behind."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from structlog.testing import capture_logs

from restaurant_system.database.connection import Database
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.web import api
from restaurant_system.web.headers import MAX_BODY_SIZE
from tests.support.invalid_orders import INVALID_ORDERS, UNUSUAL_ORDERS
from tests.support.orders import make_item, make_order_body
from tests.support.responses import assert_problem, invalid_fields
from tests.support.services import http_client, make_order_service, served

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to the order service."""
    async with http_client(OrderHandler(make_order_service(database), 50).feature()) as client:
        yield client


async def post(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    """Send a body as an order."""
    return await client.post("/orders", content=body, headers=JSON)


async def stored(database: Database) -> int:
    """Count the rows that orders leave behind."""
    async with database.connection() as connection:
        rows: int = await connection.fetchval(
            """SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM order_items)
               + (SELECT count(*) FROM order_status_log) + (SELECT count(*) FROM outbox)
               + (SELECT count(*) FROM idempotency_keys) + (SELECT count(*) FROM order_counters)"""
        )
    return rows


async def test_bad_orders(client: httpx.AsyncClient, database: Database) -> None:
    """Whatever is wrong with a body, it is refused by the field at fault, and nothing is stored."""
    mishandled = {}
    for bad in INVALID_ORDERS:
        response = await post(client, bad.body)
        if response.status_code != 400 or bad.field not in invalid_fields(response):
            mishandled[bad.name] = (response.status_code, response.text[:200])

    assert mishandled == {}
    assert await stored(database) == 0


async def test_odd_orders(client: httpx.AsyncClient) -> None:
    """However odd a body is, it is answered: taken or refused."""
    with capture_logs():
        answers = [(await post(client, body)).status_code for body in UNUSUAL_ORDERS]

    assert set(answers) <= {201, 400}


async def test_every_fault(client: httpx.AsyncClient) -> None:
    """A refusal is a problem document that lists every fault with a sentence."""
    body = make_order_body(
        customer_name="",
        order_type="dine_in",
        items=[make_item(quantity=0), make_item(price=0)],
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


async def test_the_largest_body(client: httpx.AsyncClient) -> None:
    """A body of 64 KiB is read."""
    body = make_order_body().ljust(64 * 1024)

    assert len(body) == MAX_BODY_SIZE
    assert (await post(client, body)).status_code == 201


async def test_too_large(client: httpx.AsyncClient, database: Database) -> None:
    """A body above 64 KiB is refused, whether it says so or arrives in pieces."""
    body = make_order_body().ljust(64 * 1024 + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    announced = await post(client, body)
    chunked = await client.post("/orders", content=pieces(), headers=JSON)

    assert "Content-Length" not in chunked.request.headers
    for response in (announced, chunked):
        assert_problem(response, 413)
    assert await stored(database) == 0


async def test_in_pieces(client: httpx.AsyncClient) -> None:
    """A body that arrives in pieces is an order like any other."""

    async def pieces() -> AsyncIterator[bytes]:
        for byte in make_order_body():
            yield bytes([byte])
            await asyncio.sleep(0)

    assert (await client.post("/orders", content=pieces(), headers=JSON)).status_code == 201


async def test_json(client: httpx.AsyncClient) -> None:
    """An order comes as JSON, in whatever way that is spelt."""
    for spelt in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        headers = {"Content-Type": spelt}

        assert (
            await client.post("/orders", content=make_order_body(), headers=headers)
        ).status_code == 201


async def test_another_content_type(client: httpx.AsyncClient) -> None:
    """An order that comes as anything else, or does not say as what, is refused as such."""
    for other in ("", "text/plain", "application/xml", "application/jsonp", "application", None):
        headers = {} if other is None else {"Content-Type": other}
        response = await client.post("/orders", content=make_order_body(), headers=headers)

        assert_problem(response, 415)


async def test_a_bad_key(client: httpx.AsyncClient) -> None:
    """An Idempotency-Key that is no key is refused by its name, not ignored."""
    for key in (b"", b"two words", b"k" * 256, "schlüssel".encode()):
        headers = [(b"Content-Type", b"application/json"), (b"Idempotency-Key", key)]
        response = await client.post("/orders", content=make_order_body(), headers=headers)

        assert_problem(response, 400)
        assert invalid_fields(response) == ["Idempotency-Key"]


async def test_two_keys(client: httpx.AsyncClient, database: Database) -> None:
    """Of two keys nobody knows which one the order is to be found by."""
    keys = [(b"Idempotency-Key", b"one"), (b"Idempotency-Key", b"another")]
    headers = [(b"Content-Type", b"application/json"), *keys]

    response = await client.post("/orders", content=make_order_body(), headers=headers)

    assert_problem(response, 400)
    assert invalid_fields(response) == ["Idempotency-Key"]
    assert await stored(database) == 0


@pytest.mark.parametrize("path", ["/orders", "/orders/ORD_20241216_001/cancel"])
async def test_a_client_that_hangs_up_amid_its_body(database: Database, path: str) -> None:
    """A request that never became whole is no failure of ours."""
    site = api.build("Test", [OrderHandler(make_order_service(database), 10).feature()])
    begun = f"POST {path} HTTP/1.1\r\nHost: restaurant\r\nContent-Type: application/json\r\n"

    async with served(site) as address:
        url = httpx.URL(address)
        with capture_logs() as lines:
            _, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(f"{begun}Content-Length: 100\r\n\r\n{{".encode())
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
            await asyncio.sleep(0.05)

    assert [line for line in lines if line["log_level"] != "debug"] == []
    assert await stored(database) == 0
