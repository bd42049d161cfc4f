"""Lists of orders, and statistics of the business date."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from restaurant_system.config import DeliverySettings, RabbitMQSettings
from restaurant_system.database.connection import Database
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.models.order import Move
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking import service
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.services.tracking.service import MAX_PAGE_SIZE
from tests.support.messages import make_order_message
from tests.support.orders import make_item, make_order
from tests.support.processes import free_port
from tests.support.responses import assert_problem, invalid_fields
from tests.support.services import (
    NOON,
    FakeClock,
    http_client,
    make_broker,
    make_tracking_service,
    move_through,
)

STATUSES = {"received": 0, "cooking": 0, "ready": 0, "completed": 0, "cancelled": 0}
COOKED = (OrderStatus.COOKING, OrderStatus.READY)


async def place(intake: OrderService, count: int = 1, **changes: object) -> list[str]:
    """Place orders, and return their numbers."""
    order = make_order(**changes)
    placed = [await intake.place(order, request_id="r", key=None) for _ in range(count)]
    return [each.order_number for each in placed]


async def page(tracking: httpx.AsyncClient, **query: str | int) -> tuple[list[str], str | None]:
    """Request a page; return its order numbers and its `next_cursor`."""
    response = await tracking.get("/orders", params=query)
    assert response.status_code == 200, response.text
    answer = response.json()
    return [order["order_number"] for order in answer["orders"]], answer["next_cursor"]


async def stats(tracking: httpx.AsyncClient) -> dict[str, Any]:
    """Send GET /stats; return the statistics."""
    answer: dict[str, Any] = (await tracking.get("/stats")).json()
    return answer


async def test_orders_are_listed_with_items_newest_first(
    tracking: httpx.AsyncClient, intake: OrderService
) -> None:
    numbers = await place(intake, 3)

    orders = (await tracking.get("/orders")).json()["orders"]

    assert [order["order_number"] for order in orders] == numbers[::-1]
    assert orders[0] == (await tracking.get(f"/orders/{numbers[-1]}")).json()
    assert orders[0]["items"] == [
        {"name": "Margherita", "quantity": 1, "price": 9.5, "notes": None}
    ]


async def test_pages_contain_each_order_once_while_new_ones_arrive(
    tracking: httpx.AsyncClient, intake: OrderService
) -> None:
    numbers = await place(intake, 7)

    seen, cursor = await page(tracking, limit=3)
    while cursor is not None:
        await place(intake, 2)
        found, cursor = await page(tracking, limit=3, cursor=cursor)
        seen += found

    assert seen == numbers[::-1]


async def test_last_page_has_no_next_cursor_even_if_it_is_full(
    tracking: httpx.AsyncClient, intake: OrderService
) -> None:
    numbers = await place(intake, 4)

    assert await page(tracking, limit=4) == (numbers[::-1], None)
    first, cursor = await page(tracking, limit=2)
    assert first == numbers[:1:-1]
    assert cursor is not None
    assert await page(tracking, limit=2, cursor=cursor) == (numbers[1::-1], None)


async def test_list_is_filtered_by_status_and_type_over_several_pages(
    tracking: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    takeout = await place(intake, 3)
    dine_in = await place(intake, 2, order_type="dine_in", table_number=5)
    await move_through(database, takeout[0], OrderStatus.COOKING)
    await move_through(database, dine_in[0], OrderStatus.COOKING)

    assert await page(tracking, order_type="dine_in") == (dine_in[::-1], None)
    assert await page(tracking, status="cooking") == ([dine_in[0], takeout[0]], None)
    assert await page(tracking, status="cooking", order_type="takeout") == ([takeout[0]], None)
    assert await page(tracking, status="ready") == ([], None)
    waiting: dict[str, str | int] = {"status": "received", "order_type": "takeout", "limit": 1}
    first, cursor = await page(tracking, **waiting)
    assert cursor is not None
    second, end = await page(tracking, **waiting, cursor=cursor)
    assert (first, second, end) == ([takeout[2]], [takeout[1]], None)


async def test_list_is_filtered_by_reference_channel_and_external_id(
    tracking: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    (first,) = await place(intake, reference="84H9B", channel="eats", external_id="a/1")
    (second,) = await place(intake, reference="84H9B", channel="dash", external_id="a/1")
    (third,) = await place(intake, reference="#7", channel="eats", external_id="2")
    (plain,) = await place(intake)
    await move_through(database, first, OrderStatus.COOKING)

    assert await page(tracking, reference="84H9B") == ([second, first], None)
    assert await page(tracking, reference="84h9b") == ([second, first], None)
    assert await page(tracking, reference="84H9B", channel="eats") == ([first], None)
    assert await page(tracking, reference="#7", external_id="a/1") == ([], None)
    assert await page(tracking, channel="eats") == ([third, first], None)
    assert await page(tracking, channel="eats", status="cooking") == ([first], None)
    assert await page(tracking, channel="eats", order_type="dine_in") == ([], None)
    assert await page(tracking, external_id="a/1") == ([second, first], None)
    assert await page(tracking, channel="dash", external_id="a/1") == ([second], None)
    assert await page(tracking) == ([plain, third, second, first], None)
    newest, cursor = await page(tracking, reference="84H9B", limit=1)
    assert cursor is not None
    oldest, end = await page(tracking, reference="84H9B", limit=1, cursor=cursor)
    assert (newest, oldest, end) == ([second], [first], None)


async def test_page_has_50_orders_or_the_given_limit(
    tracking: httpx.AsyncClient, database: Database
) -> None:
    async with database.connection() as connection:
        await connection.execute(
            """INSERT INTO orders (number, business_date, customer_name, type, total_amount,
                                   priority)
               SELECT 'ORD_20241215_' || place, '2024-12-15', 'Ada', 'takeout', 1, 1
               FROM generate_series(100, 319) AS place"""
        )

    assert len((await page(tracking))[0]) == 50
    assert len((await page(tracking, limit=1))[0]) == 1
    assert len((await page(tracking, limit=200))[0]) == 200


async def test_page_of_large_orders_is_bounded_in_bytes(
    tracking: httpx.AsyncClient, intake: OrderService
) -> None:
    """Its cursor continues after the last order that it has."""
    largest = [make_item(name="ж" * 50, notes="ж" * 200) for _ in range(20)]
    numbers = await place(intake, 60, items=largest, notes="ж" * 200)
    one = len((await tracking.get(f"/orders/{numbers[0]}")).content)

    found: list[str] = []
    cursor: str | None = ""
    sizes = []
    while cursor is not None:
        response = await tracking.get("/orders?limit=200" + (f"&cursor={cursor}" if cursor else ""))
        sizes.append(len(response.content))
        found += [order["order_number"] for order in response.json()["orders"]]
        cursor = response.json()["next_cursor"]

    assert found == numbers[::-1]
    assert len(sizes) == 60 * one // MAX_PAGE_SIZE + 1
    assert all(size < MAX_PAGE_SIZE + one for size in sizes)
    assert all(size > 0.9 * MAX_PAGE_SIZE for size in sizes[:-1])


async def test_order_larger_than_a_page_is_listed(
    tracking: httpx.AsyncClient, intake: OrderService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_PAGE_SIZE", 10)
    numbers = await place(intake, 3)

    first, cursor = await page(tracking)
    assert cursor is not None
    second, _ = await page(tracking, cursor=cursor)

    assert (first, second) == ([numbers[2]], [numbers[1]])


async def test_invalid_parameter_is_refused_with_400_by_its_name(
    tracking: httpx.AsyncClient,
) -> None:
    for query, field in (
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("limit=1e1", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("status=burnt", "status"),
        ("status=", "status"),
        ("status=%00", "status"),
        ("order_type=drive_in", "order_type"),
        ("reference=", "reference"),
        ("reference=%00", "reference"),
        (f"reference={'r' * 65}", "reference"),
        ("channel=Eats", "channel"),
        ("channel=%00", "channel"),
        ("external_id=%00", "external_id"),
        (f"external_id={'e' * 129}", "external_id"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=%FF", "cursor"),
        ("cursor=LTE", "cursor"),  # -1
        ("cursor=MA", "cursor"),  # 0
        ("cursor=" + "OTk5" * 10, "cursor"),  # 999… beyond any id
        ("cursor=" + "OTk5" * 2000, "cursor"),
    ):
        response = await tracking.get(f"/orders?{query}")

        assert_problem(response, 400)
        assert invalid_fields(response) == [field]


async def test_stats_of_a_day_without_orders_are_complete(tracking: httpx.AsyncClient) -> None:
    assert await stats(tracking) == {
        "warnings": [],
        "business_date": "2024-12-16",
        "by_status": STATUSES,
        "by_type": {"dine_in": 0, "takeout": 0, "delivery": 0},
        "queues": {
            "kitchen_dine_in_queue": 0,
            "kitchen_takeout_queue": 0,
            "kitchen_delivery_queue": 0,
            "kitchen_queue": 0,
            "kitchen_dead_letter_queue": 0,
        },
        "preparation_seconds": {},
        "per_hour": [],
        "late_share": {},
    }


async def test_stats_count_only_orders_of_the_business_date(
    tracking: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    clock.now = NOON - timedelta(days=1)
    await place(intake)
    clock.now = NOON
    takeout = await place(intake, 3)
    (dine_in,) = await place(intake, order_type="dine_in", table_number=5)
    clock.now = NOON + timedelta(hours=2)
    await place(intake, 2)
    for number, seconds in zip(takeout, (10, 20, 30), strict=True):
        await move_through(database, number, *COOKED, at=NOON + timedelta(seconds=seconds))
    await move_through(database, dine_in, *COOKED, at=NOON + timedelta(seconds=5))
    await intake.complete(takeout[0], Move(), request_id="r")

    statistics = await stats(tracking)

    assert statistics["by_status"] == STATUSES | {"received": 2, "ready": 3, "completed": 1}
    assert statistics["by_type"] == {"dine_in": 1, "takeout": 5, "delivery": 0}
    assert statistics["preparation_seconds"] == {
        "dine_in": {"p50": 5.0, "p90": 5.0, "p99": 5.0},
        "takeout": {"p50": 20.0, "p90": 28.0, "p99": 29.8},
    }
    assert statistics["per_hour"] == [
        {"hour": "2024-12-16T12:00:00.000Z", "orders": 4},
        {"hour": "2024-12-16T14:00:00.000Z", "orders": 2},
    ]


async def test_late_share_is_that_of_the_orders_that_were_due(
    tracking: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    on_time, late, _, cancelled = await place(intake, 4)
    (delivered,) = await place(
        intake, order_type="delivery", delivery_address="1 Main Street, Springfield"
    )
    limit = NOON + timedelta(seconds=900)
    await move_through(database, on_time, *COOKED, at=limit - timedelta(milliseconds=1))
    await move_through(database, late, *COOKED, at=limit)
    await move_through(database, delivered, *COOKED, at=limit)
    await intake.cancel(cancelled, Move(), request_id="r")

    shares = []
    for clock.now in (limit - timedelta(milliseconds=1), limit):
        shares.append((await stats(tracking))["late_share"])

    assert shares == [
        {"takeout": pytest.approx(1 / 2), "delivery": 0},
        {"takeout": pytest.approx(2 / 3), "delivery": 0},
    ]


async def test_queue_depths_exclude_unacknowledged_messages(
    tracking: httpx.AsyncClient, database: Database
) -> None:
    broker = make_broker(database)
    await broker.publish([make_order_message() for _ in range(3)])
    await broker.publish([make_order_message("delivery")])

    waiting = (await stats(tracking))["queues"]
    async with broker.consume(["kitchen_delivery_queue"], prefetch=1) as consumer:
        await anext(aiter(consumer))
        unacknowledged = (await stats(tracking))["queues"]

    assert waiting["kitchen_takeout_queue"] == unacknowledged["kitchen_takeout_queue"] == 3
    assert waiting["kitchen_delivery_queue"] == 1
    assert unacknowledged["kitchen_delivery_queue"] == 0


async def test_queue_depths_are_null_while_the_broker_is_unreachable(
    database: Database, intake: OrderService
) -> None:
    await place(intake)
    settings = RabbitMQSettings(host="127.0.0.1", port=free_port())
    broker = RabbitMQBroker(settings, DeliverySettings().retry_delays)
    tracking = make_tracking_service(database, broker, clock=FakeClock())
    async with http_client(TrackingHandler(tracking).feature()) as client:
        statistics = await stats(client)

    assert statistics["queues"] is None
    assert statistics["by_status"]["received"] == 1
