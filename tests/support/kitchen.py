"""A kitchen in the process of the test: an order service, workers, and their rows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from restaurant_system.cancellation import cancel
from restaurant_system.config import CookingSeconds, KitchenSettings
from restaurant_system.database import workers
from restaurant_system.database.claims import ClaimedOrder
from restaurant_system.database.connection import Database
from restaurant_system.database.preparation_times import LearnedTimes
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Delivery
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock, utc_now
from restaurant_system.models.message import Message, OrderReceived
from restaurant_system.models.order import Move, NewOrder, OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.kitchen.simulated_cook import SimulatedCook
from restaurant_system.services.order.service import OrderService
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.lifecycle import KitchenWorker
from restaurant_system.worker.order_processor import ClaimRules
from tests.conftest import QUICK_RETRIES
from tests.support.orders import make_order
from tests.support.services import move
from tests.support.waiting import eventually

REQUEST = "req-from-a-client"
EVERYTHING = tuple(OrderType)
REQUIRED_FIELDS: dict[str, dict[str, object]] = {
    "dine_in": {"table_number": 4},
    "takeout": {},
    "delivery": {"delivery_address": "12 Analytical Row"},
}


def make_order_received(number: str, **changes: object) -> Message:
    """Make the message that sends an order to the kitchen."""
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
    """Return kitchen settings without cooking time, except for the given order types."""
    return KitchenSettings(
        cooking_seconds=CookingSeconds(**(dict.fromkeys(map(str, EVERYTHING), 0.0) | cooking)),
        prefetch=prefetch,
        heartbeat_interval=heartbeat,
    )


@contextlib.asynccontextmanager
async def first_delivery(broker: Broker, queue: str) -> AsyncIterator[Delivery]:
    """Consume the first message of a queue, as soon as there is one."""
    async with broker.consume([queue], prefetch=1) as consumer:
        yield await asyncio.wait_for(anext(aiter(consumer)), 20)


@dataclass(frozen=True)
class RunningWorker:
    """A worker that runs as a task of the test."""

    shutdown: Shutdown
    work: "asyncio.Task[None]"

    async def stop(self) -> None:
        """Request a graceful stop, and wait until the worker has stopped."""
        self.shutdown.request_stop()
        await self.work


@dataclass(frozen=True)
class Cook:
    """A simulated cook without a worker that claims for it."""

    database: Database
    processor: SimulatedCook
    rules: ClaimRules

    async def claim(self, limit: int = 1, excluded: Sequence[int] = ()) -> list[ClaimedOrder]:
        """Claim abandoned orders and, if these are fewer than `limit`, the next waiting ones."""
        async with self.database.connection() as connection:
            claim = self.rules.claim(limit, excluded)
            taken = list(await self.processor.take_over(connection, claim))
            if len(taken) < limit:
                claim = self.rules.claim(limit - len(taken), excluded)
                taken += await self.processor.claim(connection, claim)
        return taken

    async def cook(self, limit: int = 1) -> list[str]:
        """Claim orders and process them; return their numbers."""
        claimed = await self.claim(limit)
        await asyncio.gather(*(self.processor.process(each) for each in claimed))
        return [each.number for each in claimed]


@dataclass
class Kitchen:
    """An order service with its database and relay, and access to the rows of orders."""

    database: Database
    relay: Relay
    clock: Clock = utc_now
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(QUICK_RETRIES))
    _intake: OrderService = field(init=False)

    def __post_init__(self) -> None:
        """Build the order service."""
        self._intake = OrderService(
            self.database,
            self.relay,
            clock=self.clock,
            business_day=BusinessDay(ZoneInfo("UTC")),
            key_lifetime=timedelta(hours=24),
            kitchen=KitchenSettings(),
            times=LearnedTimes(self.database, KitchenSettings()),
        )

    async def order(self, order_type: str = "takeout", **changes: object) -> str:
        """Place an order of this type, and return its number."""
        return await self.place(
            make_order(order_type=order_type, **REQUIRED_FIELDS[order_type], **changes)
        )

    async def place(self, order: NewOrder) -> str:
        """Place this order, and return its number."""
        return (await self._intake.place(order, request_id=REQUEST, key=None)).order_number

    async def cancel(self, number: str) -> None:
        """Cancel an order, also one that is ready."""
        why = Move(reason="the customer left")
        await self._intake.cancel(number, why, request_id=REQUEST, by_person=True)

    async def start_order(self, number: str, worker: str) -> None:
        """Move an order to `cooking`, as a worker of this name would."""
        now = self.clock()
        assert await move(
            self.database,
            number,
            OrderStatus.RECEIVED,
            OrderStatus.COOKING,
            at=now,
            by=worker,
            due=now,
        )

    async def register_worker(self, name: str, *, silent_for: timedelta = timedelta()) -> None:
        """Register a worker whose last heartbeat was `silent_for` ago."""
        async with self.database.connection() as connection:
            assert await workers.register(
                connection, name, EVERYTHING, timedelta(seconds=30), uuid4()
            )
            await connection.execute(
                "UPDATE workers SET last_seen = now() - $2::interval WHERE name = $1",
                name,
                silent_for,
            )

    async def mark_offline(self, name: str) -> None:
        """Mark a worker offline."""
        async with self.database.connection() as connection:
            await connection.execute("UPDATE workers SET status = 'offline' WHERE name = $1", name)

    def simulated_cook(
        self, name: str, kitchen: KitchenSettings, order_types: Sequence[OrderType] = EVERYTHING
    ) -> "Cook":
        """Build a simulated cook for a worker of this name."""
        rules = self.rules(name, kitchen, order_types)
        return Cook(self.database, SimulatedCook(self.database, self.relay, rules), rules)

    def rules(
        self, name: str, kitchen: KitchenSettings, order_types: Sequence[OrderType] = EVERYTHING
    ) -> ClaimRules:
        """Return what a worker of this name may claim."""
        return ClaimRules(name, order_types, kitchen, self.clock, BusinessDay(ZoneInfo("UTC")))

    @contextlib.asynccontextmanager
    async def running_worker(
        self,
        broker: Broker,
        name: str = "chef",
        *,
        order_types: Sequence[OrderType] = EVERYTHING,
        kitchen: KitchenSettings | None = None,
        signer: Signer = UNSIGNED,
    ) -> AsyncIterator[RunningWorker]:
        """Run a worker with a simulated cook for as long as the block lasts."""
        rules = self.rules(name, kitchen or settings(), order_types)
        worker = KitchenWorker(
            self.database,
            broker,
            self.policy,
            SimulatedCook(self.database, self.relay, rules),
            rules,
            session=uuid4(),
            signer=signer,
        )
        shutdown = Shutdown()
        running = RunningWorker(shutdown, asyncio.create_task(worker.run(shutdown)))
        try:
            yield running
        finally:
            await cancel(running.work)

    async def get(self, number: str) -> dict[str, Any]:
        """Return the row of an order."""
        async with self.database.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM orders WHERE number = $1", number)
        assert row is not None
        return dict(row)

    async def status(self, number: str) -> str:
        """Return the status of an order."""
        status: str = (await self.get(number))["status"]
        return status

    async def history(self, number: str) -> list[tuple[str, str]]:
        """Return each status that an order had, and by whom it was set."""
        query = """
            SELECT log.status, log.changed_by
            FROM order_status_log AS log JOIN orders ON orders.id = log.order_id
            WHERE number = $1 ORDER BY log.id
        """
        async with self.database.connection() as connection:
            return [(row[0], row[1]) for row in await connection.fetch(query, number)]

    async def started(self) -> list[str]:
        """Return the numbers of all started orders, in the order of starting."""
        query = """
            SELECT number FROM order_status_log AS log JOIN orders ON orders.id = log.order_id
            WHERE log.status = 'cooking' ORDER BY log.id
        """
        async with self.database.connection() as connection:
            return [row["number"] for row in await connection.fetch(query)]

    async def orders_processed(self, name: str) -> int:
        """Return the number of orders that a worker has processed."""
        query = "SELECT orders_processed FROM workers WHERE name = $1"
        async with self.database.connection() as connection:
            count: int = await connection.fetchval(query, name)
        return count

    async def wait_for(self, number: str, status: str) -> None:
        """Wait until an order has this status."""

        async def is_there() -> bool:
            return await self.status(number) == status

        await eventually(is_there, doing=f"for {number} to be {status}")

    async def cook_another(self, order_type: str = "takeout") -> str:
        """Place another order, wait until it is ready, and return its number."""
        number = await self.order(order_type)
        await self.wait_for(number, "ready")
        return number
