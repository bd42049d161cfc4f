"""Store new orders, many in one statement, which is one transaction (group commit).

The row that counts a day's orders stays locked until its transaction is on disk. With one
transaction per order, the restaurant could take only one order per flush; orders that share a
transaction share the wait. See docs/decisions/005-group-commit.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

from restaurant_system.database.connection import Connection
from restaurant_system.database.message_columns import COLUMNS, encode_headers
from restaurant_system.database.outbox import OutboxMessage, outbox_message
from restaurant_system.models.audit import Actor
from restaurant_system.models.message import Header, OrderReceived, new_message_id
from restaurant_system.models.order import NewOrder
from restaurant_system.models.tracking_link import new_token


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """An idempotency key, and a fingerprint that is equal for equal orders only."""

    name: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOrder:
    """A command to store an order, with what its message needs besides its number.

    `unnumbered_body` is the result of `OrderReceived.encode_without_number`. `by` is the person who
    places the order, if it is to be recorded. `headers` are those of the message.
    """

    order: NewOrder
    unnumbered_body: bytes
    routing_key: str
    request_id: str
    message_id: UUID = field(default_factory=new_message_id)
    tracking_token: bytes = field(default_factory=new_token)
    key: IdempotencyKey | None = None
    by: Actor | None = None
    headers: Mapping[str, Header] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """The number that an order was given, and its message in the outbox."""

    number: str
    message: OutboxMessage


# Every transaction takes its locks in the same order, keys by name and then the day's counter, so
# that two of them cannot deadlock. An expired key counts as free, even before the cleanup deletes
# it. Ids are drawn first, because the row of a key needs one; gaps between ids have no meaning.
# The number is formatted as by `order_number` in models/order.py. This is the only place where it
# is added to the message, whose stored row is returned for the relay.
PLACE = f"""
WITH requested AS MATERIALIZED (
    SELECT *, nextval('orders_id_seq') AS id
    FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::numeric[],
                $7::integer[], $8::text[], $9::bytea[], $10::text[], $11::bytea[], $12::uuid[],
                $13::text[], $25::bytea[])
        WITH ORDINALITY AS requested (
            customer_name, type, table_number, delivery_address, notes, total_amount, priority,
            key, fingerprint, routing_key, unnumbered_body, message_id, request_id,
            tracking_token, position)
), claimed_keys AS (
    INSERT INTO idempotency_keys (key, fingerprint, order_id)
    SELECT key, fingerprint, id FROM requested WHERE key IS NOT NULL ORDER BY key
    ON CONFLICT (key) DO UPDATE
        SET fingerprint = excluded.fingerprint, order_id = excluded.order_id, created_at = now()
        WHERE idempotency_keys.created_at < now() - $14::interval
    RETURNING order_id
), accepted AS MATERIALIZED (
    SELECT *, row_number() OVER (ORDER BY position) AS rank, count(*) OVER () AS orders
    FROM requested WHERE key IS NULL OR id IN (SELECT order_id FROM claimed_keys)
), counter AS (
    INSERT INTO order_counters (business_date, last_number)
    SELECT $15::date, orders FROM accepted LIMIT 1
    ON CONFLICT (business_date) DO UPDATE
        SET last_number = order_counters.last_number + excluded.last_number
    RETURNING last_number
), sequenced AS (
    SELECT accepted.*, (last_number - orders + rank)::text AS sequence FROM accepted, counter
), numbered AS MATERIALIZED (
    SELECT *, to_char($15::date, '"ORD_"YYYYMMDD"_"')
              || lpad(sequence, greatest(length(sequence), 3), '0') AS number
    FROM sequenced
), stored AS (
    INSERT INTO orders (id, created_at, updated_at, number, business_date, customer_name, type,
                        table_number, delivery_address, notes, total_amount, priority,
                        tracking_token)
    OVERRIDING SYSTEM VALUE
    SELECT id, $16::timestamptz, $16, number, $15, customer_name, type,
           table_number, delivery_address, notes, total_amount, priority, tracking_token
    FROM numbered
), stored_items AS (
    INSERT INTO order_items (created_at, order_id, name, quantity, price, notes)
    SELECT $16, numbered.id, item.name, item.quantity, item.price, item.notes
    FROM unnest($17::bigint[], $18::text[], $19::integer[], $20::numeric[], $21::text[])
        WITH ORDINALITY AS item (position, name, quantity, price, notes, item_position)
    JOIN numbered USING (position) ORDER BY item_position
), logged AS (
    INSERT INTO order_status_log (created_at, order_id, status, changed_by, changed_at)
    SELECT $16, id, 'received', coalesce(($24::text[])[position], $22), $16 FROM numbered
), queued AS (
    INSERT INTO outbox (stream, {COLUMNS})
    SELECT $23 || '/' || number, $23, routing_key, '{OrderReceived.TYPE}',
           convert_to('{{"order_number":"' || number || '",', 'UTF8') || unnumbered_body,
           message_id, request_id, $22, $16, priority, ($26::jsonb[])[position]
    FROM numbered ORDER BY rank
    RETURNING id, stream, {COLUMNS}
)
SELECT position, number, queued.* FROM numbered JOIN queued USING (message_id)
"""


async def place(
    connection: Connection,
    commands: Sequence[PlaceOrder],
    *,
    exchange: str,
    placed_by: str,
    at: datetime,
    business_date: date,
    key_lifetime: timedelta,
) -> list[StoredOrder | None]:
    """Store orders, each with its items, first log row, key and message: all of them or none.

    Orders are numbered in the sequence of `commands`, of which no two may have the same key. The
    result is `None` for an order whose key was used before. Concurrent calls for the same day, or
    with one of these keys, wait until this transaction is on disk. `placed_by` is the service, as
    recorded in the messages to `exchange` and, unless a person places the order, in the status log.
    """
    people = [each.by and each.by.who for each in commands]
    headers = [encode_headers(each.headers) if each.headers else None for each in commands]
    rows = await connection.fetch(
        PLACE,
        *_order_values([each.order for each in commands]),
        [each.key and each.key.name for each in commands],
        [each.key and each.key.fingerprint for each in commands],
        [each.routing_key for each in commands],
        [each.unnumbered_body for each in commands],
        [each.message_id for each in commands],
        [each.request_id for each in commands],
        key_lifetime,
        business_date,
        at,
        *_item_values([each.order for each in commands]),
        placed_by,
        exchange,
        people if any(people) else None,
        [each.tracking_token for each in commands],
        headers if any(headers) else None,
    )
    stored = {row["position"]: StoredOrder(row["number"], outbox_message(row)) for row in rows}
    return [stored.get(position) for position in range(1, len(commands) + 1)]


def _order_values(orders: Sequence[NewOrder]) -> tuple[list[object], ...]:
    """Return one list of values for each column of the orders, for `unnest`."""
    return (
        [order.customer_name for order in orders],
        [order.order_type for order in orders],
        [order.table_number for order in orders],
        [order.delivery_address for order in orders],
        [order.notes for order in orders],
        [order.total_amount for order in orders],
        [order.priority for order in orders],
    )


def _item_values(orders: Sequence[NewOrder]) -> tuple[list[object], ...]:
    """Return one list of values for each column of the items, and the position of their order."""
    items = [
        (position, item) for position, order in enumerate(orders, start=1) for item in order.items
    ]
    return (
        [position for position, _ in items],
        [item.name for _, item in items],
        [item.quantity for _, item in items],
        [item.price for _, item in items],
        [item.notes for _, item in items],
    )
