import uuid
from collections.abc import AsyncIterator
from decimal import Decimal

import httpx
import pytest
from structlog.testing import capture_logs

from restaurant_system.database.connection import Database
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.handler import OrderHandler
from tests.support.orders import make_item, make_order_body
from tests.support.responses import assert_problem, invalid_fields
from tests.support.services import http_client, make_broker, make_order_service, make_relay, walk
from tests.support.waiting import eventually

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to the order service, with its relay at work."""
    relay = make_relay(database)
    async with relay.running():
        handler = OrderHandler(make_order_service(database, relay), 50)
        async with http_client(handler.feature()) as client:
            yield client


async def place(client: httpx.AsyncClient, key: str | None = None, **changes: object) -> str:
    """Place an order, and return its number."""
    headers = JSON if key is None else JSON | {"Idempotency-Key": key}
    response = await client.post("/orders", content=make_order_body(**changes), headers=headers)
    assert response.status_code == 201, response.text
    number: str = response.json()["order_number"]
    return number


async def test_placing(client: httpx.AsyncClient) -> None:
    """An order is answered with its number, its status, its total, and where to look for it."""
    body = make_order_body(
        items=[
            make_item(name="Margherita Pizza", price=Decimal("15.99")),
            make_item(name="Caesar Salad", price=Decimal("8.99"), notes="no onions"),
        ]
    )

    response = await client.post("/orders", content=body, headers=JSON)

    assert response.status_code == 201
    assert response.headers["Content-Type"] == "application/json"
    answer = response.json()
    number = answer["order_number"]
    assert answer == {"order_number": number, "status": "received", "total_amount": 24.98}
    assert number.startswith("ORD_")
    assert number.endswith("_001")
    assert response.headers["Location"] == f"/orders/{number}/status"
    assert "Idempotency-Replayed" not in response.headers


async def test_on_its_way(client: httpx.AsyncClient, database: Database) -> None:
    """An order that was answered is on its way to the kitchen."""
    await place(client, order_type="dine_in", table_number=5)

    async def has_arrived() -> bool:
        return (await make_broker(database).depths())["kitchen_dine_in_queue"] == 1

    await eventually(has_arrived, doing="for the order to reach the kitchen")


async def test_repeating(client: httpx.AsyncClient) -> None:
    """The same order under the same key is answered as before, and the answer says so."""
    headers = JSON | {"Idempotency-Key": "a-key"}
    first = await client.post("/orders", content=make_order_body(), headers=headers)

    second = await client.post("/orders", content=make_order_body(), headers=headers)

    assert second.status_code == 201
    assert second.json() == first.json()
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


async def test_another_order_under_a_key(client: httpx.AsyncClient) -> None:
    """Another order under the same key is refused with 422."""
    await place(client, "a-key")

    response = await client.post(
        "/orders",
        content=make_order_body(notes="spicy"),
        headers=JSON | {"Idempotency-Key": "a-key"},
    )

    assert_problem(response, 422)


async def test_cancelling(client: httpx.AsyncClient, database: Database) -> None:
    """An order is cancelled with or without a word about it."""
    silent, stated = await place(client), await place(client)

    without = await client.post(f"/orders/{silent}/cancel")
    with_words = await client.post(
        f"/orders/{stated}/cancel", json={"changed_by": "anna", "reason": "guest left"}
    )

    assert without.status_code == with_words.status_code == 200
    assert without.json() == {"order_number": silent, "status": "cancelled"}
    assert with_words.json() == {"order_number": stated, "status": "cancelled"}
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT changed_by, notes FROM order_status_log WHERE status = 'cancelled' ORDER BY id"
        )
    assert [tuple(row) for row in rows] == [("order-service", None), ("anna", "guest left")]


async def test_completing(client: httpx.AsyncClient, database: Database) -> None:
    """An order that is ready is handed over."""
    number = await place(client)
    await walk(database, number, OrderStatus.COOKING, OrderStatus.READY)

    response = await client.post(f"/orders/{number}/complete", json={"changed_by": "anna"})

    assert response.status_code == 200
    assert response.json() == {"order_number": number, "status": "completed"}


async def test_illegal_moves(client: httpx.AsyncClient) -> None:
    """A move that the order's status does not allow is refused with 409, which names the status."""
    number = await place(client)

    too_early = await client.post(f"/orders/{number}/complete")
    await client.post(f"/orders/{number}/cancel")
    too_late = await client.post(f"/orders/{number}/cancel")

    assert_problem(too_early, 409)
    assert "received" in too_early.json()["detail"]
    assert_problem(too_late, 409)
    assert "cancelled" in too_late.json()["detail"]
    assert too_late.json()["current_status"] == "cancelled"


async def test_no_such_order(client: httpx.AsyncClient) -> None:
    """A move of an order that was never placed is refused with 404."""
    assert_problem(await client.post("/orders/ORD_20241216_999/cancel"), 404)
    assert_problem(await client.post("/orders/ORD_20241216_999/complete"), 404)


async def test_odd_numbers(client: httpx.AsyncClient) -> None:
    """A number that can be no order's is refused with 404, however odd it is."""
    answers = {}
    with capture_logs():
        for number in ("5", "%00", "a%00b", "%FF", "%ED%A0%80", "%0A", "%27", "ORD_" + "9" * 9000):
            for move in ("cancel", "complete"):
                response = await client.post(f"/orders/{number}/{move}")
                answer = (response.status_code, response.headers["Content-Type"])
                answers[f"{number[:20]}/{move}"] = answer

    assert answers == dict.fromkeys(answers, (404, "application/problem+json"))


async def test_bad_moves(client: httpx.AsyncClient) -> None:
    """What is said about a move is held to rules too, and a bad word moves nothing."""
    number = await place(client)
    for body, field in (
        (b'{"changed_by": ""}', "changed_by"),
        (b'{"changed_by": 5}', "changed_by"),
        (b'{"changed_by": "a\\u0000b"}', "changed_by"),
        (b'{"reason": "' + b"r" * 201 + b'"}', "reason"),
        (b'{"why": "guest left"}', "why"),
        (b"[]", "body"),
        (b"{", "body"),
    ):
        response = await client.post(f"/orders/{number}/cancel", content=body, headers=JSON)

        assert_problem(response, 400)
        assert invalid_fields(response) == [field]

    assert_problem(await client.post(f"/orders/{number}/cancel", content=b"anna"), 415)
    large = await client.post(f"/orders/{number}/cancel", content=b" " * 65_537, headers=JSON)
    assert_problem(large, 413)
    assert (await client.post(f"/orders/{number}/cancel")).status_code == 200


async def test_elsewhere(client: httpx.AsyncClient) -> None:
    """An address that is none, or takes another method, says so as a problem document."""
    assert_problem(await client.get("/kitchen"), 404)
    wrong = await client.put("/orders", content=make_order_body(), headers=JSON)
    assert_problem(wrong, 405)
    assert "POST" in wrong.headers["Allow"]
    assert_problem(await client.get("/orders/ORD_20241216_001/cancel"), 405)


async def test_a_sane_request_id(client: httpx.AsyncClient, database: Database) -> None:
    """A caller's request id is kept, in its answer and on the message to the kitchen."""
    headers = JSON | {"X-Request-ID": "till-3:42"}

    response = await client.post("/orders", content=make_order_body(), headers=headers)

    assert response.headers["X-Request-ID"] == "till-3:42"

    async def has_arrived() -> bool:
        async with database.connection() as connection:
            ids = await connection.fetch("SELECT correlation_id FROM broker_messages")
        return [row["correlation_id"] for row in ids] == ["till-3:42"]

    await eventually(has_arrived, doing="for the order to reach the kitchen")


async def test_every_answer_has_a_request_id(client: httpx.AsyncClient) -> None:
    """Every answer has a request id: a new one where the caller's is none, or not sane."""
    for stated in (b"", b"a b", b"x" * 129, b"\xff", b'"><script>', b"a\tb"):
        for path in ("/orders", "/orders/ORD_1/cancel", "/nowhere", "/docs"):
            response = await client.post(path, headers=[(b"X-Request-ID", stated)])

            assert uuid.UUID(response.headers["X-Request-ID"]).version == 4
    ids = {(await client.get("/docs")).headers["X-Request-ID"] for _ in range(3)}
    assert len(ids) == 3


async def test_documentation(client: httpx.AsyncClient) -> None:
    """The service documents itself: what an order holds, and what is answered."""
    described = (await client.get("/openapi.json")).json()

    placing = described["paths"]["/orders"]["post"]
    schema = placing["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {
        *("customer_name", "order_type", "items", "table_number", "delivery_address", "notes")
    }
    assert set(schema["required"]) == {"customer_name", "order_type", "items"}
    assert schema["properties"]["items"]["items"]["properties"]["price"]["maximum"] == 999.99
    assert "201" in placing["responses"]
    assert "Idempotency-Key" in [each["name"] for each in placing["parameters"]]
    assert "/orders/{order_number}/cancel" in described["paths"]
    assert "/orders/{order_number}/complete" in described["paths"]
    shown = await client.get("/docs")
    assert shown.status_code == 200
    assert shown.headers["Content-Type"].startswith("text/html")
    assert shown.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert (await client.get("/redoc")).status_code == 404
