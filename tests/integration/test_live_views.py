"""Live views for customers: the board, and the progress of one order."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from restaurant_system.app.runtime import background_task
from restaurant_system.config import KitchenSettings
from restaurant_system.database.connection import Database
from restaurant_system.models.order import Move
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking import live_views
from restaurant_system.services.tracking.live_views import LiveViews
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from tests.support.live_view_client import SOON, watching
from tests.support.orders import make_order
from tests.support.rows import insert_order
from tests.support.services import NOON, FakeClock, move, served, walk

SECRETS = {
    "customer_name": "Wilhelmina Quux",
    "delivery_address": "77 Zanzibar Crescent, Nowhere",
    "notes": "the bell is broken",
}
COOK = "bartholomew"


@pytest.fixture
def shutdown() -> Shutdown:
    """Wish for nothing yet."""
    return Shutdown()


@pytest.fixture
async def client(
    database: Database, clock: FakeClock, shutdown: Shutdown
) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to the tracking service's live views."""
    views = LiveViews(database, clock=clock, kitchen=KitchenSettings())
    site = api.build("Test", [views.feature()])
    async with (
        background_task(views.run(shutdown)),
        served(site, shutdown) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client,  # noqa: S501 - no TLS
    ):
        yield client


async def place(intake: OrderService, **changes: object) -> str:
    """Place an order, and return its number."""
    return (await intake.place(make_order(**changes), request_id="r", key=None)).order_number


async def test_an_order_goes_over_the_board(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    """From the order to the guest, and back if need be; nothing is seen of one handed over."""
    async with watching(client, "/live/board") as viewer:
        number = await place(intake)
        begun = await viewer.until_it_shows(number, status="received")
        await walk(database, number, OrderStatus.COOKING)
        await viewer.until_it_shows(number, status="cooking")
        await move(database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON, by="mario")
        ready = await viewer.until_it_shows(number, status="ready")
        await move(database, number, OrderStatus.READY, OrderStatus.COOKING, at=NOON, by="mario")
        again = await viewer.until_it_shows(number, status="cooking")
        await move(database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON, by="mario")
        await intake.complete(number, Move(), request_id="r")
        await viewer.until_it_hides(number)

    assert begun == {"status": "received", "order_type": "takeout", "ready_at": None}
    assert again["ready_at"] is None
    assert ready["ready_at"] == "2024-12-16T12:00:00.000Z"


async def test_the_board_shows_no_order_that_is_over(
    client: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    """Neither what was cancelled, nor what became ready long ago, completed or not."""
    cancelled, old, fresh = [await place(intake) for _ in range(3)]
    await intake.cancel(cancelled, Move(), request_id="r")
    for number, minute in ((old, 0), (fresh, 1)):
        at = NOON + timedelta(minutes=minute)
        await walk(database, number, OrderStatus.COOKING, OrderStatus.READY, at=at)
    clock.now = NOON + timedelta(minutes=30)

    async with watching(client, "/live/board") as viewer:
        before = set(viewer.entries)
        clock.now += timedelta(seconds=1)
        await viewer.until_it_hides(old)

        assert before == {old, fresh}
        assert set(viewer.entries) == {fresh}


BRING = """
UPDATE orders SET status = $1, processed_by = 'mario',
    completed_at = CASE WHEN $1 = 'ready' THEN $2::timestamptz - id * interval '1 s' END
WHERE id = ANY($3)
"""


async def test_the_board_shows_what_a_wall_has_room_for(
    client: httpx.AsyncClient, database: Database
) -> None:
    """Of more than that, what became ready last, what cooks, and what has waited longest."""
    sql = await database.dedicated()
    ready = [await insert_order(sql) for _ in range(live_views.MAX_READY + 1)]
    waiting = [await insert_order(sql) for _ in range(live_views.MAX_PREPARING)]
    cooking = [await insert_order(sql) for _ in range(2)]
    await sql.execute(BRING, "cooking", NOON, [*ready, *cooking])
    await sql.execute(BRING, "ready", NOON, ready)
    numbers = {row["id"]: row["number"] for row in await sql.fetch("SELECT id, number FROM orders")}
    await sql.close()

    async with watching(client, "/live/board") as viewer:
        shown = viewer.entries

    assert {numbers[each] for each in (*ready[:-1], *cooking, *waiting[:-2])} == set(shown)


async def test_an_order_is_followed_step_by_step(
    client: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    """How it stands, when it will be ready, and each step with its time, also one taken back."""
    number = await place(intake, order_type="dine_in", table_number=7)
    async with watching(client, f"/live/track/{number}") as viewer:
        received = dict(viewer.entries)
        clock.now = at = NOON + timedelta(seconds=50)
        await walk(database, number, OrderStatus.COOKING, at=at, due=at + timedelta(seconds=8))
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
                "status": "received",
                "estimated_completion": "2024-12-16T12:01:00.000Z",
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


async def test_an_estimate_that_moves_is_news_once_a_minute(
    client: httpx.AsyncClient, intake: OrderService, clock: FakeClock
) -> None:
    """An order that waits is told the minute; that a moment has gone by is not worth a change."""
    number = await place(intake)
    async with watching(client, f"/live/track/{number}") as viewer:
        clock.now = NOON + timedelta(seconds=40)
        await asyncio.sleep(live_views.POLL_INTERVAL * 2)
        clock.now = NOON + timedelta(seconds=60)
        await viewer.until_it_shows("order", estimated_completion="2024-12-16T12:02:00.000Z")

    assert viewer.text.count("event: change") == 1


async def test_each_follows_its_own_order(client: httpx.AsyncClient, intake: OrderService) -> None:
    """One look serves all who watch, and each is shown the order it asked for."""
    numbers = [await place(intake) for _ in range(3)]
    for number in numbers:
        async with watching(client, f"/live/track/{number}") as viewer:
            assert viewer.entries["order"]["order_number"] == number


@pytest.mark.parametrize("number", ["ORD_20241216_999", "12", "ORD_20241216_001%00"])
async def test_an_order_that_is_none_cannot_be_followed(
    client: httpx.AsyncClient, number: str
) -> None:
    """A number that nobody has is answered as everywhere, before a stream begins."""
    answer = await client.get(f"/live/track/{number}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


OF_AN_ORDER = "WHERE order_id = (SELECT id FROM orders WHERE number = $1)"
REMOVE = (
    f"DELETE FROM order_status_log {OF_AN_ORDER}",  # noqa: S608 - constants
    f"DELETE FROM order_items {OF_AN_ORDER}",  # noqa: S608 - constants
    "DELETE FROM orders WHERE number = $1",
)


async def test_an_order_that_vanishes_is_passed_over(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    """Whoever follows another one is not disturbed by what was removed by hand."""
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


async def test_nobody_learns_who_has_ordered(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    """No name, no address, no note, no table and no cook goes over the line."""
    delivered = await place(intake, order_type="delivery", **SECRETS)
    seated = await place(intake, order_type="dine_in", table_number=93)
    async with (
        watching(client, "/live/board") as board,
        watching(client, f"/live/track/{delivered}") as track,
        watching(client, f"/live/track/{seated}") as seat,
    ):
        for number in (delivered, seated):
            await walk(database, number, OrderStatus.COOKING, by=COOK, due=NOON)
        await board.until_it_shows(delivered, status="cooking")
        await track.until_it_shows("order", status="cooking")
        await seat.until_it_shows("order", status="cooking")

    for text in (board.text, track.text, seat.text):
        for secret in (*SECRETS.values(), COOK, "Margherita", "table"):
            assert secret not in text


async def test_whoever_comes_back_goes_on_where_it_was(
    client: httpx.AsyncClient, intake: OrderService
) -> None:
    """A number in the address or, as browsers send it by themselves, in a header."""
    async with watching(client, "/live/board") as stays:
        number = await place(intake)
        before = stays.last
        await stays.until_it_shows(number)

        for request in (
            client.build_request("GET", "/live/board", params={"after": before}),
            client.build_request("GET", "/live/board", headers={"Last-Event-ID": before or ""}),
        ):
            answer = await client.send(request, stream=True)
            first = await anext(answer.aiter_text())
            await answer.aclose()
            assert "event: change" in first
            assert "event: snapshot" not in first
            assert number in first


async def test_a_stop_does_not_wait_for_those_who_watch(
    client: httpx.AsyncClient, shutdown: Shutdown
) -> None:
    """At the wish to stop a view ends at once, as a whole answer."""
    async with client.stream("GET", "/live/board") as answer:
        parts = answer.aiter_text()
        await anext(parts)
        asked = time.monotonic()

        shutdown.request_stop()

        async with asyncio.timeout(SOON):
            assert [part async for part in parts] == []
    assert time.monotonic() - asked < 1


async def test_live_views_are_not_documented(client: httpx.AsyncClient) -> None:
    """What our own pages watch may change with them."""
    assert (await client.get("/openapi.json")).json()["paths"] == {}
