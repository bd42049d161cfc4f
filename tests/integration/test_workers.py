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


class Book:
    """The kitchen's book of workers."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def enter(
        self,
        name: str = "mario",
        *types: OrderType,
        interval: timedelta = INTERVAL,
        session: UUID | None = None,
    ) -> bool:
        """Enter a worker who cooks these types, or everything."""
        async with self.database.connection() as connection:
            return await workers.register(
                connection, name, types or tuple(OrderType), interval, session or uuid4()
            )

    async def beat(self, name: str, session: UUID) -> bool:
        """Let a worker be heard of."""
        async with self.database.connection() as connection:
            return await workers.heartbeat(connection, name, session)

    async def leave(self, name: str, session: UUID) -> None:
        """Let a worker say goodbye."""
        async with self.database.connection() as connection:
            await workers.deregister(connection, name, session)

    async def credit(self, name: str) -> None:
        """Let a worker have cooked an order."""
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE workers SET orders_processed = orders_processed + 1 WHERE name = $1", name
            )

    async def is_present(self, name: str = "mario") -> bool:
        """Tell whether a worker can be counted on."""
        async with self.database.connection() as connection:
            return await workers.is_online(connection, name)

    async def look(self, name: str = "mario") -> Worker:
        """Read what stands about a worker."""
        async with self.database.connection() as connection:
            listed = await workers.list_recent(connection)
        return next(worker for worker in listed if worker.name == name)

    async def restore(self, name: str, session: UUID) -> bool:
        """Insert a worker again that was removed."""
        async with self.database.connection() as connection:
            return await workers.reinsert(connection, name, tuple(OrderType), INTERVAL, session)

    async def remove(self, limit: int = 100) -> int:
        """Remove workers not heard from for a day, or for 90 days if they finished orders."""
        async with self.database.connection() as connection:
            return await workers.delete_unused(connection, DAY, 90 * DAY, limit)

    async def names(self) -> list[str]:
        """Return the names in the list of workers."""
        async with self.database.connection() as connection:
            return [worker.name for worker in await workers.list_recent(connection)]

    async def execute(self, statement: str) -> None:
        """Execute a statement."""
        async with self.database.connection() as connection:
            await connection.execute(statement)

    async def silence(self, seconds: float, name: str = "mario") -> None:
        """Let a worker have been silent for so long."""
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE workers SET last_seen = now() - $2::interval WHERE name = $1",
                name,
                timedelta(seconds=seconds),
            )


@pytest.fixture
def book(database: Database) -> Book:
    """Open the book."""
    return Book(database)


async def test_a_new_worker(book: Book) -> None:
    """A new worker is entered online, with what it cooks and nothing cooked yet."""
    assert await book.enter("mario", OrderType.TAKEOUT, OrderType.DELIVERY)

    worker = await book.look()
    assert worker.status is WorkerStatus.ONLINE
    assert worker.order_types == (OrderType.TAKEOUT, OrderType.DELIVERY)
    assert worker.orders_processed == 0
    assert await book.is_present()


async def test_a_name_that_is_taken(book: Book) -> None:
    """A name that is online is refused, and its holder keeps it."""
    session = uuid4()
    await book.enter(session=session)

    assert not await book.enter("mario", OrderType.TAKEOUT)

    assert await book.beat("mario", session)
    assert (await book.look()).order_types == tuple(OrderType)


async def test_another_name(book: Book) -> None:
    """Workers of different names do not stand in each other's way."""
    assert await book.enter("mario")
    assert await book.enter("luigi")


async def test_a_lease_that_runs(book: Book) -> None:
    """A worker that was silent for less than two of its intervals keeps its name."""
    await book.enter()
    await book.silence(50)

    assert not await book.enter()
    assert await book.is_present()


async def test_a_lease_that_has_run_out(book: Book) -> None:
    """A worker that was silent for over two of its intervals is gone, and its name free."""
    await book.enter()
    await book.silence(61)

    assert not await book.is_present()
    assert (await book.look()).status is WorkerStatus.OFFLINE
    assert await book.enter()
    assert await book.is_present()


async def test_each_by_its_own_interval(book: Book) -> None:
    """How long silence may last is each worker's own to promise."""
    await book.enter("mario", interval=timedelta(seconds=1))
    await book.enter("luigi", interval=timedelta(seconds=60))
    await book.silence(10, "mario")
    await book.silence(10, "luigi")

    assert not await book.is_present("mario")
    assert await book.is_present("luigi")


async def test_goodbye(book: Book) -> None:
    """A worker that has left is offline at once, and its name free."""
    session = uuid4()
    await book.enter(session=session)

    await book.leave("mario", session)

    assert not await book.is_present()
    assert (await book.look()).status is WorkerStatus.OFFLINE
    assert await book.enter()


async def test_a_successor(book: Book) -> None:
    """Whoever takes over a name brings its own types, and keeps the name's count."""
    session = uuid4()
    await book.enter("mario", OrderType.TAKEOUT, session=session)
    await book.credit("mario")
    await book.leave("mario", session)

    await book.enter("mario", OrderType.DELIVERY)

    worker = await book.look()
    assert worker.order_types == (OrderType.DELIVERY,)
    assert worker.orders_processed == 1


async def test_a_heartbeat(book: Book) -> None:
    """A heartbeat prolongs the lease, also one that has just run out unnoticed."""
    session = uuid4()
    await book.enter(session=session)
    await book.silence(61)

    assert await book.beat("mario", session)

    assert await book.is_present()


async def test_a_superseded_heartbeat(book: Book) -> None:
    """A worker whose name was taken over is told so, and keeps nobody's lease alive."""
    old, new = uuid4(), uuid4()
    await book.enter(session=old)
    await book.silence(61)
    await book.enter(session=new)
    await book.silence(61)

    assert not await book.beat("mario", old)
    assert not await book.is_present()
    assert await book.beat("mario", new)


async def test_a_superseded_goodbye(book: Book) -> None:
    """A worker whose name was taken over cannot take its successor off duty."""
    old = uuid4()
    await book.enter(session=old)
    await book.silence(61)
    await book.enter()

    await book.leave("mario", old)

    assert await book.is_present()


async def test_two_at_once(book: Book) -> None:
    """Of those that come at once under one name, one gets it: a new, a left or an expired one."""
    for name in (f"chef {number}" for number in range(10)):
        assert sum(await asyncio.gather(*(book.enter(name) for _ in range(4)))) == 1
        await book.silence(61, name)
        assert sum(await asyncio.gather(*(book.enter(name) for _ in range(4)))) == 1


async def test_the_winner_holds_it(book: Book) -> None:
    """The session that got a name is the one that keeps it."""
    sessions = [uuid4() for _ in range(4)]

    got_it = await asyncio.gather(*(book.enter(session=session) for session in sessions))
    keep_it = [await book.beat("mario", session) for session in sessions]

    assert keep_it == got_it


async def test_a_stranger(book: Book) -> None:
    """Nobody who was never entered is present."""
    assert not await book.is_present("luigi")
    assert not await book.beat("luigi", uuid4())


async def test_dismissal(book: Book) -> None:
    """All names are freed where their holders are known to be gone."""
    await book.enter("mario")
    await book.enter("luigi")

    async with book.database.connection() as connection:
        await workers.release_worker_names(connection)

    assert not await book.is_present("mario")
    assert not await book.is_present("luigi")


async def test_only_a_worker_with_a_valid_lease_is_online(book: Book) -> None:
    """Offline and silent workers are not among those that estimates count on."""
    session = uuid4()
    for name in ("mario", "luigi"):
        await book.enter(name)
    await book.enter("peach", session=session)
    await book.leave("peach", session)
    await book.silence(61, "luigi")

    async with book.database.connection() as connection:
        assert [worker.name for worker in await workers.list_online(connection)] == ["mario"]


async def test_list_of_many_workers_is_bounded(book: Book) -> None:
    """The list has all workers online, and of the others those last heard from."""
    await book.execute(MANY_OFFLINE)
    await book.enter("mario", interval=timedelta(days=30))
    await book.silence(TWO_DAYS)

    names = await book.names()

    assert len(names) == workers.RECENT_LIMIT + 1
    assert {"mario", "station_1", f"station_{workers.RECENT_LIMIT}"} <= set(names)
    assert names == sorted(names)


async def test_unused_worker_is_removed(book: Book) -> None:
    """A worker that finished no order is removed a day after its last heartbeat or sign-off."""
    session = uuid4()
    await book.enter("mario")
    await book.enter("luigi", session=session)
    await book.leave("luigi", session)
    await book.enter("peach")
    for name in ("mario", "luigi"):
        await book.silence(TWO_DAYS, name)
    await book.silence(3_600, "peach")

    assert await book.remove() == 2

    assert await book.names() == ["peach"]


async def test_worker_that_finished_orders_is_kept_for_longer(book: Book) -> None:
    """A worker that finished an order is removed after 90 days."""
    await book.enter()
    await book.credit("mario")

    await book.silence(89 * 86_400)
    assert await book.remove() == 0

    await book.silence(91 * 86_400)
    assert await book.remove() == 1


async def test_online_worker_with_a_long_interval_is_kept(book: Book) -> None:
    """A worker is kept for as long as its own lease lasts."""
    await book.enter(interval=timedelta(days=30))
    await book.silence(TWO_DAYS)

    assert await book.remove() == 0


@pytest.mark.parametrize(
    ("work", "ended"),
    [
        (AN_ORDER_COOKING, "UPDATE orders SET status = 'cancelled'"),
        (A_TICKET, "UPDATE orders SET status = 'cancelled'"),
        (A_TICKET, "UPDATE station_tickets SET bumped_at = now()"),
    ],
    ids=["cooks", "cancelled on the screen", "bumped"],
)
async def test_worker_with_an_unfinished_order_is_kept(book: Book, work: str, ended: str) -> None:
    """A worker is removed only after nothing that it cooks or shows is unfinished."""
    await book.enter()
    await book.silence(TWO_DAYS)
    await book.execute(work)

    assert await book.remove() == 0

    await book.execute(ended)
    assert await book.remove() == 1


async def test_workers_are_removed_in_slices(book: Book) -> None:
    """Several processes that remove at once remove each worker once."""
    await book.execute(MANY_OFFLINE)
    await book.execute("UPDATE workers SET last_seen = last_seen - interval '2 days'")

    removed = await asyncio.gather(*(book.remove(300) for _ in range(3)))

    assert removed == [300, 300, 300]
    assert await book.remove(300) == 100


async def test_registration_that_waits_for_the_removal_succeeds(book: Book) -> None:
    """A worker that registers while its old row is being deleted has its name afterwards."""
    session = uuid4()
    await book.enter()
    await book.silence(TWO_DAYS)

    async with book.database.transaction() as tx:
        assert await workers.delete_unused(tx, DAY, 90 * DAY, 100) == 1
        registration = asyncio.create_task(book.enter(session=session))
        await asyncio.sleep(0.1)  # until it waits for our lock
        assert not registration.done()

    assert await registration
    assert await book.beat("mario", session)
    assert await book.is_present()


async def test_worker_that_registers_is_not_removed(book: Book) -> None:
    """A removal leaves a worker alone that registers at the same moment."""
    await book.enter()
    await book.silence(TWO_DAYS)

    async with book.database.transaction() as tx:
        assert await workers.register(tx, "mario", tuple(OrderType), INTERVAL, uuid4())
        assert await asyncio.wait_for(book.remove(), 5) == 0

    assert await book.remove() == 0
    assert await book.is_present()


async def test_removed_worker_is_restored(book: Book) -> None:
    """A worker whose row was removed can have it back, unless another session has the name."""
    session = uuid4()
    await book.enter(session=session)
    await book.silence(TWO_DAYS)
    await book.remove()

    assert not await book.beat("mario", session)
    assert await book.restore("mario", session)
    assert await book.beat("mario", session)
    assert not await book.restore("mario", uuid4())


async def test_periodic_removal_removes_all_after_an_outage(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task goes on after an outage, and removes all that is unused, in as many slices."""
    await book.execute(MANY_OFFLINE.replace("1000", "2500"))
    await book.execute("UPDATE workers SET last_seen = last_seen - interval '2 days'")
    await book.enter()
    monkeypatch.setattr(cleanup, "INTERVAL", 0.1)
    lending = book.database.connection

    def fail_once() -> NoReturn:
        monkeypatch.setattr(book.database, "connection", lending)
        raise DatabaseUnavailable("PostgreSQL unreachable: connection refused")

    async def only_mario_is_left() -> bool:
        return await book.names() == ["mario"]

    monkeypatch.setattr(book.database, "connection", fail_once)
    async with background_task(cleanup.remove_unused_workers(book.database, KitchenSettings())):
        await asyncio.sleep(0)  # until the task has failed once
        await eventually(only_mario_is_left, doing="for 2,500 workers to be removed")
