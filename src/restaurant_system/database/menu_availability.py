"""Read and write how many portions of menu items are left: the 86 list of the restaurant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from restaurant_system.database.connection import Connection
from restaurant_system.models.menu_offer import Limit


@dataclass(frozen=True, slots=True)
class StoredLimit:
    """A limit as it is stored, with when and by whom it was set."""

    item: str
    limit: Limit
    changed_at: datetime
    changed_by: str | None


SELECT = """
SELECT item, remaining, until, changed_at, changed_by FROM menu_availability
WHERE until IS NULL OR until > $1 ORDER BY item
"""


async def limits(connection: Connection, at: datetime) -> list[StoredLimit]:
    """Return the limits that have not ended."""
    return [
        StoredLimit(
            row["item"], Limit(row["remaining"], row["until"]), row["changed_at"], row["changed_by"]
        )
        for row in await connection.fetch(SELECT, at)
    ]


HAS_ORDER_SERVICE = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'order-service'
)
"""


async def has_order_service(connection: Connection) -> bool:
    """Return whether an order service is connected to the database."""
    return bool(await connection.fetchval(HAS_ORDER_SERVICE))


SET = """
INSERT INTO menu_availability (item, remaining, until, changed_at, changed_by)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (item) DO UPDATE
    SET remaining = excluded.remaining, until = excluded.until,
        changed_at = excluded.changed_at, changed_by = excluded.changed_by
"""


async def set_limit(tx: Connection, stored: StoredLimit, other_keys: Sequence[str]) -> None:
    """Store a limit, in place of earlier ones of the same item, also under its other keys."""
    limit = stored.limit
    if other_keys:  # which sort before the key, as `name:` does before `sku:`
        await tx.execute(DELETE_KEYS, other_keys)
    await tx.execute(
        SET, stored.item, limit.remaining, limit.until, stored.changed_at, stored.changed_by
    )


DELETE_KEYS = """
DELETE FROM menu_availability WHERE item = ANY (ARRAY(
    SELECT item FROM menu_availability WHERE item = ANY ($1) ORDER BY item FOR UPDATE
))
"""


# Locked in the order of the keys, as below.
DELETE = """
DELETE FROM menu_availability WHERE item = ANY (ARRAY(
    SELECT item FROM menu_availability WHERE item = ANY ($1) OR until < $2 ORDER BY item FOR UPDATE
))
"""


async def lift_limit(tx: Connection, keys: Sequence[str], at: datetime) -> None:
    """Delete the limits of an item, by all its keys, and all that have ended."""
    await tx.execute(DELETE, keys, at)


# Locked in the order of the keys, so that two transactions cannot deadlock.
LOCK = """
SELECT item, remaining, until FROM menu_availability WHERE item = ANY ($1) ORDER BY item FOR UPDATE
"""


async def lock_limits(tx: Connection, items: Sequence[str]) -> dict[str, Limit]:
    """Lock the limits of items until the end of the transaction, and return them."""
    rows = await tx.fetch(LOCK, items)
    return {row["item"]: Limit(row["remaining"], row["until"]) for row in rows}


SELL = """
UPDATE menu_availability SET remaining = remaining - sold.portions
FROM unnest($1::text[], $2::integer[]) AS sold (item, portions)
WHERE menu_availability.item = sold.item
"""


async def sell(tx: Connection, portions: Mapping[str, int]) -> None:
    """Subtract portions that were ordered from limits that are locked."""
    await tx.execute(SELL, list(portions), list(portions.values()))
