"""The HTTP routes of the order service."""

import re
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
from tests.support.services import (
    http_client,
    make_broker,
    make_order_service,
    make_relay,
    move_through,
)
from tests.support.waiting import eventually

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the order service, whose relay runs."""
    relay = make_relay(database)
    async with relay.running():
        handler = OrderHandler(make_order_service(database, relay), 50)
        async with http_client(handler.feature()) as client:
            yield client


async def place(client: httpx.AsyncClient, key: str | None = None, **changes: object) -> str:
    """Place an order; return its number."""
    headers = JSON if key is None else JSON | {"Idempotency-Key": key}
    response = await client.post("/orders", content=make_order_body(**changes), headers=headers)
    assert response.status_code == 201, response.text
    number: str = response.json()["order_number"]
    return number


async def test_new_order_is_answered_with_number_status_total_and_location(
    client: httpx.AsyncClient,
) -> None:
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
    link = answer.pop("tracking_url")
    assert answer == {"order_number": number, "status": "received", "total_amount": 24.98}
    assert re.fullmatch(f"/track/{number}/[0-9a-f]{{32}}", link)
    assert number.startswith("ORD_")
    assert number.endswith("_001")
    assert response.headers["Location"] == f"/orders/{number}/status"
    assert "Idempotency-Replayed" not in response.headers


async def test_answered_order_is_published_to_the_kitchen(
    client: httpx.AsyncClient, database: Database
) -> None:
    await place(client, order_type="dine_in", table_number=5)

    async def has_arrived() -> bool:
        return (await make_broker(database).depths())["kitchen_dine_in_queue"] == 1

    await eventually(has_arrived, doing="for the order to reach the kitchen")


async def test_replay_is_answered_as_before_with_idempotency_replayed(
    client: httpx.AsyncClient,
) -> None:
    headers = JSON | {"Idempotency-Key": "a-key"}
    first = await client.post("/orders", content=make_order_body(), headers=headers)

    second = await client.post("/orders", content=make_order_body(), headers=headers)

    assert second.status_code == 201
    assert second.json() == first.json()
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


async def test_other_order_with_a_used_key_is_answered_422(client: httpx.AsyncClient) -> None:
    await place(client, "a-key")

    response = await client.post(
        "/orders",
        content=make_order_body(notes="spicy"),
        headers=JSON | {"Idempotency-Key": "a-key"},
    )

    assert_problem(response, 422)


async def test_order_is_cancelled_with_or_without_a_body(
    client: httpx.AsyncClient, database: Database
) -> None:
    plain, explained = await place(client), await place(client)

    without = await client.post(f"/orders/{plain}/cancel")
    with_body = await client.post(
        f"/orders/{explained}/cancel", json={"changed_by": "anna", "reason": "customer left"}
    )

    assert without.status_code == with_body.status_code == 200
    assert without.json() == {"order_number": plain, "status": "cancelled"}
    assert with_body.json() == {"order_number": explained, "status": "cancelled"}
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT changed_by, notes FROM order_status_log WHERE status = 'cancelled' ORDER BY id"
        )
    assert [tuple(row) for row in rows] == [("order-service", None), ("anna", "customer left")]


async def test_ready_order_is_completed(client: httpx.AsyncClient, database: Database) -> None:
    number = await place(client)
    await move_through(database, number, OrderStatus.COOKING, OrderStatus.READY)

    response = await client.post(f"/orders/{number}/complete", json={"changed_by": "anna"})

    assert response.status_code == 200
    assert response.json() == {"order_number": number, "status": "completed"}


async def test_illegal_move_is_answered_409_with_the_current_status(
    client: httpx.AsyncClient,
) -> None:
    number = await place(client)

    too_early = await client.post(f"/orders/{number}/complete")
    await client.post(f"/orders/{number}/cancel")
    too_late = await client.post(f"/orders/{number}/cancel")

    assert_problem(too_early, 409)
    assert "received" in too_early.json()["detail"]
    assert_problem(too_late, 409)
    assert "cancelled" in too_late.json()["detail"]
    assert too_late.json()["current_status"] == "cancelled"


async def test_move_of_an_unknown_order_is_answered_404(client: httpx.AsyncClient) -> None:
    assert_problem(await client.post("/orders/ORD_20241216_999/cancel"), 404)
    assert_problem(await client.post("/orders/ORD_20241216_999/complete"), 404)


async def test_invalid_order_number_is_answered_404(client: httpx.AsyncClient) -> None:
    answers = {}
    with capture_logs():
        for number in ("5", "%00", "a%00b", "%FF", "%ED%A0%80", "%0A", "%27", "ORD_" + "9" * 9000):
            for move in ("cancel", "complete"):
                response = await client.post(f"/orders/{number}/{move}")
                answer = (response.status_code, response.headers["Content-Type"])
                answers[f"{number[:20]}/{move}"] = answer

    assert answers == dict.fromkeys(answers, (404, "application/problem+json"))


async def test_invalid_body_of_a_move_is_refused_and_moves_nothing(
    client: httpx.AsyncClient,
) -> None:
    number = await place(client)
    for body, field in (
        (b'{"changed_by": ""}', "changed_by"),
        (b'{"changed_by": 5}', "changed_by"),
        (b'{"changed_by": "a\\u0000b"}', "changed_by"),
        (b'{"reason": "' + b"r" * 201 + b'"}', "reason"),
        (b'{"why": "customer left"}', "why"),
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


async def test_unknown_path_or_method_is_answered_with_a_problem_document(
    client: httpx.AsyncClient,
) -> None:
    assert_problem(await client.get("/kitchen"), 404)
    wrong = await client.put("/orders", content=make_order_body(), headers=JSON)
    assert_problem(wrong, 405)
    assert "POST" in wrong.headers["Allow"]
    assert_problem(await client.get("/orders/ORD_20241216_001/cancel"), 405)


async def test_valid_request_id_is_kept_in_response_and_message(
    client: httpx.AsyncClient, database: Database
) -> None:
    headers = JSON | {"X-Request-ID": "till-3:42"}

    response = await client.post("/orders", content=make_order_body(), headers=headers)

    assert response.headers["X-Request-ID"] == "till-3:42"

    async def has_arrived() -> bool:
        async with database.connection() as connection:
            ids = await connection.fetch("SELECT correlation_id FROM broker_messages")
        return [row["correlation_id"] for row in ids] == ["till-3:42"]

    await eventually(has_arrived, doing="for the order to reach the kitchen")


async def test_response_has_a_new_request_id_if_that_of_the_request_is_invalid(
    client: httpx.AsyncClient,
) -> None:
    for request_id in (b"", b"a b", b"x" * 129, b"\xff", b'"><script>', b"a\tb"):
        for path in ("/orders", "/orders/ORD_1/cancel", "/nowhere", "/docs"):
            response = await client.post(path, headers=[(b"X-Request-ID", request_id)])

            assert uuid.UUID(response.headers["X-Request-ID"]).version == 4
    ids = {(await client.get("/docs")).headers["X-Request-ID"] for _ in range(3)}
    assert len(ids) == 3


async def test_openapi_documents_orders_and_responses(client: httpx.AsyncClient) -> None:
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
