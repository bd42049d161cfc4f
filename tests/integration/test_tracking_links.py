"""The link by which a customer follows an order without signing in."""

import asyncio
import re
from collections.abc import AsyncIterator
from decimal import Decimal

import httpx
import pytest
import segno

from restaurant_system.app.runtime import background_task
from restaurant_system.database.connection import Database
from restaurant_system.models.clock import rfc_3339, utc_now
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.privacy import Customer, Erased, PersonalData
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from tests.support.database import execute
from tests.support.live_view_client import LiveViewClient, watching
from tests.support.orders import make_item, make_order
from tests.support.responses import assert_problem
from tests.support.services import (
    NOON,
    FakeClock,
    http_client,
    make_broker,
    make_live_views,
    make_order_service,
    make_tracking_service,
    move_through,
    serve_site,
)

DRAWN = re.compile(r' d="([^"]+)"')
LINK = re.compile(r"/track/(ORD_\d{8}_\d{3})/([0-9a-f]{32})")
HAM = {"name": "Ham", "kind": "add", "quantity": 1, "price": 1, "modifiers": []}
PERSONAL_DATA = {
    "customer_name": "Wilhelmina Quux",
    "order_type": "delivery",
    "delivery_address": "77 Zanzibar Crescent, Nowhere",
    "notes": "the bell is broken",
    "phone": "+44 20 7946 0000",
    "allergy_note": "peanuts",
    "items": [
        make_item(notes="for aunt Agatha", guest="Agatha"),
        make_item(
            name="Calzone",
            quantity=2,
            modifiers=[HAM, {"name": "Call Agatha", "kind": "instruction"}],
        ),
    ],
    "charges": [{"name": "Voucher", "amount": Decimal("-2.50")}],
    "amount_due": Decimal("20.25"),
    "ready_at": "2024-12-16T12:30:00Z",
}
COOK = "bartholomew"


@pytest.fixture
async def client(database: Database, clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a server with the look-ups and the live views of orders."""
    shutdown = Shutdown()
    views = make_live_views(database, clock=clock)
    lookups = TrackingHandler(make_tracking_service(database, clock=clock))
    async with (
        background_task(views.run(shutdown)),
        serve_site(api.build("Test", [lookups.feature(), views.feature()]), shutdown) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client,  # noqa: S501 - no TLS
    ):
        yield client


async def place(intake: OrderService, key: str | None = None) -> tuple[str, str]:
    """Place an order with personal data; return the paths of its look-up and its live view."""
    placed = await intake.place(make_order(**PERSONAL_DATA), request_id="request-1", key=key)
    found = LINK.fullmatch(placed.tracking_url or "")
    assert found
    assert found[1] == placed.order_number
    return f"/orders/{found[1]}/tracking/{found[2]}", f"/live{placed.tracking_url}"


async def read_event_after(viewer: LiveViewClient, moment: str, seconds: float) -> None:
    """Read until an event has a later time; raise `TimeoutError` if none comes."""
    async with asyncio.timeout(seconds):
        while not any(event.data["at"] > moment for event in await viewer.read()):
            pass


async def test_link_shows_steps_items_and_total_and_nothing_about_the_customer(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    lookup, view = await place(intake)
    number = lookup.split("/")[2]
    items = [
        {"name": "Margherita", "quantity": 1, "price": 9.5},
        {"name": "Calzone", "quantity": 2, "price": 9.5, "modifiers": [HAM]},
    ]

    async with watching(client, view) as viewer:
        await move_through(database, number, OrderStatus.COOKING, by=COOK, at=NOON, due=NOON)
        order = await viewer.until_it_shows("order", status="cooking")
        shown = await client.get(lookup)

        assert viewer.entries["items"] == items
        assert viewer.entries["charges"] == [{"name": "Voucher", "amount": -2.5}]
        assert viewer.entries["steps"] == [
            {"status": "received", "at": "2024-12-16T12:00:00.000Z"},
            {"status": "cooking", "at": "2024-12-16T12:00:00.000Z"},
        ]
    assert order == {
        "order_number": number,
        "order_type": "delivery",
        "handoff": None,
        "status": "cooking",
        "estimated_completion": "2024-12-16T12:00:00.000Z",
        "ready_at": "2024-12-16T12:30:00.000Z",
        "total_amount": 28.0,
        "amount_due": 20.25,
    }
    assert shown.json() == {
        "order_number": number,
        "order_type": "delivery",
        "status": "cooking",
        "updated_at": "2024-12-16T12:00:00.000Z",
        "estimated_completion": "2024-12-16T12:00:00.000Z",
        "ready_at": "2024-12-16T12:30:00.000Z",
        "charges": [{"name": "Voucher", "amount": -2.5}],
        "amount_due": 20.25,
        "total_amount": 28.0,
        "items": items,
        "steps": [
            {"status": "received", "timestamp": "2024-12-16T12:00:00.000Z"},
            {"status": "cooking", "timestamp": "2024-12-16T12:00:00.000Z"},
        ],
    }
    for text in (shown.text, viewer.text):
        for personal in (
            "Quux",
            "Zanzibar",
            "bell",
            "Agatha",
            "7946",
            "peanuts",
            COOK,
            "notes",
            lookup[-32:],
        ):
            assert personal not in text


async def test_wrong_token_is_answered_like_an_unknown_order(
    client: httpx.AsyncClient, intake: OrderService
) -> None:
    """Also the token of another order."""
    lookup, _ = await place(intake)
    other, _ = await place(intake)
    number, token = lookup.split("/")[2], lookup[-32:]
    missing = number[:-3] + "999"

    for tried in (other[-32:], token[:-1], token.upper(), f"{token}0", "0" * 32, "%00", "%FF"):
        for path in (f"/orders/{number}/tracking/{tried}", f"/live/track/{number}/{tried}"):
            wrong = await client.get(path)
            unknown = await client.get(path.replace(number, missing))

            assert_problem(wrong, 404)
            assert wrong.json()["detail"].replace(number, missing) == unknown.json()["detail"]
            assert wrong.headers.keys() == unknown.headers.keys()
    assert (await client.get(lookup)).status_code == 200


async def test_replay_after_a_restart_has_the_same_link(
    intake: OrderService, database: Database, clock: FakeClock
) -> None:
    first = await place(intake, key="k")

    restarted = make_order_service(database, clock=clock)

    assert await place(restarted, key="k") == first
    assert await place(restarted) != first


async def test_link_is_absolute_with_a_public_address(database: Database) -> None:
    intake = make_order_service(database, public_url="https://eat.example.com")

    for _ in range(2):  # the second one is a replay
        placed = await intake.place(make_order(), request_id="request-1", key="k")

        origin, slash, path = (placed.tracking_url or "").partition("/track/")
        assert origin == "https://eat.example.com"
        assert LINK.fullmatch(slash + path)


async def test_link_ends_when_the_personal_data_is_erased(
    client: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    """The live view that is open ends. The number still shows the status."""
    lookup, view = await place(intake, key="k")
    number = lookup.split("/")[2]
    await move_through(
        database, number, OrderStatus.COOKING, OrderStatus.READY, OrderStatus.COMPLETED, at=NOON
    )
    personal = PersonalData(database, make_broker(database), clock=clock)

    by_number = f"/live/track/{number}"
    async with watching(client, view) as viewer, watching(client, by_number) as other:
        plan = await personal.plan(Customer(numbers=(number,)))
        assert (await personal.erase(plan, Erased())).orders == [number]
        erased_at = rfc_3339(utc_now())
        await read_event_after(other, erased_at, seconds=10)
        with pytest.raises(StopAsyncIteration):
            await read_event_after(viewer, erased_at, seconds=10)

    assert_problem(await client.get(lookup), 404)
    assert_problem(await client.get(view), 404)
    assert (await client.get(f"/orders/{number}/status")).json()["current_status"] == "completed"
    replayed = await intake.place(make_order(**PERSONAL_DATA), request_id="request-2", key="k")
    assert (replayed.order_number, replayed.tracking_url) == (number, None)


async def test_order_of_an_earlier_release_has_no_link(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    """Its key gets the first answer, which had none."""
    lookup, view = await place(intake, key="k")
    await execute(database, "UPDATE orders SET tracking_token = NULL")

    for path in (lookup, view, f"{lookup[:-32]}None", f"{lookup[:-32]}{'0' * 32}"):
        assert_problem(await client.get(path), 404)
    replayed = await intake.place(make_order(**PERSONAL_DATA), request_id="request-2", key="k")
    assert (replayed.replayed, replayed.tracking_url) == (True, None)


async def test_qr_code_contains_the_link_and_is_not_stored(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    placed = await intake.place(make_order(), request_id="r", key=None)
    path = f"/orders/{placed.order_number}/qr.svg"
    public = TrackingHandler(make_tracking_service(database), "https://eat.example.com")

    code = await client.get(path)
    async with http_client(public.feature()) as other:
        public_code = await other.get(path)
    await execute(database, "UPDATE orders SET tracking_token = NULL")
    gone, unknown = await client.get(path), await client.get("/orders/ORD_20241216_999/qr.svg")

    assert code.headers["Content-Type"] == "image/svg+xml"
    assert code.headers["Cache-Control"] == "no-store"
    for response, origin in ((code, client.base_url), (public_code, "https://eat.example.com")):
        link = f"{str(origin).rstrip('/')}{placed.tracking_url}"
        drawn = segno.make_qr(link).svg_inline(border=4)
        assert DRAWN.findall(response.text)[-1] == DRAWN.findall(drawn)[-1]
    assert_problem(gone, 404)
    assert "has no tracking link" in gone.json()["detail"]
    assert_problem(unknown, 404)
