"""A simulated cook: starts each order, waits for its cooking time and marks it ready.

A message may be delivered twice, late, or to a worker while another still cooks its order. So each
move is a compare-and-set in the database, and its result decides how the message is settled.

Orders that start or finish at about the same time share a statement. Two workers with the same
orders lock them in ascending order of their numbers and so cannot deadlock; if PostgreSQL ever
ended a statement for a deadlock, it would be tried again after a delay.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import stamina

from restaurant_system.batching import Batcher
from restaurant_system.config import KitchenSettings
from restaurant_system.database import orders
from restaurant_system.database.connection import Database
from restaurant_system.database.orders import MoveOrder
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.relay import Relay
from restaurant_system.metrics.order_moves import observe_move
from restaurant_system.models.clock import Clock
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.status import OrderStatus
from restaurant_system.worker.order_processor import OrderProcessor, Outcome, take_over_abandoned

NAME = "kitchen-worker"
MAX_RETRY_DELAY = 10.0  # s between two attempts while the database is unavailable
CANCELLATION_POLL_INTERVAL = 1.0  # s
MAX_BATCH_SIZE = 256  # orders that share a statement

log = get_logger(NAME)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cooking:
    """An order that a simulated cook is processing."""

    number: str
    sender: Sender
    cooking_time: timedelta


class SimulatedCook(OrderProcessor):
    """Cook the orders of one worker, any number concurrently."""

    def __init__(
        self,
        database: Database,
        relay: Relay,
        *,
        worker_name: str,
        kitchen: KitchenSettings,
        clock: Clock,
    ) -> None:
        self._database = database
        self._relay = relay
        self._worker_name = worker_name
        self._kitchen = kitchen
        self._clock = clock
        self._batcher = Batcher(self._move_with_retries, max_batch_size=MAX_BATCH_SIZE)
        self._in_flight: set[str] = set()
        self._cancellations: dict[str, asyncio.Event] = {}  # of orders with a cooking time

    @property
    def is_busy(self) -> bool:
        """Return whether the simulated cook is processing an order."""
        return bool(self._in_flight)

    async def process(self, order: OrderReceived, request_id: str) -> Outcome:
        """Start an order, wait for its cooking time, and mark it ready."""
        number = order.order_number
        if number in self._in_flight:  # redelivered after a lost connection while it cooks
            return Outcome.OTHER_WORKER
        self._in_flight.add(number)
        try:
            time = self._kitchen.cooking_time(order.order_type)
            return await self._process(Cooking(number, Sender(NAME, request_id), time))
        finally:
            self._in_flight.discard(number)

    async def _process(self, order: Cooking) -> Outcome:
        refusal = await self._start(order)
        if refusal is not None:
            return refusal
        if not await self._cook(order):
            return Outcome.NOT_NEEDED
        return Outcome.COOKED if await self._finish(order) else Outcome.NOT_NEEDED

    async def _start(self, order: Cooking) -> Outcome | None:
        """Move the order to `cooking`, or take it over; return `None`, else why it was refused."""
        started = await self._batcher.submit(lambda: self._start_move(order))
        refusal = None if started else await _with_retries(lambda: self._take_over(order))
        if refusal is None:
            log.info(
                "order_processing_started",
                message=f"Order {order.number} started by {self._worker_name}.",
                order_number=order.number,
                taken_over=not started,
            )
        return refusal

    async def _take_over(self, order: Cooking) -> Outcome | None:
        now = self._clock()
        async with self._database.transaction() as tx:
            return await take_over_abandoned(
                tx,
                order.number,
                to_worker=self._worker_name,
                estimated_completion=now + order.cooking_time,
                at=now,
            )

    async def _cook(self, order: Cooking) -> bool:
        """Wait for the cooking time; return at once `False` when the order is cancelled."""
        seconds = order.cooking_time.total_seconds()
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

    async def _finish(self, order: Cooking) -> bool:
        """Mark the order ready and count it; return `False` if it was no longer this worker's."""
        finished = await self._batcher.submit(lambda: self._finish_move(order))
        if finished:
            log.info(
                "order_completed",
                message=f"Order {order.number} is ready.",
                order_number=order.number,
            )
        return finished

    def _start_move(self, order: Cooking) -> MoveOrder:
        now = self._clock()
        return move_with_update(
            order.number,
            origin=OrderStatus.RECEIVED,
            target=OrderStatus.COOKING,
            at=now,
            by=self._worker_name,
            sender=order.sender,
            estimated_completion=now + order.cooking_time,
        )

    def _finish_move(self, order: Cooking) -> MoveOrder:
        return move_with_update(
            order.number,
            origin=OrderStatus.COOKING,
            target=OrderStatus.READY,
            at=self._clock(),
            by=self._worker_name,
            sender=order.sender,
        )

    async def _move_with_retries(self, moves: Sequence[Callable[[], MoveOrder]]) -> list[bool]:
        """Move orders in one statement; retry, with new times, while the database fails."""
        return await _with_retries(lambda: self._move([make() for make in moves]))

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
                late_after = self._kitchen.late_after(moved.order_type)
                seconds = moved.seconds_since_placed
                observe_move(
                    moved.order_type, each.origin, each.target, seconds, late_after=late_after
                )
        return [message is not None for message in messages]

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


async def _with_retries(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step while the database is unavailable.

    Each step is idempotent: when the answer to a commit was lost, the next attempt finds its effect
    and changes nothing.
    """
    async for attempt in stamina.retry_context(
        on=DatabaseUnavailable, attempts=None, timeout=None, wait_max=MAX_RETRY_DELAY
    ):
        with attempt:
            return await step()
    raise AssertionError("retries without limit ended")  # pragma: no cover
