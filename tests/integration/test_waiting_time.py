"""Estimated completion of waiting orders."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest

from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.models.order import Move, OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.handler import TrackingHandler
from tests.support.orders import make_item, make_order
from tests.support.services import (
    NOON,
    FakeClock,
    http_client,
    make_order_service,
    make_tracking_service,
    move_through,
)

# Seconds that an order of each type cooks.
DINE_IN, TAKEOUT, DELIVERY = 8, 10, 12
CHEAP, EXPENSIVE = [make_item()], [make_item(price=Decimal(101))]
TYPE_FIELDS: dict[str, dict[str, object]] = {
    "dine_in": {"table_number": 5},
    "takeout": {},
    "delivery": {"delivery_address": "1 Main Street, Springfield"},
}


class Kitchen:
    """Places orders, registers workers and requests estimates."""

    def __init__(self, database: Database, client: httpx.AsyncClient) -> None:
        self._database = database
        self._client = client
        self._service: OrderService = make_order_service(database, clock=FakeClock())

    async def order(self, order_type: str = "takeout", items: object = CHEAP) -> str:
        """Place an order, and return its number."""
        order = make_order(order_type=order_type, items=items, **TYPE_FIELDS[order_type])
        return (await self._service.place(order, request_id="r", key=None)).order_number

    async def cancel(self, number: str) -> None:
        """Cancel an order."""
        await self._service.cancel(number, Move(), request_id="r")

    async def register(self, name: str, *types: OrderType) -> UUID:
        """Register a worker for these types, by default all."""
        session = uuid4()
        async with self._database.connection() as connection:
            await workers.register(
                connection, name, types or tuple(OrderType), timedelta(seconds=30), session
            )
        return session

    async def start(self, number: str, by: str, *, due_in: float) -> None:
        """Start an order, due in a number of seconds."""
        due = NOON + timedelta(seconds=due_in)
        await move_through(self._database, number, OrderStatus.COOKING, by=by, due=due)

    async def estimate(self, number: str) -> float:
        """Return the estimated seconds until an order is ready."""
        status = (await self._client.get(f"/orders/{number}/status")).json()
        done_at = datetime.fromisoformat(status["estimated_completion"])
        return (done_at - NOON).total_seconds()


@pytest.fixture
async def kitchen(database: Database) -> AsyncIterator[Kitchen]:
    """Return a kitchen without workers, at noon."""
    tracking = make_tracking_service(database, clock=FakeClock())
    async with http_client(TrackingHandler(tracking).feature()) as client:
        yield Kitchen(database, client)


async def test_order_without_others_ahead_takes_its_own_cooking_time(kitchen: Kitchen) -> None:
    """Without online workers, the estimate is that for one worker."""
    assert await kitchen.estimate(await kitchen.order("dine_in")) == DINE_IN
    await kitchen.register("mario")
    assert await kitchen.estimate(await kitchen.order("takeout")) == DINE_IN + TAKEOUT


async def test_earlier_orders_of_all_types_of_the_cook_are_ahead(kitchen: Kitchen) -> None:
    await kitchen.register("mario")
    await kitchen.order("dine_in")
    await kitchen.order("delivery")
    own = await kitchen.order("takeout")
    await kitchen.order("takeout")

    assert await kitchen.estimate(own) == DINE_IN + DELIVERY + TAKEOUT


async def test_orders_of_higher_priority_are_ahead(kitchen: Kitchen) -> None:
    await kitchen.register("mario")
    cheap = await kitchen.order("takeout")
    expensive = await kitchen.order("dine_in", EXPENSIVE)
    expensive_too = await kitchen.order("delivery", EXPENSIVE)

    assert await kitchen.estimate(expensive) == DINE_IN
    assert await kitchen.estimate(expensive_too) == DINE_IN + DELIVERY
    assert await kitchen.estimate(cheap) == DINE_IN + DELIVERY + TAKEOUT


async def test_remaining_time_of_cooking_orders_is_added(kitchen: Kitchen) -> None:
    await kitchen.register("mario")
    first, second, own = [await kitchen.order() for _ in range(3)]
    await kitchen.start(first, "mario", due_in=4)
    await kitchen.start(second, "mario", due_in=-60)

    assert await kitchen.estimate(own) == 4 + TAKEOUT


async def test_cancelled_order_is_not_ahead(kitchen: Kitchen) -> None:
    await kitchen.register("mario")
    first, own = await kitchen.order(), await kitchen.order()
    await kitchen.cancel(first)

    assert await kitchen.estimate(own) == TAKEOUT


async def test_cooks_share_the_orders_ahead(kitchen: Kitchen) -> None:
    await kitchen.register("mario")
    await kitchen.register("luigi")
    first, *_, own = [await kitchen.order() for _ in range(4)]
    await kitchen.start(first, "luigi", due_in=6)

    assert await kitchen.estimate(own) == (6 + 2 * TAKEOUT) / 2 + TAKEOUT


async def test_only_cooks_of_the_type_and_their_orders_count(kitchen: Kitchen) -> None:
    await kitchen.register("mario", OrderType.TAKEOUT)
    await kitchen.register("luigi", OrderType.DELIVERY)
    started = await kitchen.order("delivery")
    await kitchen.start(started, "luigi", due_in=11)
    for order_type in ("delivery", "dine_in", "takeout"):
        await kitchen.order(order_type)

    assert await kitchen.estimate(await kitchen.order("takeout")) == 2 * TAKEOUT
    assert await kitchen.estimate(await kitchen.order("delivery")) == 11 + 2 * DELIVERY


async def test_offline_cooks_do_not_count(kitchen: Kitchen, database: Database) -> None:
    await kitchen.register("mario")
    session = await kitchen.register("luigi")
    await kitchen.register("peach")
    await kitchen.order()
    own = await kitchen.order()
    assert await kitchen.estimate(own) == pytest.approx(TAKEOUT / 3 + TAKEOUT, abs=0.001)

    async with database.connection() as connection:
        await workers.deregister(connection, "luigi", session)
        await connection.execute(
            "UPDATE workers SET last_seen = now() - interval '61 s' WHERE name = 'peach'"
        )

    assert await kitchen.estimate(own) == TAKEOUT + TAKEOUT
