"""The HTTP routes of the order service."""

import re
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal

import httpx
import pytest

from restaurant_system.database.connection import Database
from restaurant_system.models.currency import Currency
from restaurant_system.models.order import NewOrder
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.web.headers import MAX_BODY_SIZE
from tests.support.logs import capture_logs
from tests.support.orders import make_item, make_order_body
from tests.support.responses import assert_problem, invalid_fields
from tests.support.services import (
    http_client,
    make_broker,
    make_order_service,
    make_relay,
    make_tracking_service,
    move_through,
)
from tests.support.waiting import eventually

JSON = {"Content-Type": "application/json"}
KEY = "order-4711-of-till-2"
TOO_LARGE = b" " * (MAX_BODY_SIZE + 1)


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
    headers = JSON | {"Idempotency-Key": KEY}
    first = await client.post("/orders", content=make_order_body(), headers=headers)

    second = await client.post("/orders", content=make_order_body(), headers=headers)

    assert second.status_code == 201
    assert second.json() == first.json()
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


async def test_other_order_with_a_used_key_is_answered_422(client: httpx.AsyncClient) -> None:
    await place(client, KEY)

    response = await client.post(
        "/orders",
        content=make_order_body(notes="spicy"),
        headers=JSON | {"Idempotency-Key": KEY},
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


async def test_ready_order_is_cancelled_with_a_reason_only(
    client: httpx.AsyncClient, database: Database
) -> None:
    number = await place(client)
    await move_through(database, number, OrderStatus.COOKING, OrderStatus.READY)

    without = await client.post(f"/orders/{number}/cancel")
    with_reason = await client.post(f"/orders/{number}/cancel", json={"reason": "burnt"})

    assert_problem(without, 409)
    assert "`reason`" in without.json()["detail"]
    assert without.json()["current_status"] == "ready"
    assert with_reason.json() == {"order_number": number, "status": "cancelled"}


@pytest.mark.parametrize(
    ("external_id", "path"),
    [
        ("84H9B", "84H9B"),
        ("a/b//c/cancel", "a/b%2F%2Fc/cancel"),
        ("100%25 %2F", "100%2525%20%252F"),
        ("注文-№7?#", "%E6%B3%A8%E6%96%87-%E2%84%967%3F%23"),
        ("..", "%2E%2E"),
    ],
)
async def test_order_is_cancelled_by_its_external_id_however_it_is_written(
    client: httpx.AsyncClient, external_id: str, path: str
) -> None:
    url = httpx.URL("/").copy_with(raw_path=f"/orders/by-external-id/uber/{path}/cancel".encode())
    number = await place(client, channel="uber", external_id=external_id)

    cancelled = await client.post(url, json={"reason": "the courier has gone"})
    repeated = await client.post(url)

    assert cancelled.status_code == repeated.status_code == 200
    assert cancelled.json() == {"order_number": number, "status": "cancelled"} == repeated.json()
    again = await client.post(f"/orders/{number}/cancel")
    assert again.json()["current_status"] == "cancelled"


async def test_order_cancelled_before_it_arrives_is_answered_409(
    client: httpx.AsyncClient, database: Database
) -> None:
    late = make_order_body(channel="uber.eats", external_id="1")
    for path, headers in (
        ("by-external-id/uber.eats/1", JSON),
        (
            "by-idempotency-key/till-2%2F%25-4711-0001",
            JSON | {"Idempotency-Key": "till-2/%-4711-0001"},
        ),
    ):
        cancelled = await client.post(f"/orders/{path}/cancel")

        assert cancelled.json() == {"order_number": None, "status": "cancelled"}
        body = late if headers is JSON else make_order_body()
        refused = await client.post("/orders", content=body, headers=headers)
        assert_problem(refused, 409)
        assert "cancelled before it arrived" in refused.json()["detail"]
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM orders") == 0


async def test_other_order_with_a_taken_external_id_is_answered_409(
    client: httpx.AsyncClient,
) -> None:
    ids = {"channel": "uber", "external_id": "84H9B"}
    number = await place(client, **ids)

    replay = await client.post("/orders", content=make_order_body(**ids), headers=JSON)
    other = await client.post("/orders", content=make_order_body(**ids, notes="x"), headers=JSON)

    assert (replay.status_code, replay.json()["order_number"]) == (201, number)
    assert replay.headers["Idempotency-Replayed"] == "true"
    assert_problem(other, 409)
    assert number in other.json()["detail"]


async def test_invalid_external_id_or_key_in_the_address_is_refused(
    client: httpx.AsyncClient,
) -> None:
    for path, fields in (
        ("by-external-id/Uber/1", ["channel"]),
        ("by-external-id/uber/" + "x" * 129, ["external_id"]),
        ("by-external-id/U/%00", ["channel", "external_id"]),
        ("by-external-id/uber/%20", ["external_id"]),
        ("by-external-id/uber/%ff", ["external_id"]),
        ("by-idempotency-key/1", ["Idempotency-Key"]),
        ("by-idempotency-key/two%20words%20and%20more", ["Idempotency-Key"]),
    ):
        response = await client.post(f"/orders/{path}/cancel")

        assert_problem(response, 400)
        assert invalid_fields(response) == fields


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
    large = await client.post(f"/orders/{number}/cancel", content=TOO_LARGE, headers=JSON)
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
    assert set(schema["properties"]) == set(NewOrder.model_fields)
    assert set(schema["required"]) == {"order_type", "items"}
    assert schema["properties"]["items"]["items"]["properties"]["price"]["maximum"] == 999_999.99
    examples = placing["requestBody"]["content"]["application/json"]["examples"]
    unused = set(schema["properties"]) - set(examples["full"]["value"])
    # Those of other order types, and a time, which would soon be too long ago.
    assert unused == {"table_number", "table", "ready_at"}
    totals = []
    for example in examples.values():
        response = await client.post("/orders", json=example["value"])
        assert response.status_code == 201
        totals.append(response.json()["total_amount"])
    assert totals == [24.98, 22.7]
    assert "201" in placing["responses"]
    assert "Idempotency-Key" in [each["name"] for each in placing["parameters"]]
    assert "/orders/{order_number}/cancel" in described["paths"]
    assert "/orders/{order_number}/complete" in described["paths"]
    shown = await client.get("/docs")
    assert shown.status_code == 200
    assert shown.headers["Content-Type"].startswith("text/html")
    assert shown.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert (await client.get("/redoc")).status_code == 404


@pytest.mark.parametrize(
    ("code", "price", "total"), [("KWD", "1.125", "3.375"), ("JPY", "1200", "3600")]
)
async def test_amounts_have_the_decimals_of_the_currency_everywhere(
    database: Database, code: str, price: str, total: str
) -> None:
    """In the response, in the tables, in the message and in the tracking service."""
    service = make_order_service(database)
    orders = OrderHandler(service, 50, Currency(code)).feature()
    tracking = TrackingHandler(make_tracking_service(database)).feature()
    body = make_order_body(items=[make_item(quantity=3, price=Decimal(price))])
    async with http_client(orders) as client:
        placed = await client.post("/orders", content=body, headers=JSON)
        body = make_order_body(items=[make_item(price=Decimal("1.0005"))])
        refused = await client.post("/orders", content=body, headers=JSON)
    async with http_client(tracking) as client:
        read = await client.get(f"/orders/{placed.json()['order_number']}")
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT price, total_amount FROM orders, order_items")
        message = (await connection.fetchval("SELECT body FROM outbox")).decode()

    assert f'"total_amount":{total},' in placed.text
    assert row is not None
    assert (str(row["price"]), str(row["total_amount"])) == (price, total)
    for text in (message, read.text):
        assert f'"price":{price},' in text
        assert f'"total_amount":{total},' in text
    assert invalid_fields(refused) == ["items.0.price"]
