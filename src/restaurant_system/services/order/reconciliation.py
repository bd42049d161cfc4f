"""Find orders and status updates whose messages were lost, and publish them again.

A broker that is unavailable loses nothing. A broker that has lost its disk comes back empty: it has
neither the messages of the waiting orders nor the updates that subscribers had not received yet.
Both are in the database. See docs/decisions/003-reconciliation.md.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from restaurant_system.config import ReconciliationSettings
from restaurant_system.database import outbox, reconciliation_queries
from restaurant_system.database.connection import Database
from restaurant_system.database.reconciliation_queries import START, ScanBounds, StuckOrder, Waiting
from restaurant_system.errors import BrokerUnavailable, Unavailable
from restaurant_system.logger import get_logger, request_id
from restaurant_system.messaging import resilient_consumer, topology
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.order_messages import Sender, order_received, status_changed
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.models.order import OrderType
from restaurant_system.services.order.service import NAME

ORDERS = topology.ORDERS_TOPIC.name
BROKER_TIMEOUT = 10.0  # s to read the length of all queues
RESEND_BATCH_SIZE = 500  # orders that are published again in one transaction
UPDATE_BATCH_SIZE = 200  # orders that are locked while their updates are stored again
COUNTS = 3  # one count alone can miss a message that is just being delivered or returned
COUNT_INTERVAL = 0.5  # s; longer than a worker takes to begin an order that was delivered to it
# The time that subscribers need to reconnect to the broker and to declare their queues again.
RESUBSCRIBE_DELAY = timedelta(seconds=1.5 * resilient_consumer.MAX_RECONNECT_DELAY)

log = get_logger(NAME)


class Reconciliation:
    """Compares orders with messages at intervals; several processes may do so at once."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        relay: Relay,
        settings: ReconciliationSettings,
        *,
        clock: Clock,
        business_day: BusinessDay,
    ) -> None:
        self._database = database
        self._broker = broker
        self._relay = relay
        self._interval = settings.interval
        self._after = timedelta(seconds=settings.after)
        self._republish_within = timedelta(seconds=settings.republish_updates_within)
        self._clock = clock
        self._business_day = business_day
        self._blank_since: datetime | None = None
        self._max_wait = RESUBSCRIBE_DELAY

    async def run(self) -> None:
        """Check for lost messages at intervals until cancelled.

        A check is skipped while the broker or the database is unavailable.
        """
        while True:
            with contextlib.suppress(Unavailable):
                await self.check()
            await asyncio.sleep(self._interval)

    async def check(self) -> None:
        """Publish again the orders and the status updates whose messages were lost.

        All messages of one check have the same new request id. Raises `Unavailable`.
        """
        sender = Sender(NAME, str(uuid4()))
        with request_id(sender.request_id):
            await self._resend_lost_orders(sender)
            await self._republish_updates_to_blank_broker(sender)

    async def _resend_lost_orders(self, sender: Sender) -> None:
        """Publish as many orders as messages are missing, of each type the oldest.

        Which message is lost cannot be seen; with a disk, those of the oldest orders are lost.
        """
        now = self._clock()
        today = self._business_day.start_of(self._business_day.date_of(now))
        async with self._database.connection() as connection:
            bounds = await reconciliation_queries.scan_bounds(connection, now - self._after, today)
        missing = await self._count_missing(bounds)
        for order_type in OrderType:
            if missing[order_type]:
                await self._resend_oldest(missing[order_type], order_type, bounds, sender)

    async def _count_missing(self, bounds: ScanBounds) -> Counter[OrderType]:
        """Count the orders, by type, that have no message in any of several counts.

        A message moves from the outbox to a queue to a worker, and is looked for in this order; it
        is in neither place when it has just reached a worker, which then begins the order. So the
        orders are counted before the messages and again after `COUNT_INTERVAL`.
        """
        waiting = await self._count_waiting(bounds)
        missing = waiting.orders - waiting.in_outbox
        if not missing:
            return missing
        for _ in range(COUNTS):
            messages = waiting.in_outbox + await self._count_messages()
            missing &= waiting.orders - messages
            if not missing:
                return missing
            await asyncio.sleep(COUNT_INTERVAL)
            waiting = await self._count_waiting(bounds)
            missing &= waiting.orders - messages
        return missing

    async def _count_waiting(self, bounds: ScanBounds) -> Waiting:
        async with self._database.connection() as connection:
            return await reconciliation_queries.count_waiting(connection, bounds, ORDERS)

    async def _count_messages(self) -> Counter[OrderType]:
        """Count the messages in the broker that can be of each order type.

        These are the messages in the queue of the type, and all in queues that have any type.
        """
        try:
            async with asyncio.timeout(BROKER_TIMEOUT):
                await self._broker.connect()
                # Delayed messages move to the other queues and not back, so they are counted first.
                delayed = await self._broker.delayed()
                depths = await self._broker.depths()
        except TimeoutError as error:
            raise BrokerUnavailable(
                "The broker has not reported the length of its queues."
            ) from error
        shared = delayed + depths[topology.GENERAL.name]
        return Counter(
            {kind: shared + depths[queue.name] for kind, queue in topology.SPECIALISED.items()}
        )

    async def _resend_oldest(
        self, count: int, order_type: OrderType, bounds: ScanBounds, sender: Sender
    ) -> None:
        """Publish the oldest orders of a type in batches, until another process does so."""
        async with self._database.connection() as connection:
            last = await reconciliation_queries.nth_position(
                connection, count, order_type, bounds, ORDERS
            )
        done = START
        while True:
            async with self._database.connection() as connection:
                positions = await reconciliation_queries.next_positions(
                    connection, order_type, bounds, after=done, last=last, limit=RESEND_BATCH_SIZE
                )
            ids = [each.id for each in positions]
            if not ids or not await self._resend_batch(ids, bounds, sender):
                return
            done = positions[-1]

    async def _resend_batch(self, ids: Sequence[int], bounds: ScanBounds, sender: Sender) -> bool:
        """Publish a batch of stuck orders again; return `False` if another process has the lock.

        An order without a valid message, which is logged, is tried again as rarely as the others.
        """
        now = self._clock()
        async with self._database.transaction() as tx:
            if not await reconciliation_queries.try_lock(tx):
                return False
            stuck = await reconciliation_queries.stuck_orders(tx, ids, bounds, ORDERS)
            due = [each for each in stuck if each.is_due(now, self._after)]
            due_ids = [each.id for each in due]
            bodies = await reconciliation_queries.order_bodies(tx, due_ids)
            messages = await outbox.add(
                tx,
                [
                    (each.order_number, order_received(each, at=now, sender=sender))
                    for each in bodies
                ],
            )
            await reconciliation_queries.record_attempts(tx, due_ids, now)
        self._relay.enqueue(*messages)
        published = {each.order_number for each in bodies}
        for each in due:
            if each.number in published:
                _log_resent(each, now)
        return True

    async def _republish_updates_to_blank_broker(self, sender: Sender) -> None:
        """Publish recent status updates again, after subscribers have had time to reconnect.

        The broker is marked last, so that a crash leads to updates that are published twice rather
        than to none.
        """
        if not await self._broker.is_blank():
            self._blank_since, self._max_wait = None, RESUBSCRIBE_DELAY
            return
        now = self._clock()
        self._blank_since = self._blank_since or now
        since = self._blank_since - self._republish_within
        if now - self._blank_since < self._max_wait and await self._any_moved_since(since):
            return
        count = await self._republish_updates(since, sender)
        if count is None:
            return
        self._max_wait *= 2  # so that updates become rarer if the broker cannot be marked
        await self._broker.mark()
        if count:
            log.warning(
                "updates_republished",
                message=f"RabbitMQ has lost its messages; published {count} status updates again.",
                count=count,
            )

    async def _any_moved_since(self, since: datetime) -> bool:
        async with self._database.connection() as connection:
            return await reconciliation_queries.any_moved_since(connection, since)

    async def _republish_updates(self, since: datetime, sender: Sender) -> int | None:
        """Publish status updates again; return their number, `None` if another process does so.

        Only the updates of one order must be in sequence, so they are published in batches of
        orders, each of which is locked only briefly.
        """
        async with self._database.connection() as connection:
            ids = await reconciliation_queries.orders_moved_since(connection, since)
        total = 0
        for first in range(0, len(ids), UPDATE_BATCH_SIZE):
            batch = ids[first : first + UPDATE_BATCH_SIZE]
            count = await self._republish_updates_of(batch, since, sender)
            if count is None:
                return None
            total += count
        return total

    async def _republish_updates_of(
        self, ids: Sequence[int], since: datetime, sender: Sender
    ) -> int | None:
        async with self._database.transaction() as tx:
            if not await reconciliation_queries.try_lock(tx):
                return None
            updates = await reconciliation_queries.status_changes_since(tx, since, ids)
            messages = await outbox.add(
                tx, [(each.order_number, status_changed(each, sender=sender)) for each in updates]
            )
        self._relay.enqueue(*messages)
        return len(messages)


def _log_resent(order: StuckOrder, now: datetime) -> None:
    seconds = int((now - order.since).total_seconds())
    log.warning(
        "order_resent",
        message=f"Order {order.number} was stuck for {seconds} s ({order.status});"
        " published its message again.",
        order_number=order.number,
        status=order.status,
        stuck_seconds=seconds,
    )
