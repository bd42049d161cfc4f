"""Read-only queries on orders: status, history, lists and statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import jiter

from restaurant_system.database.connection import Connection
from restaurant_system.database.order_months import MAX_ID, numbers_and_ids, with_numbers
from restaurant_system.models.fields import without_unset
from restaurant_system.models.order import OPTIONAL_OF_ORDER, OrderType
from restaurant_system.models.order_items import OPTIONAL_OF_ITEM
from restaurant_system.models.status import OrderStatus

Row: TypeAlias = asyncpg.Record


# What only the estimate of a waiting order needs is null for others, which is faster to decode.
_STATUS = """
id, number, type, status, updated_at, estimated_completion, processed_by,
CASE status WHEN 'received' THEN rank_at END AS rank_at,
CASE status WHEN 'received' THEN released_at END AS released_at,
CASE status WHEN 'received' THEN ready_at END AS ready_at
"""
STATUSES = f"SELECT orders.* FROM {with_numbers(_STATUS)}"


async def statuses(connection: Connection, numbers: Sequence[str]) -> dict[str, Row]:
    """Return the status of these orders by number; unknown numbers are left out."""
    rows = await connection.fetch(STATUSES, *numbers_and_ids(numbers))
    return {row["number"]: row for row in rows}


HISTORY = f"""
SELECT log.status, log.changed_at, log.changed_by
FROM {with_numbers("id")} JOIN order_status_log AS log ON log.order_id = orders.id
ORDER BY log.id
"""


async def history(connection: Connection, number: str) -> list[asyncpg.Record]:
    """Return the status log of an order, oldest first; empty if there is no such order."""
    return await connection.fetch(HISTORY, *numbers_and_ids([number]))


ORDER_COLUMNS = """
id, number, customer_name, type, table_number, delivery_address, notes, total_amount, priority,
status, processed_by, created_at, updated_at, completed_at, estimated_completion, handoff,
table_label AS table, allergy_note, reference, channel, external_id, phone, ready_at, charges,
amount_due, items_total, released_at, handed_over_at, uncollected_at
"""


def _is_scheduled(wanted: str) -> str:
    """Return the condition that an order is scheduled, or that it is not; null allows both."""
    return f"({wanted}::bool IS NULL OR (status = 'received' AND released_at IS NULL) = {wanted})"


def _newest(condition: str = "true") -> str:
    """Return a query of the newest orders that satisfy a condition.

    The newest orders of each status and type come from an index; the newest of all are among them.
    A filter applied row by row would scan years if only old orders match it. The type is compared
    as a range of one value so that the index is used, which is sorted by it.
    """
    return f"""
SELECT {ORDER_COLUMNS} FROM orders
WHERE id = ANY (ARRAY(
    SELECT newest.id
    FROM unnest($1::text[]) AS wanted (status) CROSS JOIN unnest($2::text[]) AS wanted_types (type)
    CROSS JOIN LATERAL (
        SELECT id FROM orders
        WHERE {condition} AND status = wanted.status
          AND type BETWEEN wanted_types.type AND wanted_types.type AND id < $3
        ORDER BY orders.type, id DESC LIMIT $4
    ) AS newest
    ORDER BY newest.id DESC LIMIT $4
))
ORDER BY id DESC
"""


def _found(key: str, wanted: str = "$5") -> str:
    """Return a query of the orders with a value of an indexed expression that few orders share."""
    return f"""
SELECT {ORDER_COLUMNS} FROM orders
WHERE {key} = {wanted} AND status = ANY ($1) AND type = ANY ($2) AND id < $3
  AND ($6::text IS NULL OR channel = $6) AND ($7::text IS NULL OR external_id = $7)
  AND {_is_scheduled("$8")}
ORDER BY {key}, id DESC LIMIT $4
"""


ORDERS = _newest()
ORDERS_SCHEDULED = _newest("status = 'received' AND released_at IS NULL")
ORDERS_NOT_SCHEDULED = _newest("(status <> 'received' OR released_at IS NOT NULL)")
ORDERS_OF_CHANNEL = _newest(f"channel = $5 AND {_is_scheduled('$6')}")
ORDERS_BY_REFERENCE = _found("lower(reference)", "lower($5::text)")
ORDERS_BY_EXTERNAL_ID = _found("external_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """The orders to be listed: those with all values that are given."""

    status: str | None = None
    order_type: str | None = None
    reference: str | None = None
    channel: str | None = None
    external_id: str | None = None
    scheduled: bool | None = None


async def orders(
    connection: Connection, wanted: OrderFilter, *, before: int | None, limit: int
) -> list[asyncpg.Record]:
    """Return orders with an id below `before`, newest first."""
    statuses = list(OrderStatus) if wanted.status is None else [wanted.status]
    if wanted.scheduled:  # orders of other statuses, of which there are many, are not read
        statuses = [each for each in statuses if each == OrderStatus.RECEIVED]
    types = list(OrderType) if wanted.order_type is None else [wanted.order_type]
    page = (statuses, types, before or MAX_ID, limit)
    others = (wanted.channel, wanted.external_id, wanted.scheduled)
    if wanted.reference is not None:
        return await connection.fetch(ORDERS_BY_REFERENCE, *page, wanted.reference, *others)
    if wanted.external_id is not None:
        return await connection.fetch(ORDERS_BY_EXTERNAL_ID, *page, wanted.external_id, *others)
    if wanted.channel is not None:
        return await connection.fetch(ORDERS_OF_CHANNEL, *page, wanted.channel, wanted.scheduled)
    if wanted.scheduled is not None:
        statement = ORDERS_SCHEDULED if wanted.scheduled else ORDERS_NOT_SCHEDULED
        return await connection.fetch(statement, *page)
    return await connection.fetch(ORDERS, *page)


ORDER = f"SELECT orders.* FROM {with_numbers(ORDER_COLUMNS)}"


async def order(connection: Connection, number: str) -> asyncpg.Record | None:
    """Return an order without its items; `None` if there is no such order."""
    return await connection.fetchrow(ORDER, *numbers_and_ids([number]))


CANCEL_REASON = """
SELECT notes FROM order_status_log WHERE order_id = $1 AND status = 'cancelled'
"""


async def cancel_reason(connection: Connection, order_id: int) -> str | None:
    """Return why an order was cancelled, if a reason was given and is not erased."""
    reason: str | None = await connection.fetchval(CANCEL_REASON, order_id)
    return reason


TRACKING_LINK = "SELECT tracking_token FROM orders WHERE number = $1"


async def tracking_token(connection: Connection, number: str) -> bytes | None:
    """Return the token of an order's tracking link; `None` if it has none, or does not exist."""
    token: bytes | None = await connection.fetchval(TRACKING_LINK, number)
    return token


ITEMS = """
SELECT order_id, name, quantity, price, notes, modifiers, guest, course, sku FROM order_items
WHERE order_id = ANY($1) ORDER BY order_id, id
"""


async def items(
    connection: Connection, order_ids: Sequence[int]
) -> dict[int, list[dict[str, Any]]]:
    """Return the items of these orders by order id, each with the optional fields that it has."""
    by_order: dict[int, list[dict[str, Any]]] = {order_id: [] for order_id in order_ids}
    for row in await connection.fetch(ITEMS, list(order_ids)):
        item = without_unset(dict(row), OPTIONAL_OF_ITEM)
        if "modifiers" in item:
            item["modifiers"] = decode_json(item["modifiers"])
        by_order[item.pop("order_id")].append(item)
    return by_order


def optional_fields(row: asyncpg.Record) -> dict[str, Any]:
    """Return the optional fields that an order has, by their names in JSON."""
    fields = {name: row[name] for name in OPTIONAL_OF_ORDER if row[name] is not None}
    if "charges" in fields:
        fields["charges"] = decode_json(fields["charges"])
    return fields


def decode_json(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the value of a jsonb column, with exact decimals."""
    return jiter.from_json(text.encode(), float_mode="decimal")


# When an order counts as due and as late is defined by `Lateness` in models/timing.py.
COUNTS = """
SELECT status, type, count(*) AS orders, sum(total_amount) AS amount,
       count(*) FILTER (WHERE completed_at IS NOT NULL OR promised_at <= $2) AS due,
       count(*) FILTER (WHERE coalesce(completed_at, $2) >= promised_at) AS late
FROM (
    SELECT status, type, total_amount, completed_at,
           coalesce(ready_at, created_at + late.age) AS promised_at
    FROM orders JOIN unnest($3::text[], $4::interval[]) AS late (type, age) USING (type)
    WHERE business_date = $1
) AS orders_of_date
GROUP BY status, type
"""


async def counts(
    connection: Connection,
    business_date: date,
    now: datetime,
    late_after: Mapping[OrderType, timedelta],
) -> list[asyncpg.Record]:
    """Count a day's orders by status and type, and the due and late ones of them."""
    types, ages = list(late_after), list(late_after.values())
    return await connection.fetch(COUNTS, business_date, now, types, ages)


PREPARATION = """
SELECT type,
       percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (
           ORDER BY extract(epoch FROM greatest(interval '0', completed_at - CASE
               WHEN ready_at IS NULL THEN created_at ELSE greatest(released_at, created_at)
           END))::float) AS percentiles
FROM orders
WHERE business_date = $1 AND completed_at IS NOT NULL
  AND (ready_at IS NULL OR released_at <= completed_at)
GROUP BY type
"""


async def preparation_percentiles(
    connection: Connection, business_date: date
) -> dict[OrderType, list[float]]:
    """Return p50, p90 and p99 of a day's seconds from received to ready, by type.

    Those of a scheduled order begin when it is released. One for a later business date counts as
    released then (scheduled_orders.py): if it is ready before, how long it took is unknown.
    """
    rows = await connection.fetch(PREPARATION, business_date)
    return {OrderType(row["type"]): row["percentiles"] for row in rows}


PER_HOUR = """
SELECT date_trunc('hour', created_at, $2) AS hour, count(*) AS orders
FROM orders WHERE business_date = $1 GROUP BY hour ORDER BY hour
"""


async def per_hour(
    connection: Connection, business_date: date, timezone: str
) -> dict[datetime, int]:
    """Count a day's orders by hour in a time zone; hours without orders are left out."""
    rows = await connection.fetch(PER_HOUR, business_date, timezone)
    return {row["hour"]: row["orders"] for row in rows}
