"""One order, from the queue to the pass: started, cooked, ready, each step told to everyone.

The same message may come twice, late, or at a worker while another still cooks. So each step is a
compare-and-set in the database, and what a step finds there decides what becomes of the message.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import Enum, auto
from typing import TypeVar

import stamina

from restaurant_system.config import KitchenSettings
from restaurant_system.database import orders, workers
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.orders import MoveOrder
from restaurant_system.errors import DatabaseUnavailable, MessageRejected
from restaurant_system.logger import get_logger
from restaurant_system.messaging.announcements import Sender, announced_move
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import Clock
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.status import OrderStatus

NAME = "kitchen-worker"
LONGEST_PAUSE = 10.0  # s between two tries to reach a database that is away
WATCH_INTERVAL = 1.0  # s between two looks for cancelled orders

log = get_logger(NAME)

T = TypeVar("T")


class Outcome(Enum):
    """What became of an order at this worker."""

    COOKED = auto()  # ready, by us
    OVER = auto()  # nothing to do: ready already, completed or cancelled
    SOMEONE_ELSES = auto()  # another worker that is alive has it; look again later


class Processor:
    """Cooks orders for one worker, any number at once."""

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
        self._called_off: dict[str, asyncio.Event] = {}

    async def process(self, order: OrderReceived, request_id: str) -> Outcome:
        """See an order through; wait, however long, for a database that is away.

        Raises `MessageRejected` when there is no such order.
        """
        number = order.order_number
        if number in self._called_off:  # our line broke, and the message came again: it is cooking
            return Outcome.SOMEONE_ELSES
        self._called_off[number] = asyncio.Event()
        try:
            return await self._see_through(order, Sender(NAME, request_id))
        finally:
            del self._called_off[number]

    async def _see_through(self, order: OrderReceived, sender: Sender) -> Outcome:
        outcome = await _patiently(lambda: self._begin(order, sender))
        if outcome is not None:
            return outcome
        if not await self._cook(order):
            return Outcome.OVER
        ready = await _patiently(lambda: self._finish(order.order_number, sender))
        return Outcome.COOKED if ready else Outcome.OVER

    async def _begin(self, order: OrderReceived, sender: Sender) -> Outcome | None:
        """Make the order ours, in one transaction; `None` means that it is, else why not."""
        number, now = order.order_number, self._clock()
        done_at = now + self._kitchen.cooking_time(order.order_type)
        begun = await self._move(
            announced_move(
                number,
                origin=OrderStatus.RECEIVED,
                target=OrderStatus.COOKING,
                at=now,
                by=self._worker_name,
                sender=sender,
                estimated_completion=done_at,
            )
        )
        refusal = None if begun else await self._take_over(number, now, done_at)
        if refusal is None:
            log.info(
                "order_processing_started",
                message=f"{self._worker_name} cooks {number}.",
                order_number=number,
                taken_over=not begun,
            )
        return refusal

    async def _take_over(self, number: str, now: datetime, done_at: datetime) -> Outcome | None:
        """Go on with an order that was begun before, unless a worker that is alive has it."""
        async with self._database.transaction() as tx:
            return await self._try_take_over(tx, number, now, done_at)

    async def _try_take_over(
        self, tx: Connection, number: str, now: datetime, done_at: datetime
    ) -> Outcome | None:
        current = await orders.current_status(tx, number)
        if current is None:
            raise MessageRejected(f"there is no order {number}")
        if current.status is not OrderStatus.COOKING or current.processed_by is None:
            return Outcome.OVER
        if current.processed_by != self._worker_name and await workers.is_present(
            tx, current.processed_by
        ):
            return Outcome.SOMEONE_ELSES
        taken = await orders.take_over(
            tx,
            number,
            from_worker=current.processed_by,
            to_worker=self._worker_name,
            estimated_completion=done_at,
            at=now,
        )
        return None if taken else Outcome.SOMEONE_ELSES

    async def _cook(self, order: OrderReceived) -> bool:
        """Take the time that it takes; return whether the order was still wanted at the end."""
        seconds = self._kitchen.cooking_time(order.order_type).total_seconds()
        if seconds == 0:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._called_off[order.order_number].wait()
        except TimeoutError:
            return True
        log.info(
            "order_called_off",
            message=f"{self._worker_name} stops cooking {order.order_number}: cancelled.",
            order_number=order.order_number,
        )
        return False

    async def _finish(self, number: str, sender: Sender) -> bool:
        """Put the order on the pass and count it; return whether it was still ours to finish."""
        finished = await self._move(
            announced_move(
                number,
                origin=OrderStatus.COOKING,
                target=OrderStatus.READY,
                at=self._clock(),
                by=self._worker_name,
                sender=sender,
            )
        )
        if not finished:
            return False
        log.info("order_completed", message=f"Order {number} is ready.", order_number=number)
        return True

    async def _move(self, move: MoveOrder) -> bool:
        """Make a move; return whether it could be made."""
        async with self._database.connection() as connection:
            (owed,) = await orders.move(connection, [move])
        if owed is None:
            return False
        self._relay.hand_over(owed)
        return True

    async def watch_cancellations(self) -> None:
        """Look, for as long as it runs, whether something that cooks is no longer wanted.

        It asks the database rather than the broker: an update missed while the broker is away would
        burn a dish.
        """
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            if self._called_off:
                for number in await self._cancelled():
                    self._called_off[number].set()

    async def _cancelled(self) -> set[str]:
        try:
            async with self._database.connection() as connection:
                cancelled = await orders.cancelled_among(connection, list(self._called_off))
        except DatabaseUnavailable:
            return set()  # the next look makes up for it
        return cancelled & self._called_off.keys()


async def _patiently(step: Callable[[], Awaitable[T]]) -> T:
    """Do a step, as often as it takes until the database answers.

    Each step can be done twice: where the answer to a commit was lost, the second try finds its
    effect and changes nothing.
    """
    async for attempt in stamina.retry_context(
        on=DatabaseUnavailable, attempts=None, timeout=None, wait_max=LONGEST_PAUSE
    ):
        with attempt:
            return await step()
    raise AssertionError("retries without limit ended")  # pragma: no cover
