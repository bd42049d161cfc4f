"""Orders that ordering platforms send over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Container, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from restaurant_system.database.connection import Database
from restaurant_system.integrations.registry import platforms
from restaurant_system.models.clock import utc_now
from restaurant_system.models.menu import Menu
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.services.order.integration_handler import IntegrationHandler
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.web.headers import MAX_PLATFORM_BODY_SIZE
from tests.support.display import running_display
from tests.support.logs import capture_logs
from tests.support.payloads import PLATFORMS, SECRET, SECRETS, connect, read_file, signed
from tests.support.responses import assert_problem, invalid_fields
from tests.support.services import (
    http_client,
    make_broker,
    make_current_menu,
    make_order_service,
    make_relay,
    make_tracking_service,
    move_through,
)

MESSAGES = "SELECT body FROM outbox WHERE type = 'order.received' ORDER BY id"
# What the counter and the courier need, not the kitchen; and the time, whose notation differs.
NOT_ON_TICKETS = {
    *("price", "charges", "amount_due", "phone", "delivery_address"),
    *("external_id", "sku", "ready_at"),
}


def last_midnight() -> datetime:
    """Return a time at which each order of yesterday is less than a day old."""
    return utc_now().replace(hour=0, minute=0, second=0, microsecond=0)


async def messages(database: Database) -> list[dict[str, Any]]:
    """Return the messages to the kitchen that wait for the relay."""
    async with database.connection() as connection:
        rows = await connection.fetch(MESSAGES)
    return [json.loads(row["body"]) for row in rows]


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the order and tracking services, to which all platforms are connected."""
    service = make_order_service(database, clock=last_midnight)
    async with http_client(
        OrderHandler(service, 50).feature(),
        IntegrationHandler(connect(service), 50).feature(),
        TrackingHandler(make_tracking_service(database)).feature(),
    ) as client:
        yield client


async def push(
    client: httpx.AsyncClient, platform: str, body: bytes, secret: str = SECRET
) -> httpx.Response:
    """Send a message as a platform does."""
    headers = signed(platform, body, secret)
    return await client.post(f"/integrations/{platform}/orders", content=body, headers=headers)


def as_moment(text: str) -> datetime:
    """Return a time as a moment, whatever its UTC offset."""
    return datetime.fromisoformat(text)


async def orders(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Return all orders."""
    found: list[dict[str, Any]] = (await client.get("/orders")).json()["orders"]
    return found


def contains(whole: Any, part: Any) -> bool:  # noqa: ANN401 - JSON
    """Tell whether a JSON document has all that another one has; numbers may differ in notation."""
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(
            name in whole and contains(whole[name], value) for name, value in part.items()
        )
    if isinstance(part, list):
        return (
            isinstance(whole, list)
            and len(whole) == len(part)
            and all(contains(*pair) for pair in zip(whole, part, strict=True))
        )
    return bool(whole == part)


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_order_is_read_back_and_published_with_all_that_the_platform_has_sent(
    client: httpx.AsyncClient, database: Database, platform: str
) -> None:
    """Orders that were to be ready yesterday are published at once."""
    expected = json.loads(read_file(f"{platform}/full.order.json", days_ahead=-1))
    ready_at = expected.pop("ready_at")

    placed = await push(client, platform, read_file(f"{platform}/full.json", days_ahead=-1))

    assert placed.status_code == 201, placed.text
    number = placed.json()["order_number"]
    assert placed.headers["Location"] == f"/orders/{number}/status"
    stored = (await client.get(f"/orders/{number}")).json()
    assert contains(stored, expected), stored
    assert as_moment(stored["ready_at"]) == as_moment(ready_at)
    (published,) = await messages(database)
    assert contains(published, expected), published
    assert as_moment(published["ready_at"]) == as_moment(ready_at)
    found = await client.get(
        "/orders", params={"channel": platform, "external_id": expected["external_id"]}
    )
    assert [each["order_number"] for each in found.json()["orders"]] == [number]


async def test_ticket_has_all_that_the_kitchen_needs_of_what_the_platform_has_sent(
    database: Database,
) -> None:
    """Orders that were to be ready yesterday are cooked now."""
    broker, expected = make_broker(database), {}
    relay = make_relay(database, broker)
    service = make_order_service(database, relay, clock=last_midnight)
    handler = IntegrationHandler(connect(service), 50)
    async with (
        relay.running(),
        running_display(database, broker, relay) as display,
        http_client(handler.feature()) as client,
        display.screen() as screen,
    ):
        for platform in PLATFORMS:
            body = read_file(f"{platform}/full.json", days_ahead=-1)
            number = (await push(client, platform, body)).json()["order_number"]
            order = json.loads(read_file(f"{platform}/full.order.json", days_ahead=-1))
            expected[number] = without(NOT_ON_TICKETS, order)

        await screen.shows(*expected)

        for number, order in expected.items():
            assert contains(screen.entries[number], order), screen.entries[number]


def without(names: Container[str], value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a JSON document without some fields, at all levels."""
    if isinstance(value, dict):
        return {name: without(names, each) for name, each in value.items() if name not in names}
    return [without(names, each) for each in value] if isinstance(value, list) else value


async def test_cancellation_cancels_the_order_also_when_it_is_sent_again(
    client: httpx.AsyncClient,
) -> None:
    for platform in PLATFORMS:
        placed = await push(client, platform, read_file(f"{platform}/full.json"))
        number = placed.json()["order_number"]

        answers = [await push(client, platform, read_file(f"{platform}/cancel.json")) for _ in "12"]

        assert [each.status_code for each in answers] == [200, 200], answers[0].text
        assert [each.json()["order_number"] for each in answers] == [number, number]
        history = (await client.get(f"/orders/{number}/history")).json()
        assert [(each["status"], each["changed_by"]) for each in history[1:]] == [
            ("cancelled", platform)
        ]


async def test_cancellation_that_overtakes_its_order_keeps_it_from_the_kitchen(
    client: httpx.AsyncClient, database: Database
) -> None:
    for platform in PLATFORMS:
        cancelled = await push(client, platform, read_file(f"{platform}/cancel.json"))
        late = await push(client, platform, read_file(f"{platform}/full.json"))

        assert (cancelled.status_code, cancelled.json()["order_number"]) == (200, None)
        assert_problem(late, 409)
    assert await orders(client) == []
    assert await messages(database) == []


async def test_message_that_arrives_several_times_at_once_places_one_order(
    client: httpx.AsyncClient,
) -> None:
    body = read_file("uber_eats/simple.json")

    answers = await asyncio.gather(*(push(client, "uber_eats", body) for _ in range(8)))
    again = await push(client, "uber_eats", body)

    assert {each.status_code for each in (*answers, again)} == {201}
    assert {each.json()["order_number"] for each in answers} == {again.json()["order_number"]}
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(await orders(client)) == 1


async def test_order_and_cancellation_at_once_leave_no_order_to_cook(
    client: httpx.AsyncClient,
) -> None:
    order, cancellation = read_file("doordash/full.json"), read_file("doordash/cancel.json")

    await asyncio.gather(*(push(client, "doordash", body) for body in (order, cancellation, order)))

    assert [each["status"] for each in await orders(client)] in ([], ["cancelled"])


async def test_equal_ids_of_two_platforms_are_two_orders(client: httpx.AsyncClient) -> None:
    ids = b"the-same-id"
    uber = read_file("uber_eats/simple.json").replace(b"5f1c2f0e-7a0b-4a55-9c0d-0b6f0a9484b1", ids)
    dash = read_file("doordash/simple.json").replace(b"0da8b530-7c4c-4925-8785-000000000001", ids)

    answers = await asyncio.gather(push(client, "uber_eats", uber), push(client, "doordash", dash))

    assert [each.status_code for each in answers] == [201, 201]
    assert len(await orders(client)) == 2


def at(payload: Any, path: str) -> Any:  # noqa: ANN401 - JSON
    """Return the value at a path of a JSON document."""
    for part in path.split("."):
        payload = payload[int(part) if part.isdecimal() else part]
    return payload


def changed(body: bytes, path: str, value: object) -> bytes:
    """Return a message whose value at a path is another; a list gets one more entry."""
    payload = json.loads(body)
    owner, _, name = path.rpartition(".")
    target = at(payload, owner) if owner else payload
    if isinstance(target.get(name), list):
        target[name].append(value)
    else:
        target[name] = value
    return json.dumps(payload).encode()


CHECK, LATER = "details.order.checks.0", (utc_now() + timedelta(days=2)).isoformat()
HAM = {"displayName": "Ham sandwich", "quantity": 1, "receiptLinePrice": 8, "price": 8}
PIZZA = {"product_name": "Funghi", "quantity": "1", "price": "0.00 EUR"}
CHANGES_OF_NO_INTEREST: Mapping[str, Mapping[str, object]] = {
    "toast": {
        f"{CHECK}.payments": {"amount": 5.0, "tipAmount": 2.0},
        "timestamp": utc_now().isoformat(),
    },
    "hubrise": {
        "new_state.payments": {"type": "online", "amount": "5.00 EUR"},
        "new_state.payments.0.deleted": True,
        "new_state.status": "in_preparation",
    },
}
CHANGES_OF_CONTENTS: Mapping[str, Mapping[str, object]] = {
    "toast": {
        f"{CHECK}.selections": HAM,
        f"{CHECK}.selections.0.voided": True,
        f"{CHECK}.voided": True,
        f"{CHECK}.selections.0.quantity": 5,
        "details.order.promisedDate": LATER,
    },
    "hubrise": {
        "new_state.items": PIZZA,
        "new_state.items.0.deleted": True,
        "new_state.expected_time": LATER,
    },
}


@pytest.mark.parametrize("platform", CHANGES_OF_CONTENTS)
async def test_message_after_a_change_of_contents_is_refused_with_a_warning(
    client: httpx.AsyncClient, platform: str
) -> None:
    """A changed payment or status is no change; a cancellation is accepted after all of them."""
    body = read_file(f"{platform}/full.json")
    number = (await push(client, platform, body)).json()["order_number"]
    stored = (await client.get(f"/orders/{number}")).json()

    for status, changes in ((201, CHANGES_OF_NO_INTEREST), (409, CHANGES_OF_CONTENTS)):
        for path, value in changes[platform].items():
            with capture_logs() as logs:
                answer = await push(client, platform, changed(body, path, value))

            assert (answer.status_code, number in answer.text) == (status, True), (
                path,
                answer.text,
            )
            warnings = [each["event"] for each in logs if each["log_level"] == "warning"]
            assert warnings == (["platform_message_refused"] if status == 409 else [])
    assert (await client.get(f"/orders/{number}")).json() == stored
    cancelled = await push(client, platform, read_file(f"{platform}/cancel.json"))
    assert cancelled.json() == {"outcome": "cancelled", "order_number": number, "reason": None}


async def test_order_that_is_ready_is_not_cancelled_by_its_platform(
    client: httpx.AsyncClient, database: Database
) -> None:
    placed = await push(client, "hubrise", read_file("hubrise/full.json", days_ahead=-1))
    number = placed.json()["order_number"]
    await move_through(database, number, OrderStatus.COOKING, OrderStatus.READY)

    refused = await push(client, "hubrise", read_file("hubrise/cancel.json"))

    assert_problem(refused, 409)
    assert refused.json()["current_status"] == "ready"


async def test_message_without_the_right_signature_is_refused_before_it_is_parsed(
    client: httpx.AsyncClient,
) -> None:
    for platform in PLATFORMS:
        path, header = f"/integrations/{platform}/orders", platforms()[platform].signature.header
        body = read_file(f"{platform}/simple.json")
        right = signed(platform, body)

        refused = [
            await client.post(path, content=b"no JSON"),
            await push(client, platform, body, secret="another-secret-of-tests"),  # noqa: S106 - not real
            await client.post(path, content=body, headers=[*right.items(), (header, "x")]),
            await client.post(path, content=body, headers=right | {header.title(): ""}),
        ]
        if header != "authorization":  # a token covers no body
            refused += [
                await client.post(path, content=other, headers=right)
                for other in (body + b" ", b"no JSON")
            ]

        for response in refused:
            assert_problem(response, 401)
    assert await orders(client) == []


async def test_secret_is_replaced_without_a_gap(client: httpx.AsyncClient) -> None:
    body = read_file("hubrise/simple.json")

    answers = [await push(client, "hubrise", body, secret) for secret in SECRETS]

    assert [each.status_code for each in answers] == [201, 201]


async def test_platform_that_is_not_configured_is_answered_404(client: httpx.AsyncClient) -> None:
    body = read_file("uber_eats/simple.json")
    headers = signed("uber_eats", body)

    for platform in ("no-platform", "Uber_Eats", "%00"):
        path = f"/integrations/{platform}/orders"

        assert_problem(await client.post(path, content=body, headers=headers), 404)


async def test_signed_body_that_is_no_order_is_refused_with_its_faults(
    client: httpx.AsyncClient,
) -> None:
    body = read_file("deliverect/full.json")
    faulty = body.replace(b'"Alice & Bob"', b'["Wilhelmina Quux"]')
    order = json.loads(read_file("deliverect/full.order.json"))
    refusals = REGISTRY.get_sample_value
    counted = "restaurant_platform_orders_refused_total", {"platform": "deliverect"}
    before = refusals(*counted)
    assert before is not None  # so that the first refusal is an increase

    with capture_logs() as logs:
        refused = await push(client, "deliverect", faulty)
        not_json = await push(client, "deliverect", b"{")
        twice = await push(client, "deliverect", b'{"Quux": 1, "Quux": 2}')
        text = await client.post(
            "/integrations/deliverect/orders",
            content=body,
            headers=signed("deliverect", body) | {"Content-Type": "text/plain"},
        )

    assert_problem(refused, 400)
    assert invalid_fields(refused) == ["customer.name"]
    assert_problem(not_json, 400)
    assert invalid_fields(twice) == ["Quux"]
    assert_problem(text, 415)
    assert "Quux" not in str(logs)
    (warning,) = (each for each in logs if each["event"] == "integration_order_refused")
    assert warning["log_level"] == "warning"
    assert warning["fields"] == ["customer.name"]
    assert (warning["platform"], warning["external_id"]) == ("deliverect", order["external_id"])
    assert refusals(*counted) == before + 4
    unreadable = [each["message"] for each in logs if each["event"] == "platform_message_refused"]
    assert len(unreadable) == 3
    assert "body is not valid JSON" in unreadable[0]
    assert "a key occurs twice" in unreadable[1]
    assert "Send the body as application/json" in unreadable[2]


async def test_order_with_half_an_emoji_is_placed_and_known_again(
    client: httpx.AsyncClient,
) -> None:
    body = read_file("deliverect/simple.json").replace(b"Soup", b"Soup \\ud83d Cr\xe8me")

    answers = [await push(client, "deliverect", body) for _ in "12"]

    assert [each.status_code for each in answers] == [201, 201], answers[0].text
    assert answers[1].headers["Idempotency-Replayed"] == "true"


async def test_body_of_a_platform_may_be_larger_than_that_of_an_order(
    client: httpx.AsyncClient,
) -> None:
    body = read_file("deliverect/simple.json")
    largest = body.ljust(MAX_PLATFORM_BODY_SIZE)

    accepted = await push(client, "deliverect", largest)
    refused = await push(client, "deliverect", largest + b" ")
    order = await client.post(
        "/orders", content=largest, headers={"Content-Type": "application/json"}
    )

    assert accepted.status_code == 201, accepted.text
    assert_problem(refused, 413)
    assert_problem(order, 413)


async def test_event_that_changes_nothing_is_acknowledged(client: httpx.AsyncClient) -> None:
    body = b'{"event_type": "store.provisioned", "meta": {}}'

    response = await push(client, "uber_eats", body)

    assert response.status_code == 200
    assert response.json() == {
        "outcome": "unchanged",
        "order_number": None,
        "reason": "The event store.provisioned neither places nor cancels an order.",
    }


async def test_sold_out_item_is_refused_with_its_path_in_the_payload(database: Database) -> None:
    """The platform's own prices hold."""
    body, answers = read_file("toast/simple.json"), []
    warnings: list[Any] = []
    for available in (False, True):
        item = {"name": "Egg sandwich", "price": Decimal(7), "available": available}
        menu = Menu.model_validate({"sections": [{"name": "Bread", "items": [item]}]})
        current = make_current_menu(database, menu)
        await current.refresh()
        service = make_order_service(database, menu=current)
        async with http_client(IntegrationHandler(connect(service), 50).feature()) as client:
            with capture_logs() as logs:
                answers.append(await push(client, "toast", body))
            warnings += [each for each in logs if each["event"] == "integration_order_refused"]

    refused, accepted = answers
    assert [each["fields"] for each in warnings] == [["details.order.checks.0.selections.0"]]
    assert_problem(refused, 400)
    assert invalid_fields(refused) == ["details.order.checks.0.selections.0"]
    assert accepted.json()["total_amount"] == 9.99
