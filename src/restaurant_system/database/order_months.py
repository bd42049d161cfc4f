"""The partitions of `orders`, `order_items` and `order_status_log`, one of each for a month.

The id of an order begins with the month of its business date, as its number does. See
docs/decisions/011-months.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import asyncpg

from restaurant_system.database.connection import Database
from restaurant_system.database.connection_factory import UnpooledConnection

# Ids below this one are of orders from before there were months, which have partitions of their
# own. It is also the number of ids of a month. The SQL function `first_order_id` has the same rule.
IDS_OF_MONTH = 1_000_000_000_000
MAX_ID = 2**63 - 1
YEAR_AND_MONTH = slice(len("ORD_"), len("ORD_202612"))


def with_numbers(columns: str, first: int = 1, *, lock: str = "") -> str:
    """Return an item of `FROM`: the orders with these numbers; each is searched in its month only.

    Its parameters, from `$first` on, are those of `numbers_and_ids`. Each order is looked up and
    locked by itself, in the sequence of the numbers, whatever the planner knows of the tables.
    """
    numbers, ids = f"${first}::text[]", f"${first + 1}::bigint[]"
    # The partitions of no number are excluded before the execution, which saves opening them.
    return f"""
unnest({numbers}, {ids}) AS wanted (number, first_id) CROSS JOIN LATERAL (
    SELECT {columns} FROM orders
    WHERE orders.number = wanted.number
      AND (id >= wanted.first_id AND id < wanted.first_id + {IDS_OF_MONTH} OR id < {IDS_OF_MONTH})
      AND (id >= ({ids})[1] AND id < ({ids})[cardinality({ids})] + {IDS_OF_MONTH}
           OR id < {IDS_OF_MONTH})
    {lock} OFFSET 0
) AS orders
"""


def numbers_and_ids(numbers: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return sorted order numbers, each with the first id of its month.

    Malformed ones, which no order has, are left out.
    """
    wanted = sorted({number for number in numbers if _has_month(number)})
    return wanted, [_first_id_of(number[YEAR_AND_MONTH]) for number in wanted]


def _has_month(number: str) -> bool:
    month = number[YEAR_AND_MONTH]
    return number.startswith("ORD_") and month.isdecimal() and month.isascii()


def _first_id_of(month: str) -> int:
    return (int(month) - 2000_00) * IDS_OF_MONTH


CREATE = "SELECT create_order_month($1)"

# The months of partitions, and `earlier` for the orders from before there were months.
LIST = """
SELECT substr(relname, length('orders_') + 1) AS month
FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'orders'::regclass
ORDER BY relname
"""
EARLIER = "earlier"
LATEST = "SELECT business_date FROM orders ORDER BY id DESC LIMIT 1"
LATEST_EARLIER = f"SELECT max(business_date) FROM orders WHERE id < {IDS_OF_MONTH}"
COUNT = "SELECT count(*) FROM orders WHERE id >= $1 AND id < $2"
COUNT_OPEN = f"{COUNT} AND status IN ('received', 'cooking')"
KEEP_NUMBERS = """
UPDATE external_orders SET order_number = number FROM orders
WHERE orders.id = order_id AND order_id >= $1 AND order_id < $2 AND order_number IS NULL
"""
DELETE_REFERENCES = (
    "DELETE FROM station_tickets WHERE order_id >= $1 AND order_id < $2",
    "DELETE FROM order_resends WHERE order_id >= $1 AND order_id < $2",
)
DROP = "SELECT drop_order_month($1)"
# Other sessions hold locks, an order was moved back meanwhile, or a foreign key or a view of the
# administrator's own refers to the month.
NOT_NOW = (
    asyncpg.LockNotAvailableError,
    asyncpg.ObjectInUseError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.DependentObjectsStillExistError,
)


@dataclass(frozen=True, slots=True)
class DeletedMonth:
    """A month whose orders were deleted, such as `2026-12`, and how many these were."""

    month: str
    orders: int


class OrderMonths:
    """Creates the partitions of months when they begin, and deletes those of old ones.

    Any number of processes may do so at once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._created: set[date] = set()
        self.kept: dict[str, str] = {}

    async def ensure(self, business_date: date) -> None:
        """Create the partitions for the orders of a business date, unless they exist."""
        month = business_date.replace(day=1)
        if month in self._created:
            return
        async with self._database.connection() as connection:
            await connection.execute(CREATE, month)
        self._created.add(month)

    async def latest_date(self) -> date | None:
        """Return the business date of the newest order; `None` if there is none."""
        async with self._database.connection() as connection:
            latest: date | None = await connection.fetchval(LATEST)
        return latest

    async def delete_before(self, first: date) -> list[DeletedMonth]:
        """Delete the orders of all months before the one that begins with `first`.

        A month is kept while an order is received or cooking, other sessions have the tables
        locked, or objects that are not ours refer to it: `kept` has the reasons by month. Orders
        from before there were months are deleted together, once all are older. The id that a
        channel gave a deleted order is taken for ever, and keeps the order's number.
        """
        deleted = []
        self.kept = {}
        async with self._database.without_timeout() as connection:
            for row in await connection.fetch(LIST):
                name = row["month"]
                if await _is_before(connection, name, first):
                    orders = await self._delete(connection, name)
                    if orders is not None:
                        deleted.append(DeletedMonth(_label(name), orders))
        return deleted

    async def _delete(self, connection: UnpooledConnection, name: str) -> int | None:
        """Delete a month; return how many orders it had, `None` if it was not deleted."""
        ids = _ids_of(name)
        if unfinished := await connection.fetchval(COUNT_OPEN, *ids):
            self.kept[_label(name)] = f"{unfinished:,} of its orders are received or cooking"
            return None
        orders: int = await connection.fetchval(COUNT, *ids)
        for statement in (KEEP_NUMBERS, *DELETE_REFERENCES):
            await connection.execute(statement, *ids)
        try:
            return orders if await connection.fetchval(DROP, name) else None
        except NOT_NOW as error:
            self.kept[_label(name)] = str(error.args[0])
            return None


async def _is_before(connection: UnpooledConnection, name: str, first: date) -> bool:
    if name == EARLIER:
        latest: date | None = await connection.fetchval(LATEST_EARLIER)
        return latest is not None and latest < first
    return name < f"{first:%Y%m}"


def _ids_of(name: str) -> tuple[int, int]:
    """Return the first id of a month, and the first one after it."""
    if name == EARLIER:
        return -MAX_ID, IDS_OF_MONTH
    first = _first_id_of(name)
    return first, first + IDS_OF_MONTH


def _label(name: str) -> str:
    return "earlier months" if name == EARLIER else f"{name[:4]}-{name[4:]}"
