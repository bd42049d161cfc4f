"""Mutate the product, each time into a system that loses or duplicates orders.

A service of a fault run applies one of them when it starts. The checker must find each of these;
the product itself knows nothing of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from types import ModuleType

from restaurant_system.database import order_placement, orders, outbox
from restaurant_system.database.connection import Connection
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.messaging import topology
from restaurant_system.messaging.in_memory_outbox import InMemoryOutbox
from restaurant_system.worker import lifecycle


def unroutable_unnoticed() -> None:
    """Publish without `mandatory`, so that messages are lost; claim nothing without a message."""
    find = topology.exchange
    _patch(topology, "exchange", lambda name: replace(find(name), mandatory=False))
    _patch(lifecycle, "POLL_INTERVAL", 1e9)


LATE = "pg_sleep(0.1 * random())"  # another time for each transaction
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
    """Read the outbox from the last seen id on."""
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
    # A transaction that commits late commits ids below the last seen one.
    last = "body FROM numbered"
    _rewrite(order_placement, "PLACE", last, f"{last.replace(' FROM', f', {LATE} FROM')}")
    # Enqueued messages only trigger a read.
    _patch(InMemoryOutbox, "add", lambda _, messages: [each.id for each in messages])


def no_compare_and_set() -> None:
    """Move an order whatever its status is."""
    _rewrite(orders, "MOVE", "AND locked.status = requested.origin", "")
    _rewrite(orders, "MOVE", "(locked.processed_by = requested.by", "(true")


def number_from_sequence() -> None:
    """Take order numbers from a sequence, which does not roll back."""
    _rewrite(
        order_placement,
        "PLACE",
        "(last_number - orders + rank)::text",
        "(accepted.id % 1000000000)::text",
    )


def no_idempotency_key() -> None:
    """Treat each request as a new order."""
    _rewrite(order_placement, "PLACE", "OR id IN (SELECT order_id FROM claimed_keys)", "OR true")


def _patch(owner: object, name: str, by: object) -> None:
    """Replace an attribute that must exist."""
    assert hasattr(owner, name)
    setattr(owner, name, by)


def _rewrite(module: ModuleType, statement: str, part: str, by: str) -> None:
    """Replace a part of a statement that must contain it."""
    before = getattr(module, statement)
    assert part in before
    _patch(module, statement, before.replace(part, by))


async def _create(tx: Connection, statement: str) -> None:
    """Create the database objects that a mutation needs, once for all processes."""
    await tx.execute("SELECT pg_advisory_xact_lock(666)")
    await tx.execute(statement)


MUTATIONS: dict[str, Callable[[], None]] = {
    mutation.__name__.replace("_", "-"): mutation
    for mutation in (
        unroutable_unnoticed,
        outbox_by_cursor,
        no_compare_and_set,
        number_from_sequence,
        no_idempotency_key,
    )
}
