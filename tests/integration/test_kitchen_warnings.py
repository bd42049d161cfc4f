"""Warnings about the kitchen, in GET /stats and in the log."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from restaurant_system.config import DeliverySettings, RabbitMQSettings
from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.services.order.warning_log import WarningLog
from restaurant_system.services.tracking.handler import TrackingHandler
from tests.support.logs import capture_logs
from tests.support.messages import make_order_message
from tests.support.processes import free_port
from tests.support.rows import insert_order, insert_worker
from tests.support.services import (
    NOON,
    FakeClock,
    http_client,
    make_broker,
    make_tracking_service,
)

UTC_DAY = BusinessDay(ZoneInfo("UTC"))
YESTERDAY = NOON - timedelta(days=1)
START = "UPDATE orders SET status = 'cooking', processed_by = $2 WHERE id = $1"


async def waiting_order(
    database: Database, order_type: str, *, released: datetime, promised: timedelta
) -> int:
    """Insert an order that waits; return its id."""
    async with database.connection() as connection:
        return await insert_order(
            connection,
            type=order_type,
            created_at=released,
            released_at=released,
            promised_at=released + promised,
            rank_at=released + promised,
            **({"delivery_address": "1 Main Street"} if order_type == "delivery" else {}),
        )


async def warnings(database: Database, broker: Broker | None = None) -> list[dict[str, Any]]:
    """Return the warnings of GET /stats at noon."""
    service = make_tracking_service(database, broker, clock=FakeClock())
    async with http_client(TrackingHandler(service).feature()) as client:
        found: list[dict[str, Any]] = (await client.get("/stats")).json()["warnings"]
    return found


def warning(kind: str, since: datetime | None, count: int, **about: object) -> dict[str, Any]:
    """Return a warning as in a response, without its message."""
    stamp = None if since is None else f"{since:%Y-%m-%dT%H:%M:%S}.000Z"
    nothing: dict[str, object] = {"order_types": [], "queue": None, "station": None, "orders": []}
    return {"kind": kind, "since": stamp, "count": count, **nothing, **about}


async def test_stats_report_all_that_is_wrong_the_most_urgent_first(database: Database) -> None:
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    for _ in range(2):
        await waiting_order(database, "delivery", released=NOON - 2 * minute, promised=minute)
    await waiting_order(database, "delivery", released=NOON - minute, promised=hour)
    await waiting_order(database, "takeout", released=YESTERDAY, promised=minute)
    started = await waiting_order(database, "takeout", released=NOON - hour, promised=2 * hour)
    async with database.connection() as connection:
        await insert_worker(connection, name="mario", heartbeat_interval=10_000 * 24 * hour)
        await insert_worker(connection, name="grill", status="offline")
        await connection.execute("UPDATE workers SET last_seen = $1", NOON - minute)
        await connection.execute("UPDATE workers SET type = 'takeout,dine_in'")
        await connection.execute(START, started, "grill")
        await connection.execute(
            "INSERT INTO station_tickets (order_id, station) VALUES ($1, 'grill')", started
        )
        held = await connection.fetchval(
            "SELECT number FROM orders WHERE released_at = $1", YESTERDAY
        )
        late = await connection.fetch(
            "SELECT number FROM orders WHERE released_at = $1 ORDER BY id", NOON - 2 * minute
        )
    await make_broker(database).publish([make_order_message(order_type="delivery")])

    found = await warnings(database)

    assert all(each.pop("message") for each in found)
    assert found == [
        warning("no_cook_on_duty", NOON - 2 * minute, 3, order_types=["delivery"]),
        warning(
            "orders_overdue",
            NOON - minute,
            2,
            order_types=["delivery"],
            orders=[row["number"] for row in late],
        ),
        warning("orders_held", YESTERDAY, 1, order_types=["takeout"], orders=[held]),
        warning("station_without_screen", NOON - minute, 1, station="grill"),
        warning(
            "queue_not_consumed",
            NOON - 2 * minute,
            1,
            order_types=["delivery"],
            queue="kitchen_delivery_queue",
        ),
    ]


async def test_each_warning_is_logged_once_when_it_begins_and_once_when_it_ends(
    database: Database,
) -> None:
    """Of several processes one logs it, and none again after a restart."""
    await waiting_order(database, "takeout", released=YESTERDAY, promised=timedelta(minutes=1))
    broker = make_broker(database)

    def processes() -> list[WarningLog]:
        return [
            WarningLog(database, broker, clock=FakeClock(), business_day=UTC_DAY) for _ in range(3)
        ]

    with capture_logs() as lines:
        await asyncio.gather(*(process.check() for process in processes()))
        for process in processes():
            await process.check()
    began = [line for line in lines if line["event"] == "kitchen_warning_began"]
    async with database.connection() as connection:
        await connection.execute("UPDATE orders SET status = 'cancelled'")
    with capture_logs() as lines:
        for process in processes():
            await process.check()

    assert [(line["kind"], line["since"]) for line in began] == [
        ("orders_held", "2024-12-15T12:00:00.000Z")
    ]
    assert [(line["event"], line["kind"]) for line in lines] == [
        ("kitchen_warning_ended", "orders_held")
    ]


async def test_warning_about_a_queue_neither_begins_nor_ends_while_the_broker_is_away(
    database: Database,
) -> None:
    broker = make_broker(database)
    await broker.publish([make_order_message()])
    settings = RabbitMQSettings(host="127.0.0.1", port=free_port())
    away = RabbitMQBroker(settings, DeliverySettings().retry_delays)

    with capture_logs() as lines:
        for each in (broker, away, away, broker):
            await WarningLog(database, each, clock=FakeClock(), business_day=UTC_DAY).check()

    assert [line["event"] for line in lines] == ["kitchen_warning_began"]
    assert await warnings(database, away) == []
