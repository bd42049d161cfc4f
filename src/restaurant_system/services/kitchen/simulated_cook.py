"""A simulated cook: starts the next orders, waits for their cooking times and marks them ready.

Each move is a compare-and-set in the database, so that an order which somebody else has cancelled
or taken over meanwhile is not changed. Orders that start or finish at about the same time share a
statement.
"""

import asyncio
from collections.abc import Callable, Sequence

from restaurant_system.batching import Batcher
from restaurant_system.database import claims, orders
from restaurant_system.database.claims import Claim, ClaimedOrder
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.orders import MovedOrder, MoveOrder
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging import topology
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.relay import Relay
from restaurant_system.metrics.order_moves import observe_move
from restaurant_system.models.status import OrderStatus
from restaurant_system.worker.order_processor import ClaimRules, OrderProcessor
from restaurant_system.worker.retries import retry_while_unavailable
from restaurant_system.worker.start_writer import StartWriter

NAME = "kitchen-worker"
CANCELLATION_POLL_INTERVAL = 1.0  # s
MAX_BATCH_SIZE = 256  # orders that share a statement

log = get_logger(NAME)


class SimulatedCook(OrderProcessor):
    """Cook the orders of one worker, any number concurrently."""

    is_station = False

    def __init__(self, database: Database, relay: Relay, rules: ClaimRules) -> None:
        self._database = database
        self._relay = relay
        self._worker_name = rules.worker
        self._kitchen = rules.kitchen
        self._clock = rules.clock
        self._starts = StartWriter(relay, NAME, rules.kitchen.cooking_time)
        self._batcher = Batcher(self._move_with_retries, max_batch_size=MAX_BATCH_SIZE)
        self._in_flight = 0
        self._cancellations: dict[str, asyncio.Event] = {}  # of orders with a cooking time

    @property
    def capacity(self) -> int:
        """Return the prefetch: the cook prepares all orders in flight at once."""
        return self._kitchen.prefetch

    @property
    def is_busy(self) -> bool:
        """Return whether the simulated cook is processing an order."""
        return self._in_flight > 0

    async def take_over(self, connection: Connection, claim: Claim) -> Sequence[ClaimedOrder]:
        """Take over abandoned orders in `cooking`, also those whose start is not written yet."""
        await self._starts.write_due(
            connection, self._worker_name, until=claim.at, excluded=claim.excluded
        )
        return await claims.take_over_abandoned(connection, claim)

    async def claim(self, connection: Connection, claim: Claim) -> Sequence[ClaimedOrder]:
        """Move the next orders to `cooking`.

        Their messages are passed to the relay before an order's next move can be submitted.
        """
        started = await claims.start_next(
            connection, claim, exchange=topology.NOTIFICATIONS_FANOUT.name, app_id=NAME
        )
        self._relay.enqueue(*(moved for _, moved in started))
        for _, moved in started:
            self._observe(moved, OrderStatus.RECEIVED, OrderStatus.COOKING)
        return [order for order, _ in started]

    async def process(self, order: ClaimedOrder) -> bool:
        """Wait for the cooking time of a started order, and mark it ready."""
        log.info(
            "order_processing_started",
            message=f"Order {order.number} started by {self._worker_name}.",
            order_number=order.number,
            taken_over=order.was_cooking,
        )
        self._in_flight += 1
        try:
            if await self._cook(order):
                await self._finish(order)
        finally:
            self._in_flight -= 1
        return True

    async def _cook(self, order: ClaimedOrder) -> bool:
        """Wait for the cooking time; return at once `False` when the order is cancelled."""
        seconds = self._kitchen.cooking_time(order.order_type).total_seconds()
        if seconds == 0:
            return True
        cancelled = self._cancellations[order.number] = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await cancelled.wait()
        except TimeoutError:
            return True
        finally:
            del self._cancellations[order.number]
        log.info(
            "order_cooking_stopped",
            message=f"Order {order.number} cancelled: {self._worker_name} stopped cooking it.",
            order_number=order.number,
        )
        return False

    async def _finish(self, order: ClaimedOrder) -> None:
        """Mark the order ready and count it, if it is still this worker's."""
        sender = Sender(NAME, order.request_id)
        if await self._batcher.submit(lambda: self._finish_move(order, sender)):
            log.info(
                "order_completed",
                message=f"Order {order.number} is ready.",
                order_number=order.number,
            )

    def _finish_move(self, order: ClaimedOrder, sender: Sender) -> MoveOrder:
        return move_with_update(
            order.number,
            origin=OrderStatus.COOKING,
            target=OrderStatus.READY,
            at=self._clock(),
            by=self._worker_name,
            sender=sender,
        )

    async def _move_with_retries(self, moves: Sequence[Callable[[], MoveOrder]]) -> list[bool]:
        """Move orders in one statement; retry, with new times, while the database fails."""
        return await retry_while_unavailable(lambda: self._move([make() for make in moves]))

    async def _move(self, moves: Sequence[MoveOrder]) -> list[bool]:
        """Move orders, pass their messages to the relay, and return which orders were moved.

        The relay gets them here rather than from the callers: before an order's next move can be
        submitted, and also when a caller has been cancelled meanwhile.
        """
        async with self._database.connection() as connection:
            messages = await orders.move(connection, moves)
        self._relay.enqueue(*(message for message in messages if message is not None))
        for each, moved in zip(moves, messages, strict=True):
            if moved is not None:
                self._observe(moved, each.origin, each.target)
        return [message is not None for message in messages]

    def _observe(self, moved: MovedOrder, origin: OrderStatus, target: OrderStatus) -> None:
        late_after = self._kitchen.late_after(moved.order_type)
        seconds = moved.seconds_since_placed
        observe_move(moved.order_type, origin, target, seconds, late_after=late_after)

    def release_orders(self) -> None:
        """Release no order: orders that are cooking are finished before a stop."""

    async def poll_orders(self) -> None:
        """Stop cooking orders that were cancelled in the database.

        The database is polled, because an update that is missed while the broker is unavailable
        would leave a cancelled order cooking.
        """
        while True:
            await asyncio.sleep(CANCELLATION_POLL_INTERVAL)
            if self._cancellations:
                for number in await self._cancelled_orders():
                    self._cancellations[number].set()

    async def _cancelled_orders(self) -> set[str]:
        try:
            async with self._database.connection() as connection:
                cancelled = await orders.cancelled_among(connection, list(self._cancellations))
        except DatabaseUnavailable:
            return set()  # polled again after the interval
        return cancelled & self._cancellations.keys()
