"""Release scheduled orders to the kitchen when they are due, and any waiting order by hand.

No time is stored at which an order will be released: each check compares when it is to be ready
with the preparation times learned until then, by the clock of that moment. So a restart, a change
of the clock or of the times takes effect at once.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from restaurant_system.config import KitchenSettings
from restaurant_system.database import (
    audit,
    orders,
    outbox,
    reconciliation_queries,
    scheduled_orders,
)
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.database.preparation_times import LearnedTimes
from restaurant_system.database.scheduled_orders import ReleasedOrder
from restaurant_system.errors import NotReleasable, OrderNotFound
from restaurant_system.logger import get_logger, joined_lines
from restaurant_system.messaging.order_messages import Sender, order_received
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.models.order import OrderType
from restaurant_system.services.order.periodic import process_in_batches
from restaurant_system.services.order.service import NAME

INTERVAL = 1.0  # s between two checks
BATCH_SIZE = 200  # orders of each type that are released in one transaction
FAILURE = ("release_failed", "Orders that are due could not be released.")

log = get_logger(NAME)


class Release:
    """Releases orders; any number of processes may do so at once."""

    def __init__(
        self,
        database: Database,
        relay: Relay,
        *,
        clock: Clock,
        business_day: BusinessDay,
        kitchen: KitchenSettings,
        times: LearnedTimes,
    ) -> None:
        self._database = database
        self._relay = relay
        self._clock = clock
        self._business_day = business_day
        self._times = times
        self._late_after = {kind: timedelta(seconds=kitchen.late_after(kind)) for kind in OrderType}

    async def run(self) -> None:
        """Release due orders at intervals until cancelled; see `process_in_batches`."""
        await process_in_batches(
            self.release_due, batch_size=BATCH_SIZE, interval=INTERVAL, failure=FAILURE
        )

    async def release_due(self) -> int:
        """Release a batch of the orders that are due before the next check; return how many were.

        Raises `DatabaseUnavailable`.
        """
        times = await self._times.latest()
        lead_times = {
            kind: timedelta(seconds=seconds + INTERVAL) for kind, seconds in times.by_type.items()
        }
        now = self._clock()
        async with self._database.transaction() as tx:
            due = await scheduled_orders.release_due(
                tx,
                lead_times,
                at=now,
                day_started_at=self._business_day.current_start(now),
                next_day=self._business_day.next_start(now),
                limit=BATCH_SIZE,
            )
            messages = await _store_messages(tx, [each for each in due if not each.is_held], now)
        self._relay.enqueue(*messages)
        with joined_lines():
            for each in due:
                _log_due(each)
        return len(due)

    async def release(self, number: str, *, request_id: str, by: Actor | None = None) -> None:
        """Release a scheduled or a held order now, and record who does so.

        Raises `OrderNotFound`, and `NotReleasable` for an order that is neither.
        """
        now = self._clock()
        async with self._database.transaction() as tx:
            order = await scheduled_orders.release(
                tx,
                number,
                at=now,
                day_started_at=self._business_day.current_start(now),
                next_day=self._business_day.next_start(now),
                late_after=self._late_after,
            )
            if order is None:
                raise await _refusal(tx, number)
            messages = await _store_messages(tx, [order], now)
            if by is not None:
                await audit.write(tx, [_act(number, by, now, request_id)])
        self._relay.enqueue(*messages)
        log.info("order_released", message=f"Order {number} released by hand.", order_number=number)


async def _store_messages(
    tx: Connection, released: Sequence[ReleasedOrder], now: datetime
) -> list[OutboxMessage]:
    """Store the messages that send orders to the kitchen, rebuilt from their rows.

    Each belongs to the request that placed its order, which may be weeks old.
    """
    by_number = {each.number: each for each in released}
    bodies = await reconciliation_queries.order_bodies(tx, [each.id for each in released])
    return await outbox.add(
        tx,
        [
            (
                body.order_number,
                order_received(body, at=now, sender=_sender(by_number[body.order_number])),
            )
            for body in bodies
        ],
    )


def _sender(order: ReleasedOrder) -> Sender:
    return Sender(NAME, order.request_id or str(uuid4()), order.trace)


def _act(number: str, by: Actor, at: datetime, request_id: str) -> Act:
    return Act(
        at=at, actor=by, action=AuditAction.RELEASE_ORDER, target=number, request_id=request_id
    )


async def _refusal(tx: Connection, number: str) -> Exception:
    current = await orders.current_status(tx, number)
    return OrderNotFound(number) if current is None else NotReleasable(number, current.status)


def _log_due(order: ReleasedOrder) -> None:
    if order.is_held:
        log.warning(
            "order_held",
            message=f"Order {order.number} was to be ready on an earlier business date; held.",
            order_number=order.number,
            request_id=order.request_id,
        )
    else:
        log.info(
            "order_released",
            message=f"Order {order.number} released.",
            order_number=order.number,
            request_id=order.request_id,
        )
