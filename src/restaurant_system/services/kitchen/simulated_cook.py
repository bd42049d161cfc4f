"""One order, from the queue to the pass: started, cooked, ready, each step told to everyone.

The same message may come twice, late, or at a worker while another still cooks. So each step is a
compare-and-set in the database, and what a step finds there decides what becomes of the message.

Orders that are begun or finished at about the same time share a statement. Two cooks who were given
the same orders lock them in one order, that of their numbers, and do not wait for each other in a
circle; if ever they did, the database would end it, and who lost would try again after a pause.
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
from restaurant_system.messaging.announcements import Sender, announced_move
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import Clock
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.status import OrderStatus
from restaurant_system.worker.order_processor import OrderProcessor, Outcome, take_over_abandoned

NAME = "kitchen-worker"
LONGEST_PAUSE = 10.0  # s between two tries to reach a database that is away
WATCH_INTERVAL = 1.0  # s between two looks for cancelled orders
TOGETHER = 256  # orders that share a statement at the most

log = get_logger(NAME)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ticket:
    """An order as a cook has it in hand: on whose behalf, and how long it cooks."""

    number: str
    sender: Sender
    cooking_time: timedelta


class SimulatedCook(OrderProcessor):
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
        self._moving = Batcher(self._move_together, max_batch_size=TOGETHER)
        self._in_hand: set[str] = set()
        self._called_off: dict[str, asyncio.Event] = {}  # of those that take their time

    @property
    def is_busy(self) -> bool:
        """Whether an order is being cooked."""
        return bool(self._in_hand)

    async def process(self, order: OrderReceived, request_id: str) -> Outcome:
        """Begin an order, cook it and finish it."""
        number = order.order_number
        if number in self._in_hand:  # our line broke, and the message came again: it is cooking
            return Outcome.OTHER_WORKER
        self._in_hand.add(number)
        try:
            time = self._kitchen.cooking_time(order.order_type)
            return await self._see_through(Ticket(number, Sender(NAME, request_id), time))
        finally:
            self._in_hand.discard(number)

    async def _see_through(self, ticket: Ticket) -> Outcome:
        refusal = await self._begin(ticket)
        if refusal is not None:
            return refusal
        if not await self._cook(ticket):
            return Outcome.NOT_NEEDED
        return Outcome.COOKED if await self._finish(ticket) else Outcome.NOT_NEEDED

    async def _begin(self, ticket: Ticket) -> Outcome | None:
        """Make the order ours; `None` means that it is, else why not."""
        begun = await self._moving.submit(lambda: self._begun(ticket))
        refusal = None if begun else await _patiently(lambda: self._take_over(ticket))
        if refusal is None:
            log.info(
                "order_processing_started",
                message=f"{self._worker_name} cooks {ticket.number}.",
                order_number=ticket.number,
                taken_over=not begun,
            )
        return refusal

    async def _take_over(self, ticket: Ticket) -> Outcome | None:
        """Go on with an order that was begun before, unless a worker that is alive has it."""
        now = self._clock()
        async with self._database.transaction() as tx:
            return await take_over_abandoned(
                tx,
                ticket.number,
                to_worker=self._worker_name,
                estimated_completion=now + ticket.cooking_time,
                at=now,
            )

    async def _cook(self, ticket: Ticket) -> bool:
        """Take the time that it takes; return whether the order was still wanted at the end."""
        seconds = ticket.cooking_time.total_seconds()
        if seconds == 0:
            return True
        called_off = self._called_off[ticket.number] = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await called_off.wait()
        except TimeoutError:
            return True
        finally:
            del self._called_off[ticket.number]
        log.info(
            "order_called_off",
            message=f"{self._worker_name} stops cooking {ticket.number}: cancelled.",
            order_number=ticket.number,
        )
        return False

    async def _finish(self, ticket: Ticket) -> bool:
        """Put the order on the pass and count it; return whether it was still ours to finish."""
        finished = await self._moving.submit(lambda: self._finished(ticket))
        if finished:
            log.info(
                "order_completed",
                message=f"Order {ticket.number} is ready.",
                order_number=ticket.number,
            )
        return finished

    async def _move_together(self, moves: Sequence[Callable[[], MoveOrder]]) -> list[bool]:
        """Make moves, each dated when it is tried; of one order there is never more than one."""
        return await _patiently(lambda: self._move([dated() for dated in moves]))

    def _begun(self, ticket: Ticket) -> MoveOrder:
        now = self._clock()
        return announced_move(
            ticket.number,
            origin=OrderStatus.RECEIVED,
            target=OrderStatus.COOKING,
            at=now,
            by=self._worker_name,
            sender=ticket.sender,
            estimated_completion=now + ticket.cooking_time,
        )

    def _finished(self, ticket: Ticket) -> MoveOrder:
        return announced_move(
            ticket.number,
            origin=OrderStatus.COOKING,
            target=OrderStatus.READY,
            at=self._clock(),
            by=self._worker_name,
            sender=ticket.sender,
        )

    async def _move(self, moves: Sequence[MoveOrder]) -> list[bool]:
        """Make moves; return which of them could be made.

        What is owed is handed over here: an order's next move is asked for only afterwards, and an
        order whose cook has been sent home meanwhile is announced like any other.
        """
        async with self._database.connection() as connection:
            outcomes = await orders.move(connection, moves)
        self._relay.hand_over(*(owed for owed in outcomes if owed is not None))
        return [owed is not None for owed in outcomes]

    def release_orders(self) -> None:
        """Finish what is in hand."""

    async def poll_orders(self) -> None:
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
    """Do a step, for one order or for many, as often as it takes until the database answers.

    Each step can be done twice: where the answer to a commit was lost, the second try finds its
    effect and changes nothing.
    """
    async for attempt in stamina.retry_context(
        on=DatabaseUnavailable, attempts=None, timeout=None, wait_max=LONGEST_PAUSE
    ):
        with attempt:
            return await step()
    raise AssertionError("retries without limit ended")  # pragma: no cover
