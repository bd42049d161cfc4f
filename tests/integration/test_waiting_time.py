"""What a guest who waits is told: who is ahead, and who cooks."""

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
    walk,
)

# Seconds that an order of each type cooks.
DINE_IN, TAKEOUT, DELIVERY = 8, 10, 12
CHEAP, DEAR = [make_item()], [make_item(price=Decimal(101))]
BELONGINGS: dict[str, dict[str, object]] = {
    "dine_in": {"table_number": 5},
    "takeout": {},
    "delivery": {"delivery_address": "1 Main Street, Springfield"},
}


class Counter:
    """Where guests order, wait and ask."""

    def __init__(self, database: Database, client: httpx.AsyncClient) -> None:
        self._database = database
        self._client = client
        self._service: OrderService = make_order_service(database, clock=FakeClock())

    async def order(self, order_type: str = "takeout", items: object = CHEAP) -> str:
        """Order, and return the number."""
        order = make_order(order_type=order_type, items=items, **BELONGINGS[order_type])
        return (await self._service.place(order, request_id="r", key=None)).order_number

    async def cancel(self, number: str) -> None:
        """Call an order off."""
        await self._service.cancel(number, Move(), request_id="r")

    async def hire(self, name: str, *types: OrderType) -> UUID:
        """Have somebody cook these types, or everything."""
        session = uuid4()
        async with self._database.connection() as connection:
            await workers.register(
                connection, name, types or tuple(OrderType), timedelta(seconds=30), session
            )
        return session

    async def begin(self, number: str, by: str, *, due_in: float) -> None:
        """Have somebody begin an order."""
        due = NOON + timedelta(seconds=due_in)
        await walk(self._database, number, OrderStatus.COOKING, by=by, due=due)

    async def wait(self, number: str) -> float:
        """Ask for the seconds until an order is ready."""
        status = (await self._client.get(f"/orders/{number}/status")).json()
        done_at = datetime.fromisoformat(status["estimated_completion"])
        return (done_at - NOON).total_seconds()


@pytest.fixture
async def counter(database: Database) -> AsyncIterator[Counter]:
    """Open the counter, at noon."""
    tracking = make_tracking_service(database, clock=FakeClock())
    async with http_client(TrackingHandler(tracking).feature()) as client:
        yield Counter(database, client)


async def test_an_empty_kitchen(counter: Counter) -> None:
    """With nobody ahead an order takes its own time, by its type; with no cook, as if one came."""
    assert await counter.wait(await counter.order("dine_in")) == DINE_IN
    await counter.hire("mario")
    assert await counter.wait(await counter.order("takeout")) == DINE_IN + TAKEOUT


async def test_who_is_ahead(counter: Counter) -> None:
    """Orders that came before, of any type that the cook cooks, come first."""
    await counter.hire("mario")
    await counter.order("dine_in")
    await counter.order("delivery")
    mine = await counter.order("takeout")
    await counter.order("takeout")

    assert await counter.wait(mine) == DINE_IN + DELIVERY + TAKEOUT


async def test_priority(counter: Counter) -> None:
    """A more urgent order comes first though it came later, and a less urgent one does not."""
    await counter.hire("mario")
    cheap = await counter.order("takeout")
    dear = await counter.order("dine_in", DEAR)
    dear_too = await counter.order("delivery", DEAR)

    assert await counter.wait(dear) == DINE_IN
    assert await counter.wait(dear_too) == DINE_IN + DELIVERY
    assert await counter.wait(cheap) == DINE_IN + DELIVERY + TAKEOUT


async def test_what_is_cooking(counter: Counter) -> None:
    """What a cook has in hand has to be done first, as far as it is not done yet."""
    await counter.hire("mario")
    first, second, mine = [await counter.order() for _ in range(3)]
    await counter.begin(first, "mario", due_in=4)
    await counter.begin(second, "mario", due_in=-60)

    assert await counter.wait(mine) == 4 + TAKEOUT


async def test_who_is_out_of_the_way(counter: Counter) -> None:
    """An order that was cancelled keeps nobody waiting."""
    await counter.hire("mario")
    first, mine = await counter.order(), await counter.order()
    await counter.cancel(first)

    assert await counter.wait(mine) == TAKEOUT


async def test_several_cooks(counter: Counter) -> None:
    """Cooks share what is ahead."""
    await counter.hire("mario")
    await counter.hire("luigi")
    first, *_, mine = [await counter.order() for _ in range(4)]
    await counter.begin(first, "luigi", due_in=6)

    assert await counter.wait(mine) == (6 + 2 * TAKEOUT) / 2 + TAKEOUT


async def test_specialised_cooks(counter: Counter) -> None:
    """Only those count who cook this type, and only what they cook too is ahead."""
    await counter.hire("mario", OrderType.TAKEOUT)
    await counter.hire("luigi", OrderType.DELIVERY)
    begun = await counter.order("delivery")
    await counter.begin(begun, "luigi", due_in=11)
    for order_type in ("delivery", "dine_in", "takeout"):
        await counter.order(order_type)

    assert await counter.wait(await counter.order("takeout")) == 2 * TAKEOUT
    assert await counter.wait(await counter.order("delivery")) == 11 + 2 * DELIVERY


async def test_who_has_gone_home(counter: Counter, database: Database) -> None:
    """A cook who left or has fallen silent cooks nothing of what is ahead."""
    await counter.hire("mario")
    session = await counter.hire("luigi")
    await counter.hire("peach")
    await counter.order()
    mine = await counter.order()
    assert await counter.wait(mine) == pytest.approx(TAKEOUT / 3 + TAKEOUT, abs=0.001)

    async with database.connection() as connection:
        await workers.deregister(connection, "luigi", session)
        await connection.execute(
            "UPDATE workers SET last_seen = now() - interval '61 s' WHERE name = 'peach'"
        )

    assert await counter.wait(mine) == TAKEOUT + TAKEOUT
