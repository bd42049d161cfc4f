"""Concurrent status look-ups share their queries."""

import asyncio
import contextlib
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
from restaurant_system.errors import OrderNotFound
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.services.tracking.service import TrackingService
from tests.support.orders import make_item, make_order
from tests.support.services import NOON, FakeClock, http_client, make_tracking_service, move_through

EXPENSIVE = [make_item(price=Decimal(101))]


class RecordingDatabase(Database):
    """Records queries, and holds back results until `release` is set."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, DatabaseSettings(), application_name="recording", read_only=True)
        self.queries: list[str] = []
        self.queried = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Acquire a connection; its block ends only once `release` is set."""
        async with super().connection() as connection:
            with connection.query_logger(self._remember):
                yield connection
            self.queried.set()
            await self.release.wait()

    def _remember(self, query: LoggedQuery) -> None:
        # asyncpg looks up the types of a connection's parameters itself, once.
        if "pg_catalog" not in query.query and "set_config" not in query.query:
            self.queries.append(query.query)


@pytest.fixture
async def recorded(dsn: str) -> AsyncIterator[RecordingDatabase]:
    """Connect a `RecordingDatabase` to the test database."""
    database = RecordingDatabase(dsn)
    await database.connect()
    yield database
    await database.close()


@pytest.fixture
def reader(recorded: RecordingDatabase) -> TrackingService:
    """Return a tracking service on the recording database, at noon."""
    return make_tracking_service(recorded, clock=FakeClock())


async def place(intake: OrderService, **changes: object) -> str:
    """Place an order, and return its number."""
    return (await intake.place(make_order(**changes), request_id="r", key=None)).order_number


async def cook(database: Database, number: str) -> None:
    """Start an order at noon, due in ten seconds."""
    await move_through(database, number, OrderStatus.COOKING, due=NOON + timedelta(seconds=10))


async def test_concurrent_lookups_share_a_query(
    reader: TrackingService, recorded: RecordingDatabase, intake: OrderService, database: Database
) -> None:
    numbers = [await place(intake) for _ in range(3)]
    for number in numbers:
        await cook(database, number)

    found = await asyncio.gather(*(reader.status(number) for number in numbers * 5))

    assert [progress.order_number for progress in found] == numbers * 5
    assert recorded.queries == [tracking_queries.STATUSES]


@pytest.mark.usefixtures("exact_estimates")
async def test_estimates_of_concurrent_lookups_share_queries(
    reader: TrackingService, recorded: RecordingDatabase, intake: OrderService, database: Database
) -> None:
    async with database.connection() as connection:
        await workers.register(
            connection, "mario", tuple(OrderType), timedelta(seconds=30), uuid4()
        )
    numbers = [
        *[await place(intake) for _ in range(4)],
        await place(intake, items=EXPENSIVE),
        await place(intake, order_type="dine_in", table_number=5),
    ]
    await cook(database, numbers[0])
    alone = [await reader.status(number) for number in numbers]
    recorded.queries.clear()

    together = await asyncio.gather(*(reader.status(number) for number in numbers))

    assert together == alone
    assert len({progress.estimated_completion for progress in together}) == len(numbers)
    assert len(recorded.queries) == len(set(recorded.queries)) == 5


async def test_lookup_during_a_query_is_answered_by_the_next_query(
    reader: TrackingService, recorded: RecordingDatabase, intake: OrderService, database: Database
) -> None:
    number = await place(intake)
    recorded.release.clear()
    early = reader.status(number)
    await recorded.queried.wait()

    await cook(database, number)
    late = [reader.status(number) for _ in range(2)]
    recorded.release.set()

    assert (await early).current_status is OrderStatus.RECEIVED
    assert [(await each).current_status for each in late] == [OrderStatus.COOKING] * 2


async def test_unknown_number_fails_only_its_own_lookup(
    reader: TrackingService, recorded: RecordingDatabase, intake: OrderService
) -> None:
    number = await place(intake)

    found = await asyncio.gather(
        *(reader.status(each) for each in (number, "ORD_20241216_999", number)),
        return_exceptions=True,
    )

    assert [type(each) for each in found[1:2]] == [OrderNotFound]
    assert found[0] == found[2] == await reader.status(number)
    assert recorded.queries.count(tracking_queries.STATUSES) == 2


async def test_unreachable_database_fails_all_concurrent_lookups(
    reader: TrackingService, recorded: RecordingDatabase
) -> None:
    await recorded.close()

    async with http_client(TrackingHandler(reader).feature()) as client:
        responses = await asyncio.gather(
            *(client.get(f"/orders/ORD_20241216_00{place}/status") for place in range(1, 6))
        )

    assert {response.status_code for response in responses} == {503}


async def test_head_request_of_a_status_is_answered_like_get(
    tracking: httpx.AsyncClient, intake: OrderService
) -> None:
    number = await place(intake)

    assert (await tracking.head(f"/orders/{number}/status")).status_code == 200
