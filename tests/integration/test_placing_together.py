"""Orders that come at the same time share a transaction, and each fares as if it were alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from structlog.testing import capture_logs

from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.models.message import OrderReceived, decode
from restaurant_system.services.order.service import OrderService, PlacedOrder
from tests.conftest import open_database
from tests.support.fakes import RecordingBroker
from tests.support.orders import make_order
from tests.support.outbox import emptied
from tests.support.services import FakeClock, make_order_service, make_relay
from tests.support.waiting import eventually

TRANSACTIONS = "SELECT count(DISTINCT xmin::text) FROM orders"
NUMBERS = "SELECT number FROM orders ORDER BY number"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
END_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
"""


async def place(intake: OrderService, key: str | None = None) -> PlacedOrder:
    """Place an order."""
    return await intake.place(make_order(), request_id="request-1", key=key)


@contextlib.asynccontextmanager
async def counter_held(dsn: str) -> AsyncIterator[Database]:
    """Let whoever places an order wait, for as long as the block lasts; yields another way in."""
    async with open_database(dsn) as other, other.transaction() as tx:
        await tx.execute("SELECT FROM order_counters FOR UPDATE")
        yield other


async def waiting(database: Database) -> None:
    """Wait until somebody waits for the counter."""

    async def is_waiting() -> bool:
        async with database.connection() as connection:
            return bool(await connection.fetchval(WAITING))

    await eventually(is_waiting, doing="for a batch to be under way")


async def numbers(database: Database, *, besides: int = 0) -> list[str]:
    """Return the last digits of every order's number, in order, `besides` the first."""
    async with database.connection() as connection:
        return [row["number"][-3:] for row in await connection.fetch(NUMBERS)][besides:]


async def test_orders_that_come_together_share_a_transaction(
    intake: OrderService, database: Database
) -> None:
    """The more come at once, the fewer commits each of them costs."""
    await asyncio.gather(*(place(intake) for _ in range(100)))

    async with database.connection() as connection:
        assert await connection.fetchval(TRANSACTIONS) < 10


async def test_an_order_is_numbered_in_its_turn(intake: OrderService) -> None:
    """Within a transaction, who came first has the smaller number."""
    placed = await asyncio.gather(*(place(intake) for _ in range(50)))

    assert [each.order_number for each in placed] == sorted(each.order_number for each in placed)


async def test_keys_in_any_order_hold_nobody_up(database: Database) -> None:
    """Two processes that are sent the same keys crosswise neither fail nor place one twice."""
    keys = [f"key-{turn}" for turn in range(100)]
    services = [make_order_service(database) for _ in range(2)]

    one, another = await asyncio.gather(
        asyncio.gather(*(place(services[0], key) for key in keys)),
        asyncio.gather(*(place(services[1], key) for key in reversed(keys))),
    )

    assert [each.order_number for each in one] == [each.order_number for each in another[::-1]]
    assert await numbers(database) == [f"{place:03d}" for place in range(1, 101)]


async def test_a_replayed_key_takes_no_number(intake: OrderService, database: Database) -> None:
    """Of a batch in which some keys were used before, only the others are counted."""
    await asyncio.gather(*(place(intake, f"key-{turn}") for turn in range(10)))

    await asyncio.gather(*(place(intake, f"key-{turn}") for turn in range(20)))

    assert await numbers(database) == [f"{place:03d}" for place in range(1, 21)]


async def test_the_order_of_a_guest_who_has_gone_is_sent_to_the_kitchen(
    intake: OrderService, database: Database, dsn: str
) -> None:
    """A transaction that is under way ends for everyone in it, and what it owes is handed over."""
    await place(intake)
    broker = RecordingBroker()
    relay = make_relay(database, broker)
    service = make_order_service(database, relay, clock=FakeClock())

    async with relay.running():
        async with counter_held(dsn) as other:
            gone, stays = (asyncio.create_task(place(service)) for _ in range(2))
            await waiting(other)
            gone.cancel()
        stayed = await stays
        await emptied(database, but_for=1)

    told = [decode(message, OrderReceived).order_number[-3:] for message in broker.taken]
    assert told == ["002", "003"] == await numbers(database, besides=1)
    assert stayed.order_number.endswith("003")


async def test_a_batch_whose_line_is_cut_leaves_nothing(
    intake: OrderService, database: Database, dsn: str
) -> None:
    """Everyone in it is told to try again, with the same key; the log is told once."""
    await place(intake)
    keys = [f"key-{turn}" for turn in range(10)]

    async with counter_held(dsn) as other:
        with capture_logs() as lines:
            placing = [asyncio.create_task(place(intake, key)) for key in keys]
            await waiting(other)
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
