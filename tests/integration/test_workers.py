import asyncio
from datetime import timedelta
from typing import NoReturn
from uuid import UUID, uuid4

import pytest

from restaurant_system.app.runtime import background_task
from restaurant_system.config import KitchenSettings
from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import Worker, WorkerStatus
from restaurant_system.services.order import cleanup
from tests.support.waiting import eventually

INTERVAL = timedelta(seconds=30)
DAY = timedelta(days=1)
TWO_DAYS = 2 * 86_400.0  # s

MANY_OFFLINE = """
INSERT INTO workers (name, type, status, last_seen, heartbeat_interval, session)
SELECT 'station_' || n, 'takeout', 'offline', now() - n * interval '1 minute',
       interval '5 seconds', gen_random_uuid()
FROM generate_series(1, 1000) AS n
"""
AN_ORDER_COOKING = """
INSERT INTO orders (number, business_date, customer_name, type, total_amount, priority)
VALUES ('ORD_20241216_001', '2024-12-16', 'Ada', 'takeout', 9.50, 1);
UPDATE orders SET status = 'cooking', processed_by = 'mario', estimated_completion = now()
"""
A_TICKET = """
INSERT INTO orders (number, business_date, customer_name, type, total_amount, priority)
VALUES ('ORD_20241216_001', '2024-12-16', 'Ada', 'takeout', 9.50, 1);
INSERT INTO station_tickets (order_id, station) SELECT id, 'mario' FROM orders
"""


class Workers:
    """The workers table of a test's database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def register(
        self,
        name: str = "mario",
        *types: OrderType,
        interval: timedelta = INTERVAL,
        session: UUID | None = None,
    ) -> bool:
        """Register a worker for these order types, or for all."""
        async with self.database.connection() as connection:
            return await workers.register(
                connection, name, types or tuple(OrderType), interval, session or uuid4()
            )

    async def heartbeat(self, name: str, session: UUID) -> bool:
        """Send a heartbeat of a worker."""
        async with self.database.connection() as connection:
            return await workers.heartbeat(connection, name, session)

    async def deregister(self, name: str, session: UUID) -> None:
        """Deregister a worker."""
        async with self.database.connection() as connection:
            await workers.deregister(connection, name, session)

    async def count_order(self, name: str) -> None:
        """Count an order as finished by a worker."""
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE workers SET orders_processed = orders_processed + 1 WHERE name = $1", name
            )

    async def is_online(self, name: str = "mario") -> bool:
        """Tell whether a worker is online."""
        async with self.database.connection() as connection:
            return await workers.is_online(connection, name)

    async def get(self, name: str = "mario") -> Worker:
        """Return a worker by its name."""
        async with self.database.connection() as connection:
            listed = await workers.list_recent(connection)
        return next(worker for worker in listed if worker.name == name)

    async def reinsert(self, name: str, session: UUID) -> bool:
        """Insert a deleted worker again."""
        async with self.database.connection() as connection:
            return await workers.reinsert(connection, name, tuple(OrderType), INTERVAL, session)

    async def delete_unused(self, limit: int = 100) -> int:
        """Delete workers without a heartbeat for a day, or for 90 days if they finished orders."""
        async with self.database.connection() as connection:
            return await workers.delete_unused(connection, DAY, 90 * DAY, limit)

    async def names(self) -> list[str]:
        """Return the names in the list of workers."""
        async with self.database.connection() as connection:
            return [worker.name for worker in await workers.list_recent(connection)]

    async def execute(self, statement: str) -> None:
        """Execute an SQL statement."""
        async with self.database.connection() as connection:
            await connection.execute(statement)

    async def set_heartbeat_age(self, seconds: float, name: str = "mario") -> None:
        """Set how many seconds ago the last heartbeat of a worker was."""
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE workers SET last_seen = now() - $2::interval WHERE name = $1",
                name,
                timedelta(seconds=seconds),
            )


@pytest.fixture
def table(database: Database) -> Workers:
    """Return the workers table."""
    return Workers(database)


async def test_new_worker_is_online(table: Workers) -> None:
    assert await table.register("mario", OrderType.TAKEOUT, OrderType.DELIVERY)

    worker = await table.get()
    assert worker.status is WorkerStatus.ONLINE
    assert worker.order_types == (OrderType.TAKEOUT, OrderType.DELIVERY)
    assert worker.orders_processed == 0
    assert await table.is_online()


async def test_name_of_an_online_worker_is_refused(table: Workers) -> None:
    session = uuid4()
    await table.register(session=session)

    assert not await table.register("mario", OrderType.TAKEOUT)

    assert await table.heartbeat("mario", session)
    assert (await table.get()).order_types == tuple(OrderType)


async def test_workers_with_different_names_can_register(table: Workers) -> None:
    assert await table.register("mario")
    assert await table.register("luigi")


async def test_worker_keeps_its_name_until_two_heartbeats_are_missed(table: Workers) -> None:
    await table.register()
    await table.set_heartbeat_age(50)

    assert not await table.register()
    assert await table.is_online()


async def test_name_is_free_after_two_missed_heartbeats(table: Workers) -> None:
    await table.register()
    await table.set_heartbeat_age(61)

    assert not await table.is_online()
    assert (await table.get()).status is WorkerStatus.OFFLINE
    assert await table.register()
    assert await table.is_online()


async def test_lease_depends_on_the_interval_of_the_worker(table: Workers) -> None:
    await table.register("mario", interval=timedelta(seconds=1))
    await table.register("luigi", interval=timedelta(seconds=60))
    await table.set_heartbeat_age(10, "mario")
    await table.set_heartbeat_age(10, "luigi")

    assert not await table.is_online("mario")
    assert await table.is_online("luigi")


async def test_deregistered_worker_is_offline_and_its_name_free(table: Workers) -> None:
    session = uuid4()
    await table.register(session=session)

    await table.deregister("mario", session)

    assert not await table.is_online()
    assert (await table.get()).status is WorkerStatus.OFFLINE
    assert await table.register()


async def test_next_worker_of_a_name_has_its_own_types_and_the_count_of_the_name(
    table: Workers,
) -> None:
    session = uuid4()
    await table.register("mario", OrderType.TAKEOUT, session=session)
    await table.count_order("mario")
    await table.deregister("mario", session)

    await table.register("mario", OrderType.DELIVERY)

    worker = await table.get()
    assert worker.order_types == (OrderType.DELIVERY,)
    assert worker.orders_processed == 1


async def test_heartbeat_extends_an_expired_lease(table: Workers) -> None:
    session = uuid4()
    await table.register(session=session)
    await table.set_heartbeat_age(61)

    assert await table.heartbeat("mario", session)

    assert await table.is_online()


async def test_heartbeat_of_a_replaced_session_is_refused(table: Workers) -> None:
    old, new = uuid4(), uuid4()
    await table.register(session=old)
    await table.set_heartbeat_age(61)
    await table.register(session=new)
    await table.set_heartbeat_age(61)

    assert not await table.heartbeat("mario", old)
    assert not await table.is_online()
    assert await table.heartbeat("mario", new)


async def test_replaced_session_cannot_deregister_its_successor(table: Workers) -> None:
    old = uuid4()
    await table.register(session=old)
    await table.set_heartbeat_age(61)
    await table.register()

    await table.deregister("mario", old)

    assert await table.is_online()


async def test_one_of_several_concurrent_registrations_succeeds(table: Workers) -> None:
    """One session gets the name, whether it is new or its lease has expired."""
    for name in (f"chef {number}" for number in range(10)):
        assert sum(await asyncio.gather(*(table.register(name) for _ in range(4)))) == 1
        await table.set_heartbeat_age(61, name)
        assert sum(await asyncio.gather(*(table.register(name) for _ in range(4)))) == 1


async def test_session_that_registered_a_name_keeps_it(table: Workers) -> None:
    sessions = [uuid4() for _ in range(4)]

    registered = await asyncio.gather(*(table.register(session=session) for session in sessions))
    extended = [await table.heartbeat("mario", session) for session in sessions]

    assert extended == registered


async def test_unknown_worker_is_not_online(table: Workers) -> None:
    assert not await table.is_online("luigi")
    assert not await table.heartbeat("luigi", uuid4())


async def test_releasing_all_names_marks_all_workers_offline(table: Workers) -> None:
    await table.register("mario")
    await table.register("luigi")

    async with table.database.connection() as connection:
        await workers.release_worker_names(connection)

    assert not await table.is_online("mario")
    assert not await table.is_online("luigi")


async def test_only_a_worker_with_a_valid_lease_is_online(table: Workers) -> None:
    session = uuid4()
    for name in ("mario", "luigi"):
        await table.register(name)
    await table.register("peach", session=session)
    await table.deregister("peach", session)
    await table.set_heartbeat_age(61, "luigi")

    async with table.database.connection() as connection:
        assert [worker.name for worker in await workers.list_online(connection)] == ["mario"]


async def test_list_of_many_workers_is_bounded(table: Workers) -> None:
    """The list has all online workers, and of the others those with the latest heartbeats."""
    await table.execute(MANY_OFFLINE)
    await table.register("mario", interval=timedelta(days=30))
    await table.set_heartbeat_age(TWO_DAYS)

    names = await table.names()

    assert len(names) == workers.RECENT_LIMIT + 1
    assert {"mario", "station_1", f"station_{workers.RECENT_LIMIT}"} <= set(names)
    assert names == sorted(names)


async def test_unused_worker_is_deleted(table: Workers) -> None:
    """A worker that finished no order is deleted a day after its last heartbeat."""
    session = uuid4()
    await table.register("mario")
    await table.register("luigi", session=session)
    await table.deregister("luigi", session)
    await table.register("peach")
    for name in ("mario", "luigi"):
        await table.set_heartbeat_age(TWO_DAYS, name)
    await table.set_heartbeat_age(3_600, "peach")

    assert await table.delete_unused() == 2

    assert await table.names() == ["peach"]


async def test_worker_that_finished_orders_is_deleted_after_90_days(table: Workers) -> None:
    await table.register()
    await table.count_order("mario")

    await table.set_heartbeat_age(89 * 86_400)
    assert await table.delete_unused() == 0

    await table.set_heartbeat_age(91 * 86_400)
    assert await table.delete_unused() == 1


async def test_online_worker_with_a_long_interval_is_kept(table: Workers) -> None:
    await table.register(interval=timedelta(days=30))
    await table.set_heartbeat_age(TWO_DAYS)

    assert await table.delete_unused() == 0


@pytest.mark.parametrize(
    ("work", "ended"),
    [
        (AN_ORDER_COOKING, "UPDATE orders SET status = 'cancelled'"),
        (A_TICKET, "UPDATE orders SET status = 'cancelled'"),
        (A_TICKET, "UPDATE station_tickets SET bumped_at = now()"),
    ],
    ids=["cooks", "cancelled on the screen", "bumped"],
)
async def test_worker_with_an_unfinished_order_is_kept(
    table: Workers, work: str, ended: str
) -> None:
    await table.register()
    await table.set_heartbeat_age(TWO_DAYS)
    await table.execute(work)

    assert await table.delete_unused() == 0

    await table.execute(ended)
    assert await table.delete_unused() == 1


async def test_concurrent_deletions_delete_each_worker_once(table: Workers) -> None:
    await table.execute(MANY_OFFLINE)
    await table.execute("UPDATE workers SET last_seen = last_seen - interval '2 days'")

    deleted = await asyncio.gather(*(table.delete_unused(300) for _ in range(3)))

    assert deleted == [300, 300, 300]
    assert await table.delete_unused(300) == 100


async def test_registration_that_waits_for_the_deletion_succeeds(table: Workers) -> None:
    session = uuid4()
    await table.register()
    await table.set_heartbeat_age(TWO_DAYS)

    async with table.database.transaction() as tx:
        assert await workers.delete_unused(tx, DAY, 90 * DAY, 100) == 1
        registration = asyncio.create_task(table.register(session=session))
        await asyncio.sleep(0.1)  # until it waits for the lock of the deletion
        assert not registration.done()

    assert await registration
    assert await table.heartbeat("mario", session)
    assert await table.is_online()


async def test_worker_that_registers_concurrently_is_not_deleted(table: Workers) -> None:
    await table.register()
    await table.set_heartbeat_age(TWO_DAYS)

    async with table.database.transaction() as tx:
        assert await workers.register(tx, "mario", tuple(OrderType), INTERVAL, uuid4())
        assert await asyncio.wait_for(table.delete_unused(), 5) == 0

    assert await table.delete_unused() == 0
    assert await table.is_online()


async def test_deleted_worker_is_inserted_again_unless_its_name_is_taken(table: Workers) -> None:
    session = uuid4()
    await table.register(session=session)
    await table.set_heartbeat_age(TWO_DAYS)
    await table.delete_unused()

    assert not await table.heartbeat("mario", session)
    assert await table.reinsert("mario", session)
    assert await table.heartbeat("mario", session)
    assert not await table.reinsert("mario", uuid4())


async def test_periodic_deletion_continues_after_an_outage(
    table: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await table.execute(MANY_OFFLINE.replace("1000", "2500"))
    await table.execute("UPDATE workers SET last_seen = last_seen - interval '2 days'")
    await table.register()
    monkeypatch.setattr(cleanup, "INTERVAL", 0.1)
    connection = table.database.connection

    def fail_once() -> NoReturn:
        monkeypatch.setattr(table.database, "connection", connection)
        raise DatabaseUnavailable("PostgreSQL unreachable: connection refused")

    async def only_mario_is_left() -> bool:
        return await table.names() == ["mario"]

    monkeypatch.setattr(table.database, "connection", fail_once)
    async with background_task(cleanup.remove_unused_workers(table.database, KitchenSettings())):
        await asyncio.sleep(0)  # until the task has failed once
        await eventually(only_mario_is_left, doing="for 2,500 workers to be deleted")
