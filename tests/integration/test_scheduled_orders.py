"""Scheduled orders wait until their expected preparation time is left, and are then cooked once."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from restaurant_system.database import live_view_queries, orders, outbox, scheduled_orders
from restaurant_system.database.connection import Connection, Database
from restaurant_system.errors import DatabaseUnavailable, NotReleasable, OrderNotFound
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.models.audit import Actor
from restaurant_system.models.board import BoardSelection
from restaurant_system.models.order import Move, OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.timing import Lateness
from restaurant_system.services.display.scheduled_handler import ScheduledTickets
from restaurant_system.services.order.release import Release
from restaurant_system.services.order.release_handler import ReleaseHandler
from restaurant_system.services.order.service import OrderService
from tests.support.logs import capture_logs
from tests.support.orders import make_order
from tests.support.partitions import without_month
from tests.support.rows import insert_order
from tests.support.services import (
    NOON,
    FakeClock,
    http_client,
    make_release,
    make_tracking_service,
    move,
    move_through,
)

pytestmark = pytest.mark.usefixtures("exact_estimates")

TAKEOUT_TIME = timedelta(seconds=10)
UNTIL_NEXT_CHECK = timedelta(seconds=1)
IN_AN_HOUR = NOON + timedelta(hours=1)
PROMISED = timedelta(minutes=15)  # after which a takeout order is late
PUBLISHED = "SELECT body, correlation_id FROM outbox WHERE exchange = 'orders_topic' ORDER BY id"


INSERT_SOUP = (
    "INSERT INTO order_items (order_id, name, quantity, price) VALUES ($1, 'Soup', 1, 9.5)"
)


class Shop:
    """A database with scheduled orders, and the part of the order service that releases them."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.database = database
        self.clock = clock

    def release(self) -> Release:
        """Return a release as one of the order service's processes runs it."""
        return make_release(self.database, clock=self.clock)

    async def schedule(self, ready_at: datetime = IN_AN_HOUR, **changes: object) -> str:
        """Store a scheduled order as it is placed, and return its number."""
        order: dict[str, object] = {
            "ready_at": ready_at,
            "promised_at": ready_at,
            "rank_at": ready_at - timedelta(minutes=5),
            "released_at": None,
            "request_id": "the-customer",
        }
        sql = await self.database.dedicated()
        order_id = await insert_order(sql, **order | changes)
        await sql.execute(INSERT_SOUP, order_id)
        number: str = await sql.fetchval("SELECT number FROM orders WHERE id = $1", order_id)
        await sql.close()
        return number

    async def published(self) -> list[str]:
        """Return the numbers of the orders whose messages are in the outbox."""
        async with self.database.connection() as connection:
            return [
                json.loads(row["body"])["order_number"] for row in await connection.fetch(PUBLISHED)
            ]

    async def row(self, number: str) -> dict[str, Any]:
        """Return the row of an order."""
        async with self.database.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM orders WHERE number = $1", number)
        assert row is not None
        return dict(row)


@pytest.fixture
def shop(database: Database, clock: FakeClock) -> Shop:
    """Return a shop at noon."""
    return Shop(database, clock)


async def test_order_for_later_is_stored_without_a_message(
    shop: Shop, intake: OrderService
) -> None:
    """Others of the same batch are published; an order that is due soon is, too."""
    soon = NOON + TAKEOUT_TIME
    times = [None, IN_AN_HOUR, soon, soon + timedelta(seconds=1)]
    placed = await asyncio.gather(
        *(intake.place(make_order(ready_at=_text(at)), request_id="r", key=None) for at in times)
    )
    numbers = [each.order_number for each in placed]

    assert await shop.published() == [numbers[0], numbers[2]]
    rows = [await shop.row(each) for each in numbers]
    assert [row["released_at"] for row in rows] == [NOON, None, NOON, None]
    assert [row["promised_at"] for row in rows] == [NOON + PROMISED, *times[1:]]
    shop.clock.now = IN_AN_HOUR
    await shop.release().release_due()
    assert sorted(await shop.published()) == sorted(numbers)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


async def test_scheduled_order_is_replayed_by_its_key(shop: Shop, intake: OrderService) -> None:
    order = make_order(ready_at=IN_AN_HOUR.isoformat())

    first, second = [
        await intake.place(order, request_id="r", key="a-key-of-the-till") for _ in range(2)
    ]

    assert (first.order_number, second.replayed) == (second.order_number, True)
    assert (await shop.row(first.order_number))["released_at"] is None


async def test_order_says_whether_it_is_scheduled(shop: Shop, tracking: httpx.AsyncClient) -> None:
    number = await shop.schedule()
    before = (await tracking.get(f"/orders/{number}")).json()
    await shop.release().release(number, request_id="r")
    after = (await tracking.get(f"/orders/{number}")).json()

    assert (before["scheduled"], before["released_at"]) == (True, None)
    assert before["ready_at"] == "2024-12-16T13:00:00.000Z"
    assert (after["scheduled"], after["released_at"]) == (False, "2024-12-16T12:00:00.000Z")


@pytest.mark.parametrize("others", ["", "&channel=till", "&reference=ada", "&external_id=e-1"])
async def test_scheduled_orders_are_listed_alone_or_left_out(
    shop: Shop, tracking: httpx.AsyncClient, others: str
) -> None:
    later, sent = [
        await shop.schedule(
            channel="till", reference="Ada", external_id="e-1", released_at=released_at
        )
        for released_at in (None, NOON)
    ]

    async def listed(query: str) -> list[str]:
        page = (await tracking.get(f"/orders?{query}{others}")).json()
        return [each["order_number"] for each in page["orders"]]

    assert await listed("scheduled=true") == [later]
    assert await listed("scheduled=false") == [sent]
    assert await listed("status=cooking&scheduled=true") == []
    assert await listed("") == [sent, later]
    assert (await tracking.get("/orders?scheduled=perhaps")).status_code == 400


async def test_order_is_released_when_its_preparation_time_is_left(shop: Shop) -> None:
    number, later = await shop.schedule(), await shop.schedule(IN_AN_HOUR + timedelta(seconds=1))
    release = shop.release()

    shop.clock.now = IN_AN_HOUR - TAKEOUT_TIME - 2 * UNTIL_NEXT_CHECK
    assert await release.release_due() == 0
    shop.clock.now = IN_AN_HOUR - TAKEOUT_TIME - UNTIL_NEXT_CHECK
    assert await release.release_due() == 1
    assert await release.release_due() == 0

    assert await shop.published() == [number]
    assert (await shop.row(number))["released_at"] == shop.clock.now
    assert (await shop.row(later))["released_at"] is None
    async with shop.database.connection() as connection:
        (message,) = await connection.fetch(PUBLISHED)
    assert json.loads(message["body"])["items"][0]["name"] == "Soup"
    assert message["correlation_id"] == "the-customer"


async def test_learned_time_applies_to_orders_that_are_scheduled_already(shop: Shop) -> None:
    number = await shop.schedule()
    dine_in = await shop.schedule(type="dine_in", table_number=5)
    release = shop.release()
    shop.clock.now = IN_AN_HOUR - timedelta(minutes=20)
    assert await release.release_due() == 0

    await cooked_within(shop.database, minutes=(19, 21, 23))

    assert await release.release_due() == 1
    assert await shop.published() == [number]
    assert (await shop.row(dine_in))["released_at"] is None, "another type"


START = "UPDATE orders SET status = 'cooking', processed_by = 'anna' WHERE id = $1"
STORE_COOKED = """
WITH cooked AS (
    UPDATE orders SET status = 'ready', completed_at = $2 WHERE id = $1 RETURNING id
)
INSERT INTO order_status_log (order_id, status, changed_by, changed_at)
SELECT id, 'cooking', 'anna', $2 - $3 * interval '1 minute' FROM cooked
"""


async def cooked_within(database: Database, minutes: tuple[int, ...]) -> None:
    """Store takeout orders that were cooked within these times."""
    sql = await database.dedicated()
    for each in minutes:
        order_id = await insert_order(sql)
        await sql.execute(START, order_id)
        await sql.execute(STORE_COOKED, order_id, NOON, each)
    await sql.close()


async def test_clock_that_jumps_forward_and_back_releases_an_order_once(shop: Shop) -> None:
    number, other = await shop.schedule(), await shop.schedule(IN_AN_HOUR + timedelta(minutes=5))
    release = shop.release()

    for now in (IN_AN_HOUR, NOON - timedelta(hours=2), IN_AN_HOUR, NOON):
        shop.clock.now = now
        await release.release_due()

    assert await shop.published() == [number]
    assert (await shop.row(other))["released_at"] is None


async def test_several_processes_release_each_order_once(shop: Shop) -> None:
    scheduled = [await shop.schedule(NOON) for _ in range(40)]

    async def release_all() -> None:
        release = shop.release()
        while await release.release_due():
            pass

    await asyncio.gather(*(release_all() for _ in range(6)))

    assert sorted(await shop.published()) == sorted(scheduled)


async def test_order_is_released_later_if_its_message_could_not_be_stored(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies between the two leaves neither: both are in one transaction."""
    number = await shop.schedule(NOON)
    with monkeypatch.context() as failing:
        failing.setattr(outbox, "add", _fail)
        with pytest.raises(DatabaseUnavailable):
            await shop.release().release_due()
    assert (await shop.row(number))["released_at"] is None

    await shop.release().release_due()

    assert await shop.published() == [number]


async def _fail(*_: object) -> None:
    raise DatabaseUnavailable("The connection is lost.")


async def test_cancelled_order_is_not_released(shop: Shop, intake: OrderService) -> None:
    number = await shop.schedule()
    await intake.cancel(number, Move(), request_id="r")
    shop.clock.now = IN_AN_HOUR

    assert await shop.release().release_due() == 0
    with pytest.raises(NotReleasable, match="cancelled"):
        await shop.release().release(number, request_id="r")
    assert await shop.published() == []


async def test_order_that_was_due_on_an_earlier_business_date_is_held(shop: Shop) -> None:
    """No order service ran at that time; it is not cooked unasked on another day."""
    number = await shop.schedule()
    shop.clock.now = NOON + timedelta(days=1)
    release = shop.release()

    assert [await release.release_due() for _ in range(2)] == [1, 0]
    assert (await shop.row(number))["released_at"] == IN_AN_HOUR
    assert await shop.published() == []

    await release.release(number, request_id="r")
    assert await shop.published() == [number]


async def test_order_for_the_next_business_date_is_not_held_when_that_starts(
    shop: Shop, intake: OrderService
) -> None:
    """It was released, or placed, shortly before midnight, and no cook has started it since."""
    midnight = NOON + timedelta(hours=12)
    scheduled = await shop.schedule(midnight + timedelta(seconds=5))
    shop.clock.now = midnight - timedelta(seconds=1)
    await shop.release().release_due()
    order = make_order(ready_at=midnight + timedelta(seconds=8))
    placed = await intake.place(order, request_id="r", key=None)

    for number in (scheduled, placed.order_number):
        assert (await shop.row(number))["released_at"] == midnight
    assert await shop.published() == [scheduled, placed.order_number]


async def test_order_without_a_valid_message_keeps_no_other_order_from_being_released(
    shop: Shop,
) -> None:
    broken, valid = await shop.schedule(), await shop.schedule()
    async with shop.database.connection() as connection:
        await connection.execute(
            "DELETE FROM order_items USING orders WHERE orders.id = order_id AND number = $1",
            broken,
        )
    shop.clock.now = IN_AN_HOUR

    with capture_logs() as logs:
        assert await shop.release().release_due() == 2
    assert await shop.published() == [valid]
    (line,) = [each for each in logs if each["event"] == "order_message_invalid"]
    assert line["order_number"] == broken


async def test_scheduled_order_is_released_by_hand_as_if_it_was_placed_now(shop: Shop) -> None:
    """Its priority still moves it forward."""
    number = await shop.schedule()

    await shop.release().release(number, request_id="r")

    row = await shop.row(number)
    assert row["released_at"] == NOON
    assert row["rank_at"] == NOON + PROMISED - timedelta(minutes=5)
    assert row["promised_at"] == IN_AN_HOUR
    assert await shop.published() == [number]


async def test_order_released_by_hand_shortly_before_it_is_due_keeps_its_rank(shop: Shop) -> None:
    number = await shop.schedule(NOON + timedelta(minutes=1))

    await shop.release().release(number, request_id="r")

    assert (await shop.row(number))["rank_at"] == NOON - timedelta(minutes=4)


@pytest.mark.parametrize("days", [1, 3])
async def test_order_for_a_later_date_that_is_released_by_hand_is_held_after_that_date_only(
    shop: Shop, days: int
) -> None:
    ready_at = NOON + timedelta(days=days)
    number = await shop.schedule(ready_at)

    await shop.release().release(number, request_id="r")

    assert (await shop.row(number))["released_at"] == ready_at
    shop.clock.now = ready_at
    with pytest.raises(NotReleasable):
        await shop.release().release(number, request_id="r")
    shop.clock.now = ready_at + timedelta(days=1)
    await shop.release().release(number, request_id="r")


async def test_release_by_hand_and_by_time_publish_an_order_once(shop: Shop) -> None:
    number = await shop.schedule(NOON)

    results = await asyncio.gather(
        *(shop.release().release(number, request_id="r") for _ in range(3)),
        *(shop.release().release_due() for _ in range(3)),
        return_exceptions=True,
    )

    assert {type(each) for each in results} <= {type(None), int, NotReleasable}
    assert await shop.published() == [number]


async def test_release_over_http_is_recorded_and_refused_when_there_is_nothing_to_release(
    shop: Shop,
) -> None:
    held = await shop.schedule(released_at=NOON - timedelta(days=1), rank_at=NOON)
    today = await shop.schedule(released_at=NOON - timedelta(minutes=1))

    async with http_client(ReleaseHandler(shop.release()).feature()) as client:
        released = await client.post(f"/orders/{held}/release")
        again = await client.post(f"/orders/{held}/release")
        waiting = await client.post(f"/orders/{today}/release")
        unknown = await client.post("/orders/ORD_20241216_999/release")

    assert released.json() == {"order_number": held, "status": "received"}
    assert [each.status_code for each in (again, waiting, unknown)] == [409, 409, 404]
    assert waiting.json()["detail"] == f"Order {today} is released already: it waits for a cook."
    assert await shop.published() == [held]


async def test_release_by_a_person_is_recorded(shop: Shop) -> None:
    number = await shop.schedule()

    await shop.release().release(number, request_id="r7", by=Actor("Ada", "staff", "::1"))

    async with shop.database.connection() as connection:
        (act,) = await connection.fetch("SELECT who, action, target, request_id FROM audit_log")
    assert dict(act) == {
        "who": "Ada",
        "action": "release_order",
        "target": number,
        "request_id": "r7",
    }


async def test_unknown_order_cannot_be_released(shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        await shop.release().release("ORD_20241216_999", request_id="r")


async def test_screens_of_the_kitchen_list_scheduled_orders_of_their_types(shop: Shop) -> None:
    later, soon = await shop.schedule(), await shop.schedule(IN_AN_HOUR - timedelta(minutes=1))
    await shop.schedule(type="dine_in", table_number=5)
    await shop.schedule(released_at=NOON)

    async with http_client(ScheduledTickets(shop.database).feature()) as client:
        listed = (await client.get("/kitchen/scheduled", params={"order_type": "takeout"})).json()

    assert [each["order_number"] for each in listed] == [soon, later]
    assert listed[1]["ready_at"] == "2024-12-16T13:00:00.000Z"
    assert listed[1]["items"][0]["name"] == "Soup"


async def test_board_shows_neither_scheduled_orders_nor_those_of_earlier_dates(shop: Shop) -> None:
    await shop.schedule()
    await shop.schedule(released_at=NOON - timedelta(days=1))
    waiting = await shop.schedule(released_at=NOON)

    async with shop.database.connection() as connection:
        midnight = NOON - timedelta(hours=12)
        rows = await live_view_queries.preparing(
            connection, BoardSelection(), released_since=midnight, limit=9
        )

    assert [row["number"] for row in rows] == [waiting]


async def test_scheduled_order_is_late_once_the_time_has_passed_for_which_it_was_ordered(
    shop: Shop,
) -> None:
    tracking = make_tracking_service(shop.database, clock=shop.clock)
    placed = NOON - timedelta(hours=2)
    for ready_at in (NOON - timedelta(minutes=1), NOON + timedelta(minutes=1)):
        await shop.schedule(ready_at, created_at=placed)

    day = await tracking.day_statistics()

    assert day.lateness[OrderType.TAKEOUT] == Lateness(orders=1, late=1)


async def test_preparation_time_of_an_order_for_tomorrow_that_is_cooked_now_is_left_out(
    shop: Shop,
) -> None:
    """Its time of release is in the future: its preparation would seem to have taken no time."""
    tracking = make_tracking_service(shop.database, clock=shop.clock)
    for ready_at in (IN_AN_HOUR, NOON + timedelta(days=1)):
        number = await shop.schedule(ready_at, created_at=NOON)
        await shop.release().release(number, request_id="r")
        await move_through(shop.database, number, OrderStatus.COOKING, at=NOON)
        await move(
            shop.database,
            number,
            OrderStatus.COOKING,
            OrderStatus.READY,
            at=NOON + timedelta(seconds=40),
            by="mario",
        )

    day = await tracking.day_statistics()

    assert day.preparation_seconds == {OrderType.TAKEOUT: [40, 40, 40]}


async def test_waiting_time_of_a_scheduled_order_begins_when_it_is_released(shop: Shop) -> None:
    number = await shop.schedule(created_at=NOON - timedelta(days=1))
    await shop.release().release(number, request_id="r")
    move = move_with_update(
        number,
        origin=OrderStatus.RECEIVED,
        target=OrderStatus.COOKING,
        at=NOON + timedelta(seconds=7),
        by="mario",
        sender=Sender("somebody", "r"),
    )

    async with shop.database.connection() as connection:
        (moved,) = await orders.move(connection, [move])

    assert moved is not None
    assert moved.seconds_since_placed == 7


@pytest.mark.usefixtures("cook_on_duty")
async def test_status_of_a_scheduled_order_is_estimated_as_ready_when_it_is_wanted(
    shop: Shop,
) -> None:
    """It is later if the orders before it take longer."""
    number, late = await shop.schedule(), await shop.schedule(NOON + timedelta(seconds=15))
    await shop.schedule(released_at=NOON, rank_at=NOON - timedelta(hours=1))
    tracking = make_tracking_service(shop.database, clock=shop.clock)

    found = [await tracking.status(each) for each in (number, late)]

    assert [each.estimated_completion for each in found] == [
        IN_AN_HOUR,
        NOON + 2 * TAKEOUT_TIME,
    ]
    assert found[0].scheduled_for == IN_AN_HOUR


MANY_SCHEDULED = """
INSERT INTO orders (number, business_date, customer_name, type, total_amount, priority,
                    ready_at, promised_at, rank_at, released_at)
SELECT 'ORD_20241216_' || n, '2024-12-16', 'Ada', 'takeout', 9.50, 1, at, at, at, NULL
FROM generate_series(10000, 19999) AS n
CROSS JOIN LATERAL (SELECT $1::timestamptz + n * interval '1 s') AS scheduled (at)
"""


async def test_release_reads_only_the_orders_that_are_due(shop: Shop) -> None:
    """Of 10,000 scheduled orders three are due."""
    async with shop.database.connection() as connection:
        await connection.execute(MANY_SCHEDULED, NOON - timedelta(seconds=10_002))
        await connection.execute("ANALYZE orders")
        read = await rows_read(connection, at=NOON - TAKEOUT_TIME)

    assert read == 3


async def rows_read(connection: Connection, *, at: datetime) -> int:
    """Return how many index entries a release reads; it is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    plan = await connection.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {scheduled_orders.RELEASE_DUE}",
        list(OrderType),
        [at + TAKEOUT_TIME] * len(OrderType),
        at,
        at,
        at + timedelta(days=1),
        100,
    )
    await transaction.rollback()
    scans = list(scans_of("orders_scheduled", json.loads(plan)[0]["Plan"]))
    assert scans
    return sum(
        round((scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"])
        for scan in scans
    )


def scans_of(index: str, node: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the scans of an index in a plan."""
    below = [scan for part in node.get("Plans", ()) for scan in scans_of(index, part)]
    is_scan = without_month(node.get("Index Name", "")) == index
    return [node, *below] if is_scan else below
