"""A kitchen inside the test's own process, and what its orders and cooks leave in the database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from restaurant_system.config import CookingSeconds, KitchenSettings
from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Delivery
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.clock import Clock, utc_now
from restaurant_system.models.message import Message, OrderReceived
from restaurant_system.models.order import Move, OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.kitchen.simulated_cook import SimulatedCook
from restaurant_system.services.order.service import OrderService
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.lifecycle import KitchenWorker
from tests.support.orders import make_order
from tests.support.services import move
from tests.support.waiting import eventually

REQUEST = "req-from-a-guest"
EVERYTHING = tuple(OrderType)
BELONGINGS: dict[str, dict[str, object]] = {
    "dine_in": {"table_number": 4},
    "takeout": {},
    "delivery": {"delivery_address": "12 Analytical Row"},
}


def make_order_received(number: str, **changes: object) -> Message:
    """Write the message that brings an order to the kitchen."""
    ticket: dict[str, Any] = {
        "exchange": topology.ORDERS_TOPIC.name,
        "routing_key": "kitchen.takeout.1",
        "type": OrderReceived.TYPE,
        "body": OrderReceived.from_order(make_order(), number).encode(),
        "message_id": uuid4(),
        "correlation_id": REQUEST,
        "app_id": "order-service",
        "timestamp": datetime.now(UTC),
        "priority": 1,
    }
    return Message(**(ticket | changes))


def settings(*, prefetch: int = 1, heartbeat: float = 30, **cooking: float) -> KitchenSettings:
    """Describe a kitchen in which everything cooks at once, except for the types that are named."""
    return KitchenSettings(
        cooking_seconds=CookingSeconds(**(dict.fromkeys(map(str, EVERYTHING), 0.0) | cooking)),
        prefetch=prefetch,
        heartbeat_interval=heartbeat,
    )


@contextlib.asynccontextmanager
async def first_of(broker: Broker, queue: str) -> AsyncIterator[Delivery]:
    """Take the first message of a queue in hand, as soon as there is one."""
    async with broker.consume([queue], prefetch=1) as line:
        yield await asyncio.wait_for(anext(aiter(line)), 20)


@dataclass(frozen=True)
class RunningWorker:
    """A cook at work."""

    shutdown: Shutdown
    work: "asyncio.Task[None]"

    async def end(self) -> None:
        """Ask the cook to stop, and wait until its hands are empty."""
        self.shutdown.request_stop()
        await self.work


@dataclass
class Kitchen:
    """A database with an order intake and, if the relay has one, a broker."""

    database: Database
    relay: Relay
    clock: Clock = utc_now
    _intake: OrderService = field(init=False)

    def __post_init__(self) -> None:
        """Open the intake."""
        self._intake = OrderService(
            self.database,
            self.relay,
            clock=self.clock,
            timezone=ZoneInfo("UTC"),
            key_lifetime=timedelta(hours=24),
        )

    async def order(self, order_type: str = "takeout", **changes: object) -> str:
        """Place an order of this type, and return its number."""
        order = make_order(order_type=order_type, **BELONGINGS[order_type], **changes)
        return (await self._intake.place(order, request_id=REQUEST, key=None)).order_number

    async def cancel(self, number: str) -> None:
        """Call an order off."""
        await self._intake.cancel(number, Move(), request_id=REQUEST)

    async def begin(self, number: str, cook: str) -> None:
        """Leave an order as somebody who has just begun it would."""
        now = self.clock()
        assert await move(
            self.database,
            number,
            OrderStatus.RECEIVED,
            OrderStatus.COOKING,
            at=now,
            by=cook,
            due=now,
        )

    async def enter(self, name: str, *, silent_for: timedelta = timedelta()) -> None:
        """Enter somebody as on duty, last heard of a while ago."""
        async with self.database.connection() as connection:
            assert await workers.register(
                connection, name, EVERYTHING, timedelta(seconds=30), uuid4()
            )
            await connection.execute(
                "UPDATE workers SET last_seen = now() - $2::interval WHERE name = $1",
                name,
                silent_for,
            )

    async def dismiss(self, name: str) -> None:
        """Mark somebody as off duty."""
        async with self.database.connection() as connection:
            await connection.execute("UPDATE workers SET status = 'offline' WHERE name = $1", name)

    def processor(self, name: str, kitchen: KitchenSettings) -> SimulatedCook:
        """Return the hands of a cook."""
        return SimulatedCook(
            self.database, self.relay, worker_name=name, kitchen=kitchen, clock=self.clock
        )

    @contextlib.asynccontextmanager
    async def on_duty(
        self,
        broker: Broker,
        name: str = "chef",
        *,
        order_types: Sequence[OrderType] = EVERYTHING,
        kitchen: KitchenSettings | None = None,
        signer: Signer = UNSIGNED,
    ) -> AsyncIterator[RunningWorker]:
        """Have somebody cook for as long as the block lasts."""
        kitchen = kitchen or settings()
        worker = KitchenWorker(
            self.database,
            broker,
            self.processor(name, kitchen),
            name=name,
            order_types=order_types,
            kitchen=kitchen,
            session=uuid4(),
            signer=signer,
        )
        shutdown = Shutdown()
        shift = RunningWorker(shutdown, asyncio.create_task(worker.run(shutdown)))
        try:
            yield shift
        finally:
            shift.work.cancel()
            await asyncio.wait({shift.work})

    async def look_up(self, number: str) -> dict[str, Any]:
        """Return an order as it stands in the database."""
        async with self.database.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM orders WHERE number = $1", number)
        assert row is not None
        return dict(row)

    async def status(self, number: str) -> str:
        """Return where an order stands."""
        status: str = (await self.look_up(number))["status"]
        return status

    async def history(self, number: str) -> list[tuple[str, str]]:
        """Return each status that an order had, and who brought it there."""
        query = """
            SELECT log.status, log.changed_by
            FROM order_status_log AS log JOIN orders ON orders.id = log.order_id
            WHERE number = $1 ORDER BY log.id
        """
        async with self.database.connection() as connection:
            return [(row[0], row[1]) for row in await connection.fetch(query, number)]

    async def started(self) -> list[str]:
        """Return the numbers of all orders that were started, the first one first."""
        query = """
            SELECT number FROM order_status_log AS log JOIN orders ON orders.id = log.order_id
            WHERE log.status = 'cooking' ORDER BY log.id
        """
        async with self.database.connection() as connection:
            return [row["number"] for row in await connection.fetch(query)]

    async def cooked_by(self, name: str) -> int:
        """Return how many orders somebody is credited with."""
        query = "SELECT orders_processed FROM workers WHERE name = $1"
        async with self.database.connection() as connection:
            count: int = await connection.fetchval(query, name)
        return count

    async def wait_for(self, number: str, status: str) -> None:
        """Wait until an order stands there."""

        async def is_there() -> bool:
            return await self.status(number) == status

        await eventually(is_there, doing=f"for {number} to be {status}")

    async def serve_another(self, order_type: str = "takeout") -> str:
        """Order again, wait until it is ready, and return its number: so the cook has gone on."""
        number = await self.order(order_type)
        await self.wait_for(number, "ready")
        return number
