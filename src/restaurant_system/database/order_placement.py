"""Store new orders, many in one statement, which is one transaction (group commit).

The row that counts a day's orders stays locked until its transaction is on disk. With one
transaction per order, the restaurant could take only one order per flush; orders that share a
transaction share the wait. See docs/decisions/005-group-commit.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

import asyncpg

from restaurant_system.database import idempotency
from restaurant_system.database.connection import Connection
from restaurant_system.database.message_columns import COLUMNS, encode_headers
from restaurant_system.database.outbox import OutboxMessage, stream_name
from restaurant_system.models.audit import Actor
from restaurant_system.models.menu_check import Portions
from restaurant_system.models.message import Header, Message, OrderReceived, new_message_id
from restaurant_system.models.money import json_number
from restaurant_system.models.order import NewOrder, OrderType
from restaurant_system.models.tracking_link import new_token

NO_TIME = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOrder:
    """A command to store an order, with what its message needs besides its number.

    `key` is an idempotency key, `external_digest` that of an `ExternalOrder`. With either, the
    `fingerprint` is a hash that is equal for equal orders only.
    `unnumbered_body` is the result of `OrderReceived.encode_without_number`. `by` is the person who
    places the order, if it is to be recorded. `headers` are those of the message.
    `portions` are what the menu counts.
    """

    order: NewOrder
    priority: int
    unnumbered_body: bytes
    routing_key: str
    request_id: str
    message_id: UUID = field(default_factory=new_message_id)
    tracking_token: bytes = field(default_factory=new_token)
    key: str | None = None
    external_digest: bytes | None = None
    fingerprint: bytes | None = None
    by: Actor | None = None
    headers: Mapping[str, Header] = field(default_factory=dict)
    portions: Sequence[Portions] = ()


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """The number that an order was given, and its message in the outbox unless it is scheduled."""

    number: str
    message: OutboxMessage | None


# External ids are claimed after all keys: `keyed` has its row once these are taken. A batch without
# external ids is stored by a statement without this part, which would cost each order 4 %; so their
# parameter is the last one.
CLAIM_EXTERNAL_IDS = """), keyed AS (
    SELECT array_agg(order_id) AS ids FROM claimed_keys
), claimed_external_ids AS (
    INSERT INTO external_orders (digest, fingerprint, order_id, total_amount)
    SELECT ($32::bytea[])[position], fingerprint, id, total_amount FROM requested, keyed
    WHERE ($32)[position] IS NOT NULL AND (key IS NULL OR id = ANY (ids))
    ORDER BY 1, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
"""
EXTERNAL_ID_IS_CLAIMED = (
    "(($32)[position] IS NULL OR id IN (SELECT order_id FROM claimed_external_ids))"
)


# Every transaction takes its locks in the same order, so that two of them cannot deadlock: keys by
# name, then external ids by digest, then the day's counter. An expired key counts as free, even
# before the cleanup deletes it. Ids are drawn first, because the row of a key needs one; gaps
# between ids have no meaning. The partitions of the month must exist (`OrderMonths`). The number is
# formatted as by `order_number` in models/order.py. This is the only place where it is added to the
# message, whose body is returned for the relay.
# Amounts are sent as texts, because asyncpg takes longer to encode a decimal.
def _statement(claim_external_ids: str = "", external_id_is_claimed: str = "true") -> str:
    return f"""
WITH requested AS MATERIALIZED (
    SELECT *, amount::numeric AS total_amount,
           first_order_id($15::date) + nextval('orders_id_seq') AS id
    FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::text[],
                $7::integer[], $8::text[], $9::bytea[], $10::text[], $11::bytea[], $12::uuid[],
                $13::text[], $25::bytea[])
        WITH ORDINALITY AS requested (
            customer_name, type, table_number, delivery_address, notes, amount, priority,
            key, fingerprint, routing_key, unnumbered_body, message_id, request_id,
            tracking_token, position)
), claimed_keys AS (
    INSERT INTO idempotency_keys (key, fingerprint, order_id)
    SELECT key, fingerprint, id FROM requested WHERE key IS NOT NULL ORDER BY key
    ON CONFLICT (key) DO UPDATE
        SET fingerprint = excluded.fingerprint, order_id = excluded.order_id, created_at = now()
        WHERE idempotency_keys.created_at < now() - $14::interval
    RETURNING order_id
{claim_external_ids}), accepted AS MATERIALIZED (
    SELECT *, row_number() OVER (ORDER BY position) AS rank, count(*) OVER () AS orders
    FROM requested
    WHERE (key IS NULL OR id IN (SELECT order_id FROM claimed_keys)) AND {external_id_is_claimed}
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
                        tracking_token, request_id, trace_context, handoff, table_label,
                        allergy_note, reference, channel, external_id, phone, ready_at, charges,
                        amount_due, items_total, released_at, promised_at, rank_at)
    OVERRIDING SYSTEM VALUE
    SELECT id, $16::timestamptz, $16, number, $15, customer_name, type,
           table_number, delivery_address, notes, total_amount, priority,
           tracking_token, request_id, ($26::jsonb[])[position],
           more ->> 'handoff', more ->> 'table', more ->> 'allergy_note', more ->> 'reference',
           more ->> 'channel', more ->> 'external_id', more ->> 'phone',
           (more ->> 'ready_at')::timestamptz, more -> 'charges', (more ->> 'amount_due')::numeric,
           (more ->> 'items_total')::numeric,
           CASE WHEN $31::timestamptz[] IS NULL THEN $16 ELSE ($31)[position] END, promised_at,
           promised_at - ($30::interval[])[array_position(ARRAY[1, 5, 10], priority)]
    FROM (
        SELECT *, greatest($16::timestamptz, coalesce(
            (more ->> 'ready_at')::timestamptz,
            $16 + ($29::interval[])[array_position(ARRAY['dine_in', 'takeout', 'delivery'], type)]
        )) AS promised_at
        FROM (SELECT *, ($27::jsonb[])[position] AS more FROM numbered) AS extended
    ) AS complete
), stored_items AS (
    INSERT INTO order_items (created_at, order_id, name, quantity, price, notes,
                             modifiers, guest, course, sku)
    SELECT $16, numbered.id, item.name, item.quantity, item.price::numeric, item.notes,
           more -> 'modifiers', more ->> 'guest', (more ->> 'course')::smallint, more ->> 'sku'
    FROM unnest($17::bigint[], $18::text[], $19::integer[], $20::text[], $21::text[])
        WITH ORDINALITY AS item (position, name, quantity, price, notes, item_position)
    CROSS JOIN LATERAL (SELECT ($28::jsonb[])[item_position] AS more) AS complete
    JOIN numbered USING (position) ORDER BY item_position
), logged AS (
    INSERT INTO order_status_log (created_at, order_id, status, changed_by, changed_at)
    SELECT $16, id, 'received', coalesce(($24::text[])[position], $22), $16 FROM numbered
), queued AS (
    INSERT INTO outbox (stream, {COLUMNS})
    SELECT $23 || '/' || number, $23, routing_key, '{OrderReceived.TYPE}',
           convert_to('{{"order_number":"' || number || '",', 'UTF8') || unnumbered_body,
           message_id, request_id, $22, $16, priority, ($26::jsonb[])[position]
    FROM numbered WHERE $31 IS NULL OR ($31)[position] IS NOT NULL ORDER BY rank
    RETURNING id, message_id, body
)
SELECT position, number, queued.id, body FROM numbered LEFT JOIN queued USING (message_id)
"""


PLACE = _statement()
PLACE_WITH_EXTERNAL_IDS = _statement(CLAIM_EXTERNAL_IDS, EXTERNAL_ID_IS_CLAIMED)


async def place(
    connection: Connection,
    commands: Sequence[PlaceOrder],
    *,
    exchange: str,
    placed_by: str,
    at: datetime,
    business_date: date,
    next_day: datetime,
    key_lifetime: timedelta,
    promise_times: Mapping[str, timedelta],
    priority_times: Mapping[int, timedelta],
    lead_times: Mapping[OrderType, float],
) -> list[StoredOrder | None]:
    """Store orders, each with its items, first log row, key and message: all of them or none.

    Orders are numbered in the sequence of `commands`, of which no two may have the same key. The
    result is `None` for an order whose key or external id was used before; with an order that has
    both, `connection` must be in a transaction. Concurrent calls for the same day, or with one of
    these keys or ids, wait until this transaction is on disk. `placed_by` is the service, as
    recorded in the messages to `exchange` and, unless a person places the order, in the status log.
    An order is promised for its `ready_at`, or the `promise_times` of its type after it is placed,
    and never for a time before it is placed.
    It ranks as if it were promised the `priority_times` of its priority earlier. If it is to be
    ready later than the lead time of its type, in seconds, it is scheduled: it has no message yet.
    `next_day` is when the next business date starts.
    """
    people = [each.by and each.by.who for each in commands]
    headers = [encode_headers(each.headers) if each.headers else None for each in commands]
    digests = [each.external_digest for each in commands]
    has_digests = any(digests)
    released = [_release_time(each.order, at, lead_times, next_day) for each in commands]
    rows = await connection.fetch(
        PLACE_WITH_EXTERNAL_IDS if has_digests else PLACE,
        *_order_values([each.order for each in commands]),
        [each.priority for each in commands],
        _unless_all_null([each.key for each in commands]),
        _unless_all_null([each.fingerprint for each in commands]),
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
        _unless_all_null(people),
        [each.tracking_token for each in commands],
        _unless_all_null(headers),
        *_optional_values([each.order for each in commands]),
        [promise_times[kind] for kind in OrderType],
        [NO_TIME, priority_times[5], priority_times[10]],
        None if all(each is at for each in released) else released,
        *([digests] if has_digests else []),
    )
    results: list[StoredOrder | None] = [None] * len(commands)
    for row in rows:
        index = row["position"] - 1
        results[index] = _stored_order(commands[index], row, exchange, placed_by, at)
    if has_digests and len(rows) < len(commands):
        await _free_keys_of_refused(connection, commands, results)
    return results


async def _free_keys_of_refused(
    tx: Connection, commands: Sequence[PlaceOrder], results: Sequence[StoredOrder | None]
) -> None:
    """Free the keys of orders that were refused because of their external ids."""
    keys = [
        each.key
        for each, stored in zip(commands, results, strict=True)
        if stored is None and each.key is not None and each.external_digest is not None
    ]
    if keys:
        await idempotency.free_keys(tx, keys)


def _release_time(
    order: NewOrder, at: datetime, lead_times: Mapping[OrderType, float], next_day: datetime
) -> datetime | None:
    """Return when an order counts as released to the kitchen; `None` if it is scheduled.

    One that is to be ready on the next business date counts as released when that date starts, so
    that it is not held then.
    """
    if order.ready_at is None:
        return at
    if (order.ready_at - at).total_seconds() > lead_times[order.order_type]:
        return None
    return next_day if order.ready_at >= next_day else at


def _stored_order(
    command: PlaceOrder, row: asyncpg.Record, exchange: str, placed_by: str, at: datetime
) -> StoredOrder:
    """Return what was stored for a command, with the same message as in the outbox."""
    number = row["number"]
    if row["id"] is None:
        return StoredOrder(number, None)
    message = Message(
        exchange=exchange,
        routing_key=command.routing_key,
        type=OrderReceived.TYPE,
        body=row["body"],
        message_id=command.message_id,
        correlation_id=command.request_id,
        app_id=placed_by,
        timestamp=at,
        priority=command.priority,
        headers=command.headers,
    )
    return StoredOrder(number, OutboxMessage(row["id"], stream_name(message, number), message))


def _order_values(orders: Sequence[NewOrder]) -> tuple[Sequence[object] | None, ...]:
    """Return one list of values for each column of the orders, for `unnest`."""
    return (
        [order.customer_name for order in orders],
        [order.order_type for order in orders],
        _unless_all_null([order.table_number for order in orders]),
        _unless_all_null([order.delivery_address for order in orders]),
        _unless_all_null([order.notes for order in orders]),
        [str(order.total_amount) for order in orders],
    )


def _item_values(orders: Sequence[NewOrder]) -> tuple[Sequence[object] | None, ...]:
    """Return one list of values for each column of the items, and the position of their order."""
    items = [
        (position, item) for position, order in enumerate(orders, start=1) for item in order.items
    ]
    return (
        [position for position, _ in items],
        [item.name for _, item in items],
        [item.quantity for _, item in items],
        [str(item.price) for _, item in items],
        _unless_all_null([item.notes for _, item in items]),
    )


def _unless_all_null(values: Sequence[object]) -> Sequence[object] | None:
    """Return `None` for a column without values: `unnest` completes it, and entries cost time."""
    return None if all(value is None for value in values) else values


def _optional_values(orders: Sequence[NewOrder]) -> tuple[list[str | None] | None, ...]:
    """Return the optional fields of each order, and of each item, as JSON, or `None`.

    Most orders have none. A list without any is `None`, because each entry costs time.
    """
    if not any(order.has_optional_fields for order in orders):
        return None, None
    return (
        [_encoded(_with_items_total(order)) for order in orders],
        [_encoded(item.optional_fields) for order in orders for item in order.items],
    )


def _with_items_total(order: NewOrder) -> Mapping[str, object] | None:
    """Return the optional fields of an order, and what its items cost if it has charges."""
    fields = order.optional_fields
    if fields is None or not order.charges:
        return fields
    return fields | {"items_total": json_number(order.items_total)}


def _encoded(fields: Mapping[str, object] | None) -> str | None:
    return None if fields is None else json.dumps(fields)
