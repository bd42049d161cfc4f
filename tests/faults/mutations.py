"""Breaks the product on purpose, each time in the way of some system that loses meals.

Run in place of a service: ``python -m tests.faults.mutations NAME SERVICE [OPTIONS]``. The checker
must find each of these; the product itself knows nothing of them.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from types import ModuleType

from restaurant_system import cli
from restaurant_system.config import DeliverySettings
from restaurant_system.database import order_placement, orders, outbox
from restaurant_system.database.connection import Connection
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Delivery
from restaurant_system.messaging.dead_letter_limit import DeadLetterLimit
from restaurant_system.messaging.in_memory_outbox import InMemoryOutbox
from restaurant_system.models.message import Message
from restaurant_system.worker.lifecycle import KitchenWorker


def ack_before_commit() -> None:
    """Take an order off its queue first, and cook it then."""
    cook = KitchenWorker._process_and_settle  # noqa: SLF001 - sabotage comes in by the window

    async def ack_and_cook(self: KitchenWorker, delivery: Delivery) -> None:
        await delivery.ack()
        await cook(self, _Gone(delivery.message))

    _patch(KitchenWorker, "_process_and_settle", ack_and_cook)


class _Gone(Delivery):
    """A message that is no longer in anybody's hands."""

    def __init__(self, message: Message) -> None:
        limit = DeadLetterLimit(DeliverySettings(), time.monotonic)
        super().__init__(
            message, queue="", redelivered=False, settings=DeliverySettings(), limit=limit
        )

    async def ack(self) -> None:
        """Do nothing: it is gone."""

    async def requeue(self) -> None:
        """Do nothing: it is gone."""

    async def _publish_and_ack(self, *_: object) -> None:
        """Do nothing: it is gone."""


def unroutable_unnoticed() -> None:
    """Publish without asking whether a message reached any queue."""
    find = topology.exchange
    _patch(topology, "exchange", lambda name: replace(find(name), mandatory=False))


CURSOR = "CREATE TABLE IF NOT EXISTS outbox_cursor AS SELECT 0::bigint AS last_seen"
READ_ON = """
WITH unread AS (
    SELECT outbox.* FROM outbox, outbox_cursor WHERE id > last_seen ORDER BY id LIMIT $1
), moved AS (
    UPDATE outbox_cursor SET last_seen = greatest(last_seen, (SELECT max(id) FROM unread))
)
SELECT * FROM unread ORDER BY id
"""


def outbox_by_cursor() -> None:
    """Read the outbox on from the last id that was seen."""
    message_of = outbox.outbox_message

    async def read_on(tx: Connection, limit: int) -> list[OutboxMessage]:
        await _create(tx, CURSOR)
        return [message_of(row) for row in await tx.fetch(READ_ON, limit)]

    async def claim(tx: Connection, ids: Sequence[int]) -> list[OutboxMessage]:
        return await read_on(tx, len(ids))

    async def claim_left_behind(tx: Connection, _: timedelta, limit: int) -> list[OutboxMessage]:
        return await read_on(tx, limit)

    _patch(outbox, "claim", claim)
    _patch(outbox, "claim_overdue", claim_left_behind)
    # Whoever commits late commits ids that others have read past.
    last = "queued.* FROM numbered"
    _rewrite(order_placement, "PLACE", last, f"{last.replace(' FROM', ', pg_sleep(0.03) FROM')}")
    # What is handed over is only a reason to read on.
    _patch(InMemoryOutbox, "add", lambda _, messages: [each.id for each in messages])


def no_compare_and_set() -> None:
    """Move an order wherever it stands."""
    _rewrite(orders, "MOVE", "AND locked.status = requested.origin", "")
    _rewrite(orders, "MOVE", "AND (locked.processed_by = requested.by", "AND (true")


def number_from_sequence() -> None:
    """Take the numbers from a sequence, which takes none back."""
    _rewrite(order_placement, "PLACE", "(last_number - orders + rank)::text", "accepted.id::text")


def no_idempotency_key() -> None:
    """Take each request for a new order."""
    _rewrite(order_placement, "PLACE", "OR id IN (SELECT order_id FROM claimed_keys)", "OR true")


def _patch(owner: object, name: str, by: object) -> None:
    """Put something in the place of what is there; no pytest, which takes long to start."""
    assert hasattr(owner, name)
    setattr(owner, name, by)


def _rewrite(module: ModuleType, statement: str, part: str, by: str) -> None:
    """Replace a part of a statement, which must be there."""
    before = getattr(module, statement)
    assert part in before
    _patch(module, statement, before.replace(part, by))


async def _create(tx: Connection, statement: str) -> None:
    """Create what a sabotage needs, whoever comes first."""
    await tx.execute("SELECT pg_advisory_xact_lock(666)")
    await tx.execute(statement)


SWITCHES: dict[str, Callable[[], None]] = {
    switch.__name__.replace("_", "-"): switch
    for switch in (
        ack_before_commit,
        unroutable_unnoticed,
        outbox_by_cursor,
        no_compare_and_set,
        number_from_sequence,
        no_idempotency_key,
    )
}


if __name__ == "__main__":
    SWITCHES[sys.argv.pop(1)]()
    cli.main()
