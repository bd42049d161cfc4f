"""Placing orders: many in one statement, which is one transaction.

The row that counts a day's orders stays locked until its transaction is on disk. One transaction an
order would hold the whole restaurant to one order a flush; together, orders share the wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.models.message import Message, OrderReceived
from restaurant_system.models.order import NewOrder


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """An idempotency key, and what two requests share exactly when they ask for the same order."""

    name: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """An order to be placed, and the message that tells the kitchen, still without its number."""

    order: NewOrder
    unnumbered: Message
    key: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """The number that an order has got, and its message."""

    number: str
    owed: OutboxMessage


# Locks are taken in the same order by everyone, keys by name and then the day's counter: whoever
# waits for another is not waited for. An expired key is as good as a new one, also before the
# cleaning has come to it. Ids are drawn first, for the key needs one; a gap in them means nothing.
# The number is written as `order_number` in models/order.py has it.
PLACE = f"""
WITH asked AS MATERIALIZED (
    SELECT *, nextval('orders_id_seq') AS id
    FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::numeric[],
                $7::integer[], $8::text[], $9::bytea[], $10::text[], $11::bytea[], $12::uuid[],
                $13::text[])
        WITH ORDINALITY AS asked (
            customer_name, type, table_number, delivery_address, notes, total_amount, priority,
            key, fingerprint, routing_key, body, message_id, correlation_id, place)
), taken AS (
    INSERT INTO idempotency_keys (key, fingerprint, order_id)
    SELECT key, fingerprint, id FROM asked WHERE key IS NOT NULL ORDER BY key
    ON CONFLICT (key) DO UPDATE
        SET fingerprint = excluded.fingerprint, order_id = excluded.order_id, created_at = now()
        WHERE idempotency_keys.created_at < now() - $14::interval
    RETURNING order_id
), granted AS MATERIALIZED (
    SELECT *, row_number() OVER (ORDER BY place) AS turn, count(*) OVER () AS orders
    FROM asked WHERE key IS NULL OR id IN (SELECT order_id FROM taken)
), counted AS (
    INSERT INTO order_counters (business_date, last_number)
    SELECT $15::date, orders FROM granted LIMIT 1
    ON CONFLICT (business_date) DO UPDATE
        SET last_number = order_counters.last_number + excluded.last_number
    RETURNING last_number
), sequenced AS (
    SELECT granted.*, (last_number - orders + turn)::text AS sequence FROM granted, counted
), numbered AS MATERIALIZED (
    SELECT *, to_char($15::date, '"ORD_"YYYYMMDD"_"')
              || lpad(sequence, greatest(length(sequence), 3), '0') AS number
    FROM sequenced
), placed AS (
    INSERT INTO orders (id, created_at, updated_at, number, business_date, customer_name, type,
                        table_number, delivery_address, notes, total_amount, priority)
    OVERRIDING SYSTEM VALUE
    SELECT id, $16::timestamptz, $16, number, $15, customer_name, type,
           table_number, delivery_address, notes, total_amount, priority
    FROM numbered
), listed AS (
    INSERT INTO order_items (created_at, order_id, name, quantity, price, notes)
    SELECT $16, numbered.id, item.name, item.quantity, item.price, item.notes
    FROM unnest($17::bigint[], $18::text[], $19::integer[], $20::numeric[], $21::text[])
        WITH ORDINALITY AS item (place, name, quantity, price, notes, position)
    JOIN numbered USING (place) ORDER BY item.position
), logged AS (
    INSERT INTO order_status_log (created_at, order_id, status, changed_by, changed_at)
    SELECT $16, id, 'received', $22, $16 FROM numbered
), owed AS (
    INSERT INTO outbox (stream, exchange, routing_key, type, body, message_id, correlation_id,
                        app_id, timestamp, priority)
    SELECT $23 || '/' || number, $23, routing_key, $24,
           overlay(body PLACING convert_to(number, 'UTF8')
                   FROM {OrderReceived.NUMBER_FROM} + 1 FOR {len(OrderReceived.NO_NUMBER)}),
           message_id, correlation_id, $22, $16, priority
    FROM numbered ORDER BY turn
    RETURNING id, stream, message_id
)
SELECT place, number, owed.id, owed.stream FROM numbered JOIN owed USING (message_id)
"""


async def place(
    connection: Connection,
    orders: Sequence[PlaceOrder],
    *,
    at: datetime,
    business_date: date,
    key_lifetime: timedelta,
) -> list[StoredOrder | None]:
    """Place orders, each with its items, first log row, key and message: all of them or none.

    They are numbered in the order in which they stand here. `None` stands for one whose key was
    taken before. No two of them may have the same key. Whoever places orders of the same day, or
    with one of these keys, at the same time waits until these are on disk.
    """
    first = orders[0].unnumbered
    rows = await connection.fetch(
        PLACE,
        *_order_columns([each.order for each in orders]),
        [each.key and each.key.name for each in orders],
        [each.key and each.key.fingerprint for each in orders],
        *_message_columns([each.unnumbered for each in orders]),
        key_lifetime,
        business_date,
        at,
        *_item_columns([each.order for each in orders]),
        first.app_id,
        first.exchange,
        first.type,
    )
    placed = {row["place"]: row for row in rows}
    return [
        _placed(each, placed[position], at) if position in placed else None
        for position, each in enumerate(orders, start=1)
    ]


def _placed(asked: PlaceOrder, row: asyncpg.Record, at: datetime) -> StoredOrder:
    body = OrderReceived.numbered(asked.unnumbered.body, row["number"])
    message = replace(asked.unnumbered, body=body, timestamp=at)
    return StoredOrder(row["number"], OutboxMessage(row["id"], row["stream"], message))


def _order_columns(orders: Sequence[NewOrder]) -> tuple[list[object], ...]:
    """Turn orders into one list for each column, as `unnest` wants them."""
    return (
        [order.customer_name for order in orders],
        [order.order_type for order in orders],
        [order.table_number for order in orders],
        [order.delivery_address for order in orders],
        [order.notes for order in orders],
        [order.total_amount for order in orders],
        [order.priority for order in orders],
    )


def _message_columns(messages: Sequence[Message]) -> tuple[list[object], ...]:
    return (
        [message.routing_key for message in messages],
        [message.body for message in messages],
        [message.message_id for message in messages],
        [message.correlation_id for message in messages],
    )


def _item_columns(orders: Sequence[NewOrder]) -> tuple[list[object], ...]:
    """Turn the items of all orders into columns, each item beside the place of its order."""
    items = [(place, item) for place, order in enumerate(orders, start=1) for item in order.items]
    return (
        [place for place, _ in items],
        [item.name for _, item in items],
        [item.quantity for _, item in items],
        [item.price for _, item in items],
        [item.notes for _, item in items],
    )
