import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import Worker, WorkerStatus

INTERVAL = timedelta(seconds=30)


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
            await workers.leave(connection, name, session)

    async def credit(self, name: str) -> None:
        """Let a worker have cooked an order."""
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE workers SET orders_processed = orders_processed + 1 WHERE name = $1", name
            )

    async def is_present(self, name: str = "mario") -> bool:
        """Tell whether a worker can be counted on."""
        async with self.database.connection() as connection:
            return await workers.is_present(connection, name)

    async def look(self, name: str = "mario") -> Worker:
        """Read what stands about a worker."""
        async with self.database.connection() as connection:
            everyone = await workers.everyone(connection)
        return next(worker for worker in everyone if worker.name == name)

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
        await workers.dismiss_everyone(connection)

    assert not await book.is_present("mario")
    assert not await book.is_present("luigi")
