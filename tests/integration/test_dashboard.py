"""The dashboard as an event stream."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx

from restaurant_system.config import DeliverySettings, RabbitMQSettings
from restaurant_system.database import menu_availability, workers
from restaurant_system.database.connection import Database
from restaurant_system.database.menu_availability import StoredLimit
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.menu_offer import Limit
from restaurant_system.models.order import Move, OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.dashboard import Dashboard
from restaurant_system.services.tracking.usual_day import UsualDays
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from tests.support.messages import make_order_message
from tests.support.orders import make_order
from tests.support.processes import free_port
from tests.support.rows import insert_order
from tests.support.services import (
    NOON,
    FakeClock,
    make_broker,
    make_order_service,
    make_tracking_service,
    move_through,
    serve_site,
)

ZONE = "Asia/Kolkata"  # 5 h 30 min ahead of UTC
BUSINESS_DAY = BusinessDay(ZoneInfo(ZONE))
NONE_OPEN = {"dine_in": 0, "takeout": 0, "delivery": 0}

Event = tuple[str, dict[str, Any]]


@contextlib.asynccontextmanager
async def watch_dashboard(
    database: Database, clock: FakeClock, broker: Broker | None = None
) -> AsyncIterator[AsyncIterator[Event]]:
    """Serve the dashboard, and yield its events."""
    service = make_tracking_service(database, broker, clock=clock, timezone=ZONE)
    usual_days = UsualDays(database, BUSINESS_DAY)
    dashboard = Dashboard(service, usual_days, clock=clock, business_day=BUSINESS_DAY)
    shutdown = Shutdown()
    site = api.build("Test", [dashboard.feature()])
    async with (
        asyncio.TaskGroup() as group,
        serve_site(site, shutdown) as address,
        httpx.AsyncClient(base_url=address, timeout=20, verify=False) as client,  # noqa: S501 - no TLS
    ):
        group.create_task(dashboard.run(shutdown))
        async with client.stream("GET", "/live/dashboard") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            yield events(response)


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """Read the events of a stream."""
    kind = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


async def next_event(events: AsyncIterator[Event], wanted: str) -> dict[str, Any]:
    """Return the data of the next event of a kind."""
    while (event := await anext(events))[0] != wanted:
        pass
    return event[1]


async def place(intake: OrderService, **changes: object) -> str:
    """Place an order, and return its number."""
    placed = await intake.place(make_order(**changes), request_id="r", key=None)
    return placed.order_number


async def schedule_order(database: Database, number: str, *, ready_at: datetime) -> None:
    """Store an order of an earlier date that is scheduled for a time."""
    sql = await database.dedicated()
    await insert_order(
        sql,
        number=number,
        business_date=date(2024, 12, 1),
        ready_at=ready_at,
        released_at=None,
    )
    await sql.close()


async def test_snapshot_has_all_statistics_in_hours_of_the_business_timezone(
    database: Database,
) -> None:
    clock = FakeClock(NOON - timedelta(days=1))
    intake = make_order_service(database, clock=clock, timezone=ZONE)
    await place(intake)
    clock.now = NOON
    ready, cooking = await place(intake), await place(intake)
    await place(intake, order_type="dine_in", table_number=5)
    await move_through(database, ready, OrderStatus.COOKING, OrderStatus.READY, at=NOON)
    await move_through(database, cooking, OrderStatus.COOKING, at=NOON)
    await make_broker(database).publish([make_order_message()])
    async with database.connection() as connection:
        await workers.register(
            connection, "mario", (OrderType.TAKEOUT,), timedelta(seconds=5), uuid4()
        )
        await connection.execute("UPDATE workers SET last_seen = $1", NOON)
    await schedule_order(database, "ORD_20241201_001", ready_at=NOON + timedelta(hours=3))
    for weeks, later in ((1, 0), (3, 0), (3, 119), (3, 120)):
        clock.now = NOON - timedelta(weeks=weeks) + timedelta(minutes=later)
        past = await place(intake)
        if later == 119:
            await intake.cancel(past, Move(), request_id="r")
        else:
            moves = (OrderStatus.COOKING, OrderStatus.READY)
            await move_through(database, past, *moves, by="anna", at=clock.now)
    clock.now = NOON + timedelta(hours=2)

    async with watch_dashboard(database, clock) as events:
        kind, snapshot = await anext(events)

    assert kind == "snapshot"
    entries = snapshot["entries"]
    outbox, warnings = entries.pop("outbox"), entries.pop("warnings")
    assert entries == {
        "orders": [
            {"hour": "2024-12-16T11:30:00.000Z", "orders": 3},
            {"hour": "2024-12-16T12:30:00.000Z", "orders": 0},
            {"hour": "2024-12-16T13:30:00.000Z", "orders": 0},
        ],
        "now": {
            "waiting": NONE_OPEN | {"dine_in": 1},
            "waiting_since": {"dine_in": "2024-12-16T12:00:00.000Z"},
            "cooking": NONE_OPEN | {"takeout": 1},
            "ready": 0,  # it has been ready for more than half an hour
        },
        "late": {
            "orders": 3,
            "late": 2,
            "share": 2 / 3,
            "by_type": {
                "dine_in": {"orders": 1, "late": 1, "share": 1},
                "takeout": {"orders": 2, "late": 1, "share": 0.5},
            },
        },
        "preparation": {"takeout": {"p50": 0, "p90": 0, "p99": 0}},
        "queues": {
            "kitchen_dine_in_queue": 0,
            "kitchen_takeout_queue": 1,
            "kitchen_delivery_queue": 0,
            "kitchen_queue": 0,
        },
        "dead_letters": 0,
        "today": {"orders": 3, "amount": 28.5},
        "usual": {
            "dates": ["2024-12-09", "2024-11-25"],
            "orders": 1.5,
            "amount": 9.5,
            "per_hour": [
                {"hour": "2024-12-16T11:30:00.000Z", "orders": 1},
                {"hour": "2024-12-16T13:30:00.000Z", "orders": 1},
            ],
        },
        "uncollected": None,  # no order is handed over
        "sold_out": 0,
        "scheduled": {
            "count": 1,
            "soonest": [
                {
                    "order_number": "ORD_20241201_001",
                    "order_type": "takeout",
                    "ready_at": "2024-12-16T15:00:00.000Z",
                    "table_number": None,
                    "table": None,
                    "amount_due": None,
                }
            ],
        },
        "workers": [
            {
                "name": "mario",
                "order_types": ["takeout"],
                "status": "offline",
                "is_silent": True,
                "orders_processed": 0,
                "last_seen": "2024-12-16T12:00:00.000Z",
            }
        ],
    }
    assert outbox["size"] >= 4  # unpublished orders
    # Mario has stopped; the promised time of the orders was one hour and three quarters ago.
    assert [(each["kind"], each["order_types"], each["queue"]) for each in warnings] == [
        ("no_cook_on_duty", ["dine_in"], None),
        ("orders_overdue", ["dine_in", "takeout"], None),
        ("orders_held", ["takeout"], None),
        ("queue_not_consumed", ["takeout"], "kitchen_takeout_queue"),
    ]


async def test_orders_not_fetched_and_items_sold_out_are_counted(database: Database) -> None:
    """After midnight, too, before the first order of the new date is completed."""
    clock = FakeClock()
    intake = make_order_service(database, clock=clock)
    handed_over, old, _ = [await place(intake) for _ in range(3)]
    half_an_hour = timedelta(minutes=30)
    for number, at in (
        (handed_over, NOON),
        (old, NOON),
        (await place(intake), NOON + half_an_hour),
    ):
        await move_through(database, number, OrderStatus.COOKING, OrderStatus.READY, at=at)
    await intake.complete(handed_over, Move(), request_id="r")
    async with database.connection() as connection:
        for item, limit in (("name:soup", Limit(0)), ("name:cake", Limit(1))):
            stored = StoredLimit(item, limit, NOON, None)
            await menu_availability.set_limit(connection, stored, [])
    clock.now += half_an_hour + timedelta(seconds=1)

    async with watch_dashboard(database, clock) as events:
        _, snapshot = await anext(events)
    clock.now = NOON + timedelta(hours=12, minutes=1)
    async with watch_dashboard(database, clock) as events:
        _, after_midnight = await anext(events)

    entries = snapshot["entries"]
    assert entries["uncollected"] == {"count": 1, "since": "2024-12-16T12:00:00.000Z"}
    assert entries["now"]["ready"] == 1
    # The first one has been ready for more than twelve hours.
    assert after_midnight["entries"]["uncollected"] == {
        "count": 1,
        "since": "2024-12-16T12:30:00.000Z",
    }
    assert after_midnight["entries"]["now"]["ready"] == 0
    assert entries["sold_out"] == 1


async def test_change_contains_only_entries_that_changed(database: Database) -> None:
    clock = FakeClock()
    intake = make_order_service(database, clock=clock, timezone=ZONE)
    async with watch_dashboard(database, clock) as events:
        await anext(events)

        await place(intake)
        change = await next_event(events, "change")

    assert set(change["set"]) == {"orders", "today", "now", "late", "outbox"}
    assert change["set"]["now"]["waiting"]["takeout"] == 1
    assert change["unset"] == []


async def test_queues_are_null_while_the_broker_is_unreachable(database: Database) -> None:
    settings = RabbitMQSettings(host="127.0.0.1", port=free_port())
    broker = RabbitMQBroker(settings, DeliverySettings().retry_delays)
    async with watch_dashboard(database, FakeClock(), broker) as events:
        _, snapshot = await anext(events)

    assert snapshot["entries"]["queues"] is None
    assert snapshot["entries"]["dead_letters"] is None
    assert snapshot["entries"]["now"]["ready"] == 0
