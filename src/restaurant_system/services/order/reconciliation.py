"""Finds orders whose messages are lost, and sends them again; tells again what a lost disk knew.

A broker that is away loses nothing. One whose disk is lost comes back blank: it has neither the
orders that were waiting nor the updates that subscribers had not been handed. The database has
both.
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
from restaurant_system.models.clock import Clock
from restaurant_system.models.order import OrderType
from restaurant_system.services.order.service import NAME

ORDERS = topology.ORDERS_TOPIC.name
BROKER_PATIENCE = 10.0  # s that a look at the queues may take
BATCH = 500  # orders that are sent again in one transaction
TOLD_AT_ONCE = 200  # orders that nobody can move while their moves are told again
LOOKS = 3  # a message that goes from a queue to a hand, or back, is missed by one look
PAUSE = 0.5  # s in which a cook begins an order whose message it has just been handed
# How long subscribers may take to find a broker that has come back, and to make their queues.
SUBSCRIBERS_RETURN = timedelta(seconds=1.5 * resilient_consumer.MAX_RECONNECT_DELAY)

log = get_logger(NAME)


class Reconciliation:
    """Holds orders against messages, now and then. Any number of processes may do so at once."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        relay: Relay,
        settings: ReconciliationSettings,
        *,
        clock: Clock,
    ) -> None:
        self._database = database
        self._broker = broker
        self._relay = relay
        self._interval = settings.interval
        self._after = timedelta(seconds=settings.after)
        self._announce_again = timedelta(seconds=settings.announce_again)
        self._clock = clock
        self._blank_since: datetime | None = None
        self._patience = SUBSCRIBERS_RETURN

    async def run(self) -> None:
        """Check for as long as it runs; with a part away there is no check."""
        while True:
            with contextlib.suppress(Unavailable):  # the next round makes up for it
                await self.check()
            await asyncio.sleep(self._interval)

    async def check(self) -> None:
        """Send again the orders, and tell again the moves, whose messages are lost.

        All that is said again in one check has one new request id. Raises `Unavailable`.
        """
        sender = Sender(NAME, str(uuid4()))
        with request_id(sender.request_id):
            await self._send_what_is_lost(sender)
            await self._tell_a_blank_broker(sender)

    # --- orders -----------------------------------------------------------------------------------

    async def _send_what_is_lost(self, sender: Sender) -> None:
        """Send again as many orders as messages are missing: of each type the oldest.

        A message does not say that it is gone, and what is lost with a disk are the oldest.
        """
        async with self._database.connection() as connection:
            within = await reconciliation_queries.scan_bounds(
                connection, self._clock() - self._after
            )
        short = await self._shortage(within)
        for order_type in OrderType:
            if short[order_type]:
                await self._send_oldest(short[order_type], order_type, within, sender)

    async def _shortage(self, within: ScanBounds) -> Counter[OrderType]:
        """Count, by type, the orders that lack a message at each of several looks.

        A message goes from the outbox to a queue to a hand, and is looked for in this order; one
        that has just reached a hand is in neither. Orders are counted before and afterwards.
        """
        waiting = await self._waiting(within)
        short = waiting.orders - waiting.owed
        if not short:
            return short
        for _ in range(LOOKS):
            messages = waiting.owed + await self._messages()
            short &= waiting.orders - messages
            if not short:
                return short
            await asyncio.sleep(PAUSE)
            waiting = await self._waiting(within)
            short &= waiting.orders - messages
        return short

    async def _waiting(self, within: ScanBounds) -> Waiting:
        async with self._database.connection() as connection:
            return await reconciliation_queries.count_waiting(connection, within, ORDERS)

    async def _messages(self) -> Counter[OrderType]:
        """Count, for each type, the messages that could be its orders'.

        Those in its own queue, and all of those in queues that orders of any type may be in.
        """
        try:
            async with asyncio.timeout(BROKER_PATIENCE):
                await self._broker.connect()
                delayed = await self._broker.delayed()  # first: these go to the others, not back
                depths = await self._broker.depths()
        except TimeoutError as error:
            raise BrokerUnavailable("The broker does not say how long its queues are.") from error
        shared = delayed + depths[topology.GENERAL.name]
        return Counter(
            {kind: shared + depths[queue.name] for kind, queue in topology.SPECIALISED.items()}
        )

    async def _send_oldest(
        self, count: int, order_type: OrderType, within: ScanBounds, sender: Sender
    ) -> None:
        """Send these again batch by batch, for as long as nobody else is at it."""
        async with self._database.connection() as connection:
            last = await reconciliation_queries.nth_position(
                connection, count, order_type, within, ORDERS
            )
        sent = START
        while True:
            async with self._database.connection() as connection:
                places = await reconciliation_queries.next_positions(
                    connection, order_type, within, after=sent, last=last, limit=BATCH
                )
            if not places or not await self._send_batch(
                [each.id for each in places], within, sender
            ):
                return
            sent = places[-1]

    async def _send_batch(self, among: Sequence[int], within: ScanBounds, sender: Sender) -> bool:
        """Send again those that are due; return `False` when it is another process's turn."""
        now = self._clock()
        async with self._database.transaction() as tx:
            if not await reconciliation_queries.try_lock(tx):
                return False
            standing = await reconciliation_queries.stuck_orders(tx, among, within, ORDERS)
            due = [each for each in standing if each.is_due(now, self._after)]
            ids = [each.id for each in due]
            orders = await reconciliation_queries.order_bodies(tx, ids)
            owed = await outbox.add(
                tx,
                [
                    (each.order_number, order_received(each, at=now, sender=sender))
                    for each in orders
                ],
            )
            await reconciliation_queries.record_resends(tx, ids, now)
        self._relay.hand_over(*owed)
        for each in due:
            _log_resent(each, now)
        return True

    # --- updates ----------------------------------------------------------------------------------

    async def _tell_a_blank_broker(self, sender: Sender) -> None:
        """Tell again what subscribers may have missed, once they have had time to come back.

        The broker is marked last, so that a crash means once more, and never not at all.
        """
        if not await self._broker.is_blank():
            self._blank_since, self._patience = None, SUBSCRIBERS_RETURN
            return
        now = self._clock()
        self._blank_since = self._blank_since or now
        since = self._blank_since - self._announce_again
        if now - self._blank_since < self._patience and await self._has_moved(since):
            return
        told = await self._tell_again(since, sender)
        if told is None:
            return
        self._patience *= 2  # so that one that cannot be marked is not told for ever
        await self._broker.mark()
        if told:
            log.warning(
                "updates_announced_again",
                message=f"The broker came back blank: {told} updates were announced again.",
                count=told,
            )

    async def _has_moved(self, since: datetime) -> bool:
        async with self._database.connection() as connection:
            return await reconciliation_queries.any_moved_since(connection, since)

    async def _tell_again(self, since: datetime, sender: Sender) -> int | None:
        """Owe everyone these moves; return how many, `None` when another process is at it.

        Only within one order the order matters. So it is done bit by bit: no cook waits for long.
        """
        async with self._database.connection() as connection:
            moved = await reconciliation_queries.orders_moved_since(connection, since)
        told = 0
        for first in range(0, len(moved), TOLD_AT_ONCE):
            count = await self._tell_of(moved[first : first + TOLD_AT_ONCE], since, sender)
            if count is None:
                return None
            told += count
        return told

    async def _tell_of(self, orders: Sequence[int], since: datetime, sender: Sender) -> int | None:
        async with self._database.transaction() as tx:
            if not await reconciliation_queries.try_lock(tx):
                return None
            moves = await reconciliation_queries.status_changes_since(tx, since, orders)
            owed = await outbox.add(
                tx, [(each.order_number, status_changed(each, sender=sender)) for each in moves]
            )
        self._relay.hand_over(*owed)
        return len(owed)


def _log_resent(order: StuckOrder, now: datetime) -> None:
    seconds = int((now - order.since).total_seconds())
    log.warning(
        "order_resent",
        message=f"Order {order.number} stood still for {seconds} s ({order.status}); sent again.",
        order_number=order.number,
        status=order.status,
        stood_still_seconds=seconds,
    )
