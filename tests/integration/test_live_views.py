"""Live views for customers: the board, and the progress of one order."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from restaurant_system.app.runtime import background_task
from restaurant_system.database.connection import Database
from restaurant_system.models.order import Move
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.timing import MIN_RECENT
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking import live_views, order_list
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from tests.support.database import execute
from tests.support.live_view_client import SOON, watching
from tests.support.orders import make_order
from tests.support.responses import assert_problem
from tests.support.rows import insert_order
from tests.support.services import (
    NOON,
    FakeClock,
    make_live_views,
    move,
    move_through,
    serve_site,
)

PERSONAL_DATA = {
    "customer_name": "Wilhelmina Quux",
    "delivery_address": "77 Zanzibar Crescent, Nowhere",
    "notes": "the bell is broken",
}
WORKER = "bartholomew"
MARK = """
UPDATE orders SET handed_over_at = '{at}', handed_over_by = 'anna' WHERE number = '{number}'
"""
MARK_UNCOLLECTED = "UPDATE orders SET uncollected_at = now() WHERE number = '{number}'"
READY = (OrderStatus.COOKING, OrderStatus.READY)


@pytest.fixture
def shutdown() -> Shutdown:
    """Return a shutdown that was not requested."""
    return Shutdown()


@pytest.fixture
async def client(
    database: Database, clock: FakeClock, shutdown: Shutdown
) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a server with the live views."""
    views = make_live_views(database, clock=clock)
    site = api.build("Test", [views.feature()])
    async with (
        background_task(views.run(shutdown)),
        serve_site(site, shutdown) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client,  # noqa: S501 - no TLS
    ):
        yield client


async def place(intake: OrderService, **changes: object) -> str:
    """Place an order, and return its number."""
    return (await intake.place(make_order(**changes), request_id="r", key=None)).order_number


async def test_board_shows_an_order_from_received_to_completed(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    """The board shows each status of the order, also after a recall from ready to cooking."""
    async with watching(client, "/live/board") as viewer:
        number = await place(intake, reference="84H9B")
        received = await viewer.until_it_shows(number, status="received")
        await move_through(database, number, OrderStatus.COOKING)
        await viewer.until_it_shows(number, status="cooking")
        await move(database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON, by="mario")
        ready = await viewer.until_it_shows(number, status="ready")
        await move(database, number, OrderStatus.READY, OrderStatus.COOKING, at=NOON, by="mario")
        recalled = await viewer.until_it_shows(number, status="cooking")
        await move(database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON, by="mario")
        await intake.complete(number, Move(), request_id="r")
        await viewer.until_it_hides(number)

    assert received == {"status": "received", "ready_at": None, "reference": "84H9B"}
    assert recalled["ready_at"] is None
    assert ready["ready_at"] == "2024-12-16T12:00:00.000Z"


async def test_board_shows_own_pickup_unless_order_types_are_requested(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    """In each of the three queries: of waiting, cooking and ready orders."""
    fields: list[dict[str, object]] = [
        {"order_type": "takeout"},
        {"order_type": "dine_in", "handoff": "counter"},
        {"order_type": "delivery", "handoff": "courier"},
        {"order_type": "dine_in", "table_number": 7},
    ]
    takeout, counter, courier, table = [
        {await place(intake, **each) for _ in range(3)} for each in fields
    ]
    for _, cooking, ready in map(sorted, (takeout, counter, courier, table)):
        await move_through(database, cooking, OrderStatus.COOKING)
        await move_through(database, ready, *READY, at=NOON)

    for query, expected in {
        "": takeout | counter,
        "?order_types=": takeout | counter,
        "?order_types=delivery": courier,
        "?order_types=dine_in,%20takeout": takeout | counter | table,
    }.items():
        async with watching(client, f"/live/board{query}") as viewer:
            assert set(viewer.entries) == expected, query
    refused = await client.get("/live/board?order_types=takeout,burger,")
    assert_problem(refused, 400)
    (fault,) = refused.json()["errors"]
    assert fault["field"] == "order_types"
    assert fault["message"] == "must be some of dine_in, takeout, delivery, not burger"


async def test_board_hides_cancelled_orders_and_those_ready_for_half_an_hour(
    client: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    cancelled, old, fresh = [await place(intake) for _ in range(3)]
    await intake.cancel(cancelled, Move(), request_id="r")
    for number, minute in ((old, 0), (fresh, 1)):
        at = NOON + timedelta(minutes=minute)
        await move_through(database, number, OrderStatus.COOKING, OrderStatus.READY, at=at)
    clock.now = NOON + timedelta(minutes=30)

    async with watching(client, "/live/board") as viewer:
        before = set(viewer.entries)
        clock.now += timedelta(seconds=1)
        await viewer.until_it_hides(old)

        assert before == {old, fresh}
        assert set(viewer.entries) == {fresh}


async def test_board_hides_orders_that_are_handed_over_or_not_fetched_at_once(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    handed_over, uncollected, ready = [await place(intake) for _ in range(3)]
    for number in (handed_over, uncollected, ready):
        await move_through(database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON)
    async with watching(client, "/live/board") as viewer:
        before = set(viewer.entries)
        await execute(database, MARK.format(number=handed_over, at=NOON))
        await viewer.until_it_hides(handed_over)
        await execute(database, MARK_UNCOLLECTED.format(number=uncollected))
        await viewer.until_it_hides(uncollected)

        assert before == {handed_over, uncollected, ready}
        assert set(viewer.entries) == {ready}


@pytest.mark.usefixtures("cook_on_duty")
async def test_list_for_staff_shows_an_order_from_received_to_completed(
    client: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    """It shows what a row needs, the marks, and whether the order was not fetched in time."""
    async with watching(client, "/live/orders") as viewer:
        number = await place(
            intake,
            order_type="dine_in",
            table="Terrace 3",
            reference="84H9B",
            allergy_note="peanuts",
            notes="the bell is broken",
            amount_due=Decimal("4.50"),
        )
        received = await viewer.until_it_shows(number, status="received")
        await move_through(database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON)
        await viewer.until_it_shows(number, status="ready", allergy_note="peanuts")
        clock.now += timedelta(minutes=31)
        await viewer.until_it_shows(number, uncollected=True)
        await execute(database, MARK.format(number=number, at=clock.now))
        handed_over = await viewer.until_it_shows(number, handed_over_by="anna")
        await intake.complete(number, Move(), request_id="r")
        completed = await viewer.until_it_shows(number, status="completed")
        await execute(
            database,
            "UPDATE orders SET customer_name = 'Erased', erased_at = now(), reference = NULL",
        )
        erased = await viewer.until_it_shows(number, customer_name="Erased")

    assert received == {
        "status": "received",
        "order_type": "dine_in",
        "customer_name": "Ada Lovelace",
        "table": "Terrace 3",
        "reference": "84H9B",
        "created_at": "2024-12-16T12:00:00.000Z",
        "updated_at": "2024-12-16T12:00:00.000Z",
        "promised_at": "2024-12-16T12:15:00.000Z",
        "estimated_completion": "2024-12-16T12:01:00.000Z",
        "total_amount": 9.5,
        "amount_due": 4.5,
        "has_allergy_note": True,
    }
    assert {"uncollected", "allergy_note"}.isdisjoint(handed_over)
    assert handed_over["handed_over_at"] == "2024-12-16T12:31:00.000Z"
    assert completed["completed_at"] == "2024-12-16T12:00:00.000Z"
    assert "reference" not in erased
    assert PERSONAL_DATA["notes"] not in viewer.text


async def test_list_for_staff_contains_older_orders_that_are_open_or_were_finished_today(
    client: httpx.AsyncClient,
    intake: OrderService,
    database: Database,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of those that are finished, the newest."""
    numbers = [await place(intake) for _ in range(5)]
    open_order, old, late, completed, cancelled = numbers
    await move_through(database, old, *READY, at=NOON)
    await move_through(database, late, *READY, at=NOON + timedelta(hours=11))
    await move_through(database, completed, *READY, OrderStatus.COMPLETED, at=NOON)
    await intake.cancel(cancelled, Move(), request_id="r")
    clock.now += timedelta(hours=13)
    today = await place(intake)
    scheduled = await place(intake, ready_at=clock.now + timedelta(hours=5))

    async with watching(client, "/live/orders") as viewer:
        shown = dict(viewer.entries)
        await intake.complete(late, Move(), request_id="r")
        await viewer.until_it_shows(late, status="completed")
        monkeypatch.setattr(order_list, "MAX_FINISHED", 1)
        await intake.cancel(today, Move(), request_id="r")
        await viewer.until_it_hides(late)
        assert viewer.entries[today]["status"] == "cancelled"

    assert set(shown) == {open_order, late, today, scheduled}
    assert shown[open_order]["held"]
    assert shown[scheduled]["scheduled"]
    assert shown[late]["uncollected"]
    assert {"held", "scheduled"}.isdisjoint(shown[today])


SET_STATUS = """
UPDATE orders SET status = $1, processed_by = 'mario',
    completed_at = CASE WHEN $1 = 'ready' THEN $2::timestamptz
                                           - array_position($3, id) * interval '1 s' END
WHERE id = ANY($3)
"""


async def test_full_board_shows_latest_ready_all_cooking_and_oldest_waiting_orders(
    client: httpx.AsyncClient, database: Database
) -> None:
    sql = await database.dedicated()
    ready = [await insert_order(sql) for _ in range(live_views.MAX_SHOWN + 1)]
    waiting = [await insert_order(sql) for _ in range(live_views.MAX_SHOWN)]
    cooking = [await insert_order(sql) for _ in range(2)]
    await sql.execute(SET_STATUS, "cooking", NOON, [*ready, *cooking])
    await sql.execute(SET_STATUS, "ready", NOON, ready)
    numbers = {row["id"]: row["number"] for row in await sql.fetch("SELECT id, number FROM orders")}
    await sql.close()

    async with watching(client, "/live/board") as viewer:
        shown = viewer.entries

    assert shown.pop(live_views.LEFT_OUT) == {
        "preparing": {"count": 2, "is_more": False},
        "ready": {"count": 1, "is_more": False},
    }
    assert {numbers[each] for each in (*ready[:-1], *cooking, *waiting[:-2])} == set(shown)


@pytest.mark.usefixtures("cook_on_duty")
async def test_tracked_order_shows_each_step_with_its_time_and_the_estimate(
    client: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    """The tracking page shows each status change, also one that was recalled.

    Before the start there is no estimate, unless recent orders provide one.
    """
    number = await place(intake, order_type="dine_in", table_number=7)
    async with watching(client, f"/live/track/{number}") as viewer:
        received = dict(viewer.entries)
        clock.now = at = NOON + timedelta(seconds=50)
        await move_through(
            database, number, OrderStatus.COOKING, at=at, due=at + timedelta(seconds=8)
        )
        await viewer.until_it_shows("order", status="cooking")
        cooking = dict(viewer.entries)
        clock.now = at = NOON + timedelta(seconds=59)
        await move(database, number, OrderStatus.COOKING, OrderStatus.READY, at=at, by="mario")
        ready = await viewer.until_it_shows("order", status="ready")
        at = NOON + timedelta(seconds=70)
        await move(database, number, OrderStatus.READY, OrderStatus.COOKING, at=at, by="mario")
        await viewer.until_it_shows("order", status="cooking")

        assert received == {
            "order": {
                "order_number": number,
                "order_type": "dine_in",
                "handoff": None,
                "status": "received",
                "estimated_completion": None,
                "ready_at": None,
            },
            "steps": [{"status": "received", "at": "2024-12-16T12:00:00.000Z"}],
        }
        assert cooking["order"]["estimated_completion"] == "2024-12-16T12:01:00.000Z"
        assert ready["estimated_completion"] is None
        assert viewer.entries["steps"] == [
            {"status": "received", "at": "2024-12-16T12:00:00.000Z"},
            {"status": "cooking", "at": "2024-12-16T12:00:50.000Z"},
            {"status": "ready", "at": "2024-12-16T12:00:59.000Z"},
            {"status": "cooking", "at": "2024-12-16T12:01:10.000Z"},
        ]


@pytest.mark.usefixtures("cook_on_duty")
async def test_moving_learned_estimate_is_sent_once_per_minute(
    client: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    for _ in range(MIN_RECENT):
        recent = await place(intake)
        await move_through(database, recent, OrderStatus.COOKING, OrderStatus.READY, at=NOON)
    number = await place(intake)
    async with watching(client, f"/live/track/{number}") as viewer:
        clock.now = NOON + timedelta(seconds=40)
        await asyncio.sleep(live_views.POLL_INTERVAL * 2)
        clock.now = NOON + timedelta(seconds=60)
        await viewer.until_it_shows("order", estimated_completion="2024-12-16T12:02:00.000Z")

    assert viewer.text.count("event: change") == 1


async def test_each_viewer_receives_the_requested_order(
    client: httpx.AsyncClient, intake: OrderService
) -> None:
    numbers = [await place(intake) for _ in range(3)]
    for number in numbers:
        async with watching(client, f"/live/track/{number}") as viewer:
            assert viewer.entries["order"]["order_number"] == number


@pytest.mark.parametrize("number", ["ORD_20241216_999", "12", "ORD_20241216_001%00"])
async def test_tracking_an_unknown_order_is_answered_404_before_a_stream(
    client: httpx.AsyncClient, number: str
) -> None:
    response = await client.get(f"/live/track/{number}")

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


OF_AN_ORDER = "WHERE order_id = (SELECT id FROM orders WHERE number = $1)"
REMOVE = (
    f"DELETE FROM order_status_log {OF_AN_ORDER}",  # noqa: S608 - constants
    f"DELETE FROM order_items {OF_AN_ORDER}",  # noqa: S608 - constants
    "DELETE FROM orders WHERE number = $1",
)


async def test_deleted_order_does_not_disturb_other_viewers(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    gone, stays = await place(intake), await place(intake)
    async with (
        watching(client, f"/live/track/{gone}"),
        watching(client, f"/live/track/{stays}") as viewer,
    ):
        async with database.connection() as sql:
            for statement in REMOVE:
                await sql.execute(statement, gone)
        await intake.cancel(stays, Move(), request_id="r")
        await viewer.until_it_shows("order", status="cancelled")


async def test_views_contain_no_personal_data_and_no_worker(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    delivered = await place(intake, order_type="delivery", **PERSONAL_DATA)
    seated = await place(intake, order_type="dine_in", table_number=93)
    async with (
        watching(client, "/live/board?order_types=delivery,dine_in") as board,
        watching(client, f"/live/track/{delivered}") as track,
        watching(client, f"/live/track/{seated}") as seat,
    ):
        for number in (delivered, seated):
            await move_through(database, number, OrderStatus.COOKING, by=WORKER, due=NOON)
        await board.until_it_shows(delivered, status="cooking")
        await track.until_it_shows("order", status="cooking")
        await seat.until_it_shows("order", status="cooking")

    for text in (board.text, track.text, seat.text):
        for personal in (*PERSONAL_DATA.values(), WORKER, "Margherita", "table"):
            assert personal not in text


async def test_reconnect_with_the_last_event_id_continues_without_a_snapshot(
    client: httpx.AsyncClient, intake: OrderService
) -> None:
    """The last event id is in the query or, as browsers send it, in a header."""
    async with watching(client, "/live/board") as viewer:
        number = await place(intake)
        before = viewer.last
        await viewer.until_it_shows(number)

        for request in (
            client.build_request("GET", "/live/board", params={"after": before}),
            client.build_request("GET", "/live/board", headers={"Last-Event-ID": before or ""}),
        ):
            response = await client.send(request, stream=True)
            event = await anext(response.aiter_text())
            await response.aclose()
            assert "event: change" in event
            assert "event: snapshot" not in event
            assert number in event


async def test_stop_ends_open_streams_at_once(
    client: httpx.AsyncClient, shutdown: Shutdown
) -> None:
    async with client.stream("GET", "/live/board") as response:
        parts = response.aiter_text()
        await anext(parts)
        start = time.monotonic()

        shutdown.request_stop()

        async with asyncio.timeout(SOON):
            assert [part async for part in parts] == []
    assert time.monotonic() - start < 1


async def test_live_views_are_not_documented(client: httpx.AsyncClient) -> None:
    assert (await client.get("/openapi.json")).json()["paths"] == {}
