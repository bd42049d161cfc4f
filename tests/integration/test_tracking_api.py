import re
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import httpx
import pytest

from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.models.order import OPTIONAL_OF_ORDER, Move, NewOrder, OrderType
from restaurant_system.models.order_items import OPTIONAL_OF_ITEM
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from tests.support.orders import make_complete_orders, make_item, make_order
from tests.support.services import NOON, FakeClock, move_through

RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")


async def place(intake: OrderService, **changes: object) -> str:
    """Place an order, and return its number."""
    placed = await intake.place(make_order(**changes), request_id="request-1", key=None)
    return placed.order_number


@pytest.mark.usefixtures("cook_on_duty")
async def test_status_has_stage_time_worker_and_estimate(
    tracking: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    number = await place(intake)
    stages = [(await tracking.get(f"/orders/{number}/status")).json()]

    clock.now += timedelta(seconds=1)
    await move_through(
        database, number, OrderStatus.COOKING, at=clock.now, due=clock.now + timedelta(seconds=10)
    )
    stages.append((await tracking.get(f"/orders/{number}/status")).json())
    clock.now += timedelta(seconds=10)
    await _finish(database, number, clock)
    stages.append((await tracking.get(f"/orders/{number}/status")).json())
    clock.now += timedelta(seconds=60)
    await intake.complete(number, Move(), request_id="request-2")
    stages.append((await tracking.get(f"/orders/{number}/status")).json())

    assert [tuple(stage.values()) for stage in stages] == [
        (number, "received", "2024-12-16T12:00:00.000Z", "2024-12-16T12:00:10.000Z", None),
        (number, "cooking", "2024-12-16T12:00:01.000Z", "2024-12-16T12:00:11.000Z", "mario"),
        (number, "ready", "2024-12-16T12:00:11.000Z", None, "mario"),
        (number, "completed", "2024-12-16T12:01:11.000Z", None, "mario"),
    ]
    assert list(stages[0]) == [
        *("order_number", "current_status", "updated_at", "estimated_completion", "processed_by")
    ]


async def _finish(database: Database, number: str, clock: FakeClock) -> None:
    async with database.connection() as connection:
        await connection.execute(
            """UPDATE orders SET status = 'ready', updated_at = $2, completed_at = $2,
               estimated_completion = NULL WHERE number = $1""",
            number,
            clock.now,
        )


async def test_cancelled_order_has_no_estimate(
    tracking: httpx.AsyncClient, intake: OrderService
) -> None:
    number = await place(intake)
    await intake.cancel(number, Move(), request_id="request-2")

    status = (await tracking.get(f"/orders/{number}/status")).json()

    assert status["current_status"] == "cancelled"
    assert status["estimated_completion"] is None
    assert status["processed_by"] is None


async def test_history_lists_each_status_change_oldest_first(
    tracking: httpx.AsyncClient, intake: OrderService, database: Database, clock: FakeClock
) -> None:
    number, other = await place(intake), await place(intake)
    await move_through(
        database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON + timedelta(seconds=9)
    )
    await intake.cancel(other, Move(), request_id="request-2")
    clock.now += timedelta(minutes=1)
    await intake.complete(number, Move(changed_by="anna"), request_id="request-2")

    response = await tracking.get(f"/orders/{number}/history")

    assert response.status_code == 200
    assert response.json() == [
        {
            "status": "received",
            "timestamp": "2024-12-16T12:00:00.000Z",
            "changed_by": "order-service",
        },
        {"status": "cooking", "timestamp": "2024-12-16T12:00:09.000Z", "changed_by": "mario"},
        {"status": "ready", "timestamp": "2024-12-16T12:00:09.000Z", "changed_by": "mario"},
        {"status": "completed", "timestamp": "2024-12-16T12:01:00.000Z", "changed_by": "anna"},
    ]


async def test_order_is_returned_with_its_items(
    tracking: httpx.AsyncClient, intake: OrderService
) -> None:
    number = await place(
        intake,
        order_type="delivery",
        delivery_address="1 Main Street, Springfield",
        items=[
            make_item(name="Soup", price=Decimal("15.99"), quantity=3, notes="hot"),
            make_item(name="Bread", price=2),
        ],
        notes="ring twice",
    )

    assert (await tracking.get(f"/orders/{number}")).json() == {
        "order_number": number,
        "customer_name": "Ada Lovelace",
        "order_type": "delivery",
        "table_number": None,
        "delivery_address": "1 Main Street, Springfield",
        "items": [
            {"name": "Soup", "quantity": 3, "price": 15.99, "notes": "hot"},
            {"name": "Bread", "quantity": 1, "price": 2.0, "notes": None},
        ],
        "notes": "ring twice",
        "total_amount": 49.97,
        "priority": 1,
        "status": "received",
        "processed_by": None,
        "created_at": "2024-12-16T12:00:00.000Z",
        "updated_at": "2024-12-16T12:00:00.000Z",
        "completed_at": None,
        "estimated_completion": None,
        "scheduled": False,
        "released_at": "2024-12-16T12:00:00.000Z",
    }


@pytest.mark.parametrize("order", make_complete_orders(), ids=lambda order: order.order_type)
async def test_complete_order_is_returned_as_it_was_placed(
    tracking: httpx.AsyncClient, intake: OrderService, order: NewOrder
) -> None:
    number = (await intake.place(order, request_id="request-1", key=None)).order_number

    shown = (await tracking.get(f"/orders/{number}")).json()

    sent = order.model_dump(mode="json")
    for fields in (sent, *sent["items"]):
        for name in OPTIONAL_OF_ORDER | OPTIONAL_OF_ITEM:
            if fields.get(name) in (None, []):
                fields.pop(name, None)
    assert sent.items() <= shown.items()
    assert (shown["total_amount"], shown["items_total"]) == (15.05, 20.4)
    assert (await tracking.get("/orders?reference=84H9B")).json()["orders"] == [shown]


async def test_worker_is_offline_after_deregistering_or_two_missed_heartbeats(
    tracking: httpx.AsyncClient, database: Database
) -> None:
    sessions = {name: uuid4() for name in ("anna", "bruno", "carla", "dario")}
    async with database.connection() as connection:
        for name, seconds in (("anna", 30), ("bruno", 30), ("carla", 5), ("dario", 30)):
            await workers.register(
                connection, name, tuple(OrderType), timedelta(seconds=seconds), sessions[name]
            )
        await connection.execute("UPDATE workers SET last_seen = now() - interval '15 s'")
        await workers.deregister(connection, "dario", sessions["dario"])
        await connection.execute("UPDATE workers SET orders_processed = 1 WHERE name = 'anna'")
        await connection.execute(
            "UPDATE workers SET last_seen = now() - interval '61 s' WHERE name = 'bruno'"
        )

    found = (await tracking.get("/workers/status")).json()

    assert [list(worker) for worker in found] == [
        ["worker_name", "status", "orders_processed", "last_seen"]
    ] * 4
    assert [(each["worker_name"], each["status"], each["orders_processed"]) for each in found] == [
        ("anna", "online", 1),
        ("bruno", "offline", 0),
        ("carla", "offline", 0),
        ("dario", "offline", 0),
    ]
    assert all(RFC_3339.fullmatch(each["last_seen"]) for each in found)
