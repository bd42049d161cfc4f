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
    move,
    move_through,
)

pytestmark = pytest.mark.usefixtures("exact_estimates")

# Seconds that an order of each type cooks.
DINE_IN, TAKEOUT, DELIVERY = 8, 10, 12
CHEAP, EXPENSIVE = [make_item()], [make_item(price=Decimal(101))]
TYPES = ("delivery", "dine_in", "takeout")
READY = OrderStatus.READY
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

    async def register(self, name: str, *types: OrderType, capacity: int = 1) -> UUID:
        """Register a worker for these types, by default all."""
        session = uuid4()
        async with self._database.connection() as connection:
            await workers.register(
                connection,
                name,
                types or tuple(OrderType),
                timedelta(seconds=30),
                session,
                capacity=capacity,
            )
        return session

    async def start(self, number: str, by: str, *, due_in: float) -> None:
        """Start an order, a minute before it is due in a number of seconds."""
        due = NOON + timedelta(seconds=due_in)
        at = due - timedelta(minutes=1)
        await move_through(self._database, number, OrderStatus.COOKING, by=by, due=due, at=at)

    async def finish(self, *seconds: float, order_type: str = "takeout") -> None:
        """Cook an order for each of these durations, before noon."""
        started = NOON - timedelta(hours=3)
        for each in seconds:
            number = await self.order(order_type)
            moves = (OrderStatus.RECEIVED, OrderStatus.COOKING), (OrderStatus.COOKING, READY)
            for (origin, target), after in zip(moves, (0, each), strict=True):
                at = started + timedelta(seconds=after)
                await move(self._database, number, origin, target, at=at, by="mario")

    async def estimate(self, number: str) -> float | None:
        """Return the estimated seconds until an order is ready."""
        status = (await self._client.get(f"/orders/{number}/status")).json()
        if status["estimated_completion"] is None:
            return None
        done_at = datetime.fromisoformat(status["estimated_completion"])
        return (done_at - NOON).total_seconds()


@pytest.fixture
async def kitchen(database: Database) -> AsyncIterator[Kitchen]:
    """Return a kitchen without workers, at noon."""
    tracking = make_tracking_service(database, clock=FakeClock())
    async with http_client(TrackingHandler(tracking).feature()) as client:
        yield Kitchen(database, client)


async def test_order_without_others_ahead_takes_its_own_cooking_time(kitchen: Kitchen) -> None:
    await kitchen.register("mario")
    assert await kitchen.estimate(await kitchen.order("dine_in")) == DINE_IN
    assert await kitchen.estimate(await kitchen.order("takeout")) == DINE_IN + TAKEOUT
    await kitchen.register("luigi", capacity=2)
    assert await kitchen.estimate(await kitchen.order("takeout")) == TAKEOUT


async def test_orders_promised_earlier_are_ahead_whatever_their_type(kitchen: Kitchen) -> None:
    """A delivery is promised for later than a takeout order that is placed at the same time."""
    await kitchen.register("mario")
    delivery = await kitchen.order("delivery")
    await kitchen.order("dine_in")
    own = await kitchen.order("takeout")
    await kitchen.order("takeout")

    assert await kitchen.estimate(own) == DINE_IN + TAKEOUT
    assert await kitchen.estimate(delivery) == DINE_IN + 2 * TAKEOUT + DELIVERY


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
    first, own = [await kitchen.order() for _ in range(2)]
    await kitchen.start(first, "mario", due_in=4)

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

    assert await kitchen.estimate(own) == 2 * TAKEOUT


async def test_only_cooks_of_the_type_and_their_orders_count(kitchen: Kitchen) -> None:
    await kitchen.register("mario", OrderType.TAKEOUT)
    await kitchen.register("luigi", OrderType.DELIVERY)
    started = await kitchen.order("delivery")
    await kitchen.start(started, "luigi", due_in=11)
    delivery, dine_in, _ = [await kitchen.order(each) for each in TYPES]

    assert await kitchen.estimate(await kitchen.order("takeout")) == 2 * TAKEOUT
    assert await kitchen.estimate(delivery) == 11 + DELIVERY
    assert await kitchen.estimate(dine_in) is None, "no cook on duty prepares it"
    assert await kitchen.estimate(await kitchen.order("delivery")) == 11 + 2 * DELIVERY


async def test_offline_cooks_do_not_count(kitchen: Kitchen, database: Database) -> None:
    await kitchen.register("mario")
    session = await kitchen.register("luigi")
    await kitchen.register("peach")
    await kitchen.order()
    own = await kitchen.order()
    assert await kitchen.estimate(own) == TAKEOUT

    async with database.connection() as connection:
        await workers.deregister(connection, "luigi", session)
        await connection.execute(
            "UPDATE workers SET last_seen = now() - interval '61 s' WHERE name = 'peach'"
        )

    assert await kitchen.estimate(own) == TAKEOUT + TAKEOUT


async def test_estimate_uses_the_times_of_recent_orders(kitchen: Kitchen) -> None:
    """In a kitchen of people, an order that waits is not promised in the time of a simulation."""
    await kitchen.finish(300, 540, 600, 660, 9000)
    await kitchen.register("mario")
    await kitchen.order("takeout")
    await kitchen.order("dine_in")

    assert await kitchen.estimate(await kitchen.order("takeout")) == 600 + DINE_IN + 600


async def test_overdue_order_is_estimated_by_orders_that_took_as_long(kitchen: Kitchen) -> None:
    """An estimate that has passed is replaced, also for the orders that wait behind it."""
    await kitchen.finish(20, 30, 90, 150)
    await kitchen.register("mario")
    cooking = await kitchen.order()
    await kitchen.start(cooking, "mario", due_in=-10)  # it has been cooking for 70 s

    assert await kitchen.estimate(cooking) == 50
    assert await kitchen.estimate(await kitchen.order()) == 50 + 60


async def test_overdue_order_that_took_longer_than_any_other_is_expected_now(
    kitchen: Kitchen,
) -> None:
    await kitchen.register("mario")
    cooking = await kitchen.order()
    await kitchen.start(cooking, "mario", due_in=-3600)

    assert await kitchen.estimate(cooking) == 0


async def test_cook_with_several_orders_at_a_time_takes_as_many_from_the_queue(
    kitchen: Kitchen,
) -> None:
    await kitchen.register("mario")
    for due_in in (2, 4, 6):
        await kitchen.start(await kitchen.order(), "mario", due_in=due_in)
    waiting = [await kitchen.order() for _ in range(4)]

    assert [await kitchen.estimate(each) for each in waiting] == [12, 14, 16, 22]


async def test_order_of_an_earlier_business_date_has_no_estimate(
    kitchen: Kitchen, database: Database
) -> None:
    """It is held: no cook takes it without a person's decision, so it is not ahead of others."""
    await kitchen.register("mario")
    old = await kitchen.order()
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE orders SET released_at = $1", NOON - timedelta(hours=12, seconds=1)
        )
    new = await kitchen.order()

    assert await kitchen.estimate(old) is None
    assert await kitchen.estimate(new) == TAKEOUT
