"""What those who ask at the same time share: one round of queries, and nothing of each other."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import httpx
import pytest
from asyncpg.connection import LoggedQuery

from restaurant_system.config import DatabaseSettings
from restaurant_system.database import tracking_queries, workers
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.tracking_queries import QueuePosition
from restaurant_system.errors import OrderNotFound
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.services.tracking.service import TrackingService
from tests.support.orders import make_item, make_order
from tests.support.rows import insert_order
from tests.support.services import NOON, FakeClock, http_client, make_tracking_service, walk

DEAR = [make_item(price=Decimal(101))]


class SpiedDatabase(Database):
    """Remembers what it was asked; holds back what it has answered, when it is told to."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, DatabaseSettings(), application_name="spied", read_only=True)
        self.queries: list[str] = []
        self.asked = asyncio.Event()
        self.hand_over = asyncio.Event()
        self.hand_over.set()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; what is seen on it is looked at only when it is handed over."""
        async with super().connection() as connection:
            with connection.query_logger(self._remember):
                yield connection
            self.asked.set()
            await self.hand_over.wait()

    def _remember(self, query: LoggedQuery) -> None:
        self.queries.append(query.query)


@pytest.fixture
async def spied(dsn: str) -> AsyncIterator[SpiedDatabase]:
    """Open the test's own database with a spy in it."""
    database = SpiedDatabase(dsn)
    await database.connect()
    yield database
    await database.close()


@pytest.fixture
def reader(spied: SpiedDatabase) -> TrackingService:
    """Ask where the spy listens, at noon."""
    return make_tracking_service(spied, clock=FakeClock())


async def place(intake: OrderService, **changes: object) -> str:
    """QueuePosition an order, and return its number."""
    return (await intake.place(make_order(**changes), request_id="r", key=None)).order_number


async def cook(database: Database, number: str) -> None:
    """Have an order begun at noon, for ten seconds."""
    await walk(database, number, OrderStatus.COOKING, due=NOON + timedelta(seconds=10))


async def test_those_who_ask_together_share_a_query(
    reader: TrackingService, spied: SpiedDatabase, intake: OrderService, database: Database
) -> None:
    """However many ask, for one order or for several, the database is asked once."""
    numbers = [await place(intake) for _ in range(3)]
    for number in numbers:
        await cook(database, number)

    found = await asyncio.gather(*(reader.status(number) for number in numbers * 5))

    assert [standing.order_number for standing in found] == numbers * 5
    assert spied.queries == [tracking_queries.STATUSES]


async def test_those_who_wait_share_the_kitchen(
    reader: TrackingService, spied: SpiedDatabase, intake: OrderService, database: Database
) -> None:
    """Who is ahead, who cooks and what is cooking is asked once for all; each is told its own."""
    async with database.connection() as connection:
        for name, types in (("mario", tuple(OrderType)), ("luigi", (OrderType.TAKEOUT,))):
            await workers.register(connection, name, types, timedelta(seconds=30), uuid4())
    numbers = [
        *[await place(intake) for _ in range(4)],
        await place(intake, items=DEAR),
        await place(intake, order_type="dine_in", table_number=5),
    ]
    await cook(database, numbers[0])
    alone = [await reader.status(number) for number in numbers]
    spied.queries.clear()

    together = await asyncio.gather(*(reader.status(number) for number in numbers))

    assert together == alone
    assert len({standing.estimated_completion for standing in together}) == len(numbers)
    assert len(spied.queries) == len(set(spied.queries)) == 4


async def test_who_asks_while_others_are_answered_sees_what_has_happened_since(
    reader: TrackingService, spied: SpiedDatabase, intake: OrderService, database: Database
) -> None:
    """Nobody is given what was read before the question."""
    number = await place(intake)
    spied.hand_over.clear()
    early = reader.status(number)
    await spied.asked.wait()

    await cook(database, number)
    late = [reader.status(number) for _ in range(2)]
    spied.hand_over.set()

    assert (await early).current_status is OrderStatus.RECEIVED
    assert [(await each).current_status for each in late] == [OrderStatus.COOKING] * 2


async def test_a_number_that_is_none_is_its_askers_own(
    reader: TrackingService, spied: SpiedDatabase, intake: OrderService
) -> None:
    """Who asks for an order that is none is told so; who asks at the same time is answered."""
    number = await place(intake)

    found = await asyncio.gather(
        *(reader.status(each) for each in (number, "ORD_20241216_999", number)),
        return_exceptions=True,
    )

    assert [type(each) for each in found[1:2]] == [OrderNotFound]
    assert found[0] == found[2] == await reader.status(number)
    assert spied.queries.count(tracking_queries.STATUSES) == 2


async def test_an_absence_is_everyones(reader: TrackingService, spied: SpiedDatabase) -> None:
    """With the database away everybody is asked to come again."""
    await spied.close()

    async with http_client(TrackingHandler(reader).feature()) as client:
        answers = await asyncio.gather(
            *(client.get(f"/orders/ORD_20241216_00{place}/status") for place in range(1, 6))
        )

    assert {answer.status_code for answer in answers} == {503}


ONE_BY_ONE = """
SELECT type, count(*) AS orders FROM orders
WHERE status = 'received' AND (priority > $1 OR (priority = $1 AND id < $2)) GROUP BY type
"""
PRICES = {1: Decimal("9.50"), 5: Decimal(60), 10: Decimal(101)}
BELONGINGS: dict[str, dict[str, object]] = {
    "dine_in": {"table_number": 5},
    "takeout": {},
    "delivery": {"delivery_address": "1 Main Street, Springfield"},
}


async def test_who_is_ahead_of_each(database: Database) -> None:
    """Counted for many at once, as many are ahead of each as counted for it alone."""
    dice = random.Random(7)  # noqa: S311 - for a mixed queue, the same each time
    line, sql = [], await database.dedicated()
    for _ in range(60):
        priority, kind = dice.choice(list(PRICES)), dice.choice(list(BELONGINGS))
        order = {"type": kind, "priority": priority, "total_amount": PRICES[priority]}
        line.append(QueuePosition(priority, await insert_order(sql, **order, **BELONGINGS[kind])))
    await sql.close()
    async with database.connection() as connection:
        asked = [
            line[30],
            *dice.sample(line, 20),
            QueuePosition(5, line[-1].order_id + 9),
            line[30],
        ]

        together = await tracking_queries.waiting_ahead(connection, asked)
        for place, ahead in zip(asked, together, strict=True):
            counted = await connection.fetch(ONE_BY_ONE, place.priority, place.order_id)
            alone = {OrderType(row["type"]): row["orders"] for row in counted}
            assert {kind: count for kind, count in ahead.items() if count} == alone


async def test_an_address_may_be_asked_for_without_its_answer(
    tracking: httpx.AsyncClient, intake: OrderService
) -> None:
    """HEAD of a status is answered as GET is."""
    number = await place(intake)

    assert (await tracking.head(f"/orders/{number}/status")).status_code == 200
