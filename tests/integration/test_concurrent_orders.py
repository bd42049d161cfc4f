"""Concurrent orders share a transaction without affecting each other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.models.message import OrderReceived, decode
from restaurant_system.services.order.service import OrderService, PlacedOrder
from tests.conftest import open_database
from tests.support.database import wait_for_lock_wait
from tests.support.fakes import RecordingBroker
from tests.support.logs import capture_logs
from tests.support.orders import make_order
from tests.support.outbox import wait_until_outbox_is_empty
from tests.support.services import FakeClock, make_order_service, make_relay

TRANSACTIONS = "SELECT count(DISTINCT xmin::text) FROM orders"
NUMBERS = "SELECT number FROM orders ORDER BY number"
END_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
"""


async def place(intake: OrderService, key: str | None = None) -> PlacedOrder:
    """Place an order, by default without a key."""
    return await intake.place(make_order(), request_id="request-1", key=key)


@contextlib.asynccontextmanager
async def counter_locked(dsn: str) -> AsyncIterator[Database]:
    """Lock the counter of orders while the block runs; yield another connection pool."""
    async with open_database(dsn) as other, other.transaction() as tx:
        await tx.execute("SELECT FROM order_counters FOR UPDATE")
        yield other


async def numbers(database: Database, *, besides: int = 0) -> list[str]:
    """Return the last three digits of all order numbers, without the first `besides`."""
    async with database.connection() as connection:
        return [row["number"][-3:] for row in await connection.fetch(NUMBERS)][besides:]


async def test_concurrent_orders_share_transactions(
    intake: OrderService, database: Database
) -> None:
    await asyncio.gather(*(place(intake) for _ in range(100)))

    async with database.connection() as connection:
        assert await connection.fetchval(TRANSACTIONS) < 10


async def test_orders_of_a_batch_are_numbered_in_the_sequence_of_their_arrival(
    intake: OrderService,
) -> None:
    placed = await asyncio.gather(*(place(intake) for _ in range(50)))

    assert [each.order_number for each in placed] == sorted(each.order_number for each in placed)


async def test_each_order_of_a_batch_is_logged_with_its_request_before_it_is_acknowledged(
    intake: OrderService,
) -> None:
    async def place_for(request_id: str) -> tuple[str, str, bool]:
        placed = await intake.place(make_order(), request_id=request_id, key=None)
        logged = [(line["request_id"], line["order_number"]) for line in lines]
        return request_id, placed.order_number, (request_id, placed.order_number) in logged

    with capture_logs() as lines:
        placed = await asyncio.gather(*(place_for(f"request-{turn}") for turn in range(20)))

    assert all(is_logged for _, _, is_logged in placed)
    received = [line for line in lines if line["event"] == "order_received"]
    assert {(line["request_id"], line["order_number"]) for line in received} == {
        (request_id, number) for request_id, number, _ in placed
    }
    assert len(received) == len(placed)


async def test_processes_with_the_same_keys_in_opposite_order_do_not_deadlock(
    database: Database,
) -> None:
    """Each key stores one order, although the batches lock keys in opposite order."""
    keys = [f"key-{turn}" for turn in range(100)]
    services = [make_order_service(database) for _ in range(2)]

    one, another = await asyncio.gather(
        asyncio.gather(*(place(services[0], key) for key in keys)),
        asyncio.gather(*(place(services[1], key) for key in reversed(keys))),
    )

    assert [each.order_number for each in one] == [each.order_number for each in another[::-1]]
    assert await numbers(database) == [f"{place:03d}" for place in range(1, 101)]


async def test_replayed_key_draws_no_number(intake: OrderService, database: Database) -> None:
    await asyncio.gather(*(place(intake, f"key-{turn}") for turn in range(10)))

    await asyncio.gather(*(place(intake, f"key-{turn}") for turn in range(20)))

    assert await numbers(database) == [f"{place:03d}" for place in range(1, 21)]


async def test_order_of_a_client_that_disconnects_during_the_batch_is_published(
    intake: OrderService, database: Database, dsn: str
) -> None:
    await place(intake)
    broker = RecordingBroker()
    relay = make_relay(database, broker)
    service = make_order_service(database, relay, clock=FakeClock())

    async with relay.running():
        async with counter_locked(dsn) as other:
            gone, stays = (asyncio.create_task(place(service)) for _ in range(2))
            await wait_for_lock_wait(other)
            gone.cancel()
        stayed = await stays
        await wait_until_outbox_is_empty(database, but_for=1)

    published = [decode(message, OrderReceived).order_number[-3:] for message in broker.taken]
    assert published == ["002", "003"] == await numbers(database, besides=1)
    assert stayed.order_number.endswith("003")


async def test_batch_whose_connection_breaks_stores_nothing_and_can_be_retried(
    intake: OrderService, database: Database, dsn: str
) -> None:
    """The failure of a batch is logged once, not for each order."""
    await place(intake)
    keys = [f"key-{turn}" for turn in range(10)]

    async with counter_locked(dsn) as other:
        with capture_logs() as lines:
            placing = [asyncio.create_task(place(intake, key)) for key in keys]
            await wait_for_lock_wait(other)
            async with other.connection() as connection:
                await connection.execute(END_WAITING)
            outcomes = await asyncio.gather(*placing, return_exceptions=True)
        assert {type(each) for each in outcomes} == {DatabaseUnavailable}
    failures = [line["message"] for line in lines if line["event"] == "db_transaction_failed"]
    assert failures == ["Orders could not be stored: 10."]
    assert await numbers(database) == ["001"]

    again = await asyncio.gather(*(place(intake, key) for key in keys))

    assert not any(each.replayed for each in again)
    assert await numbers(database, besides=1) == [f"{place:03d}" for place in range(2, 12)]
