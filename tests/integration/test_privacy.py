"""Erasing and exporting the personal data of customers, with both brokers."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import MutableMapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from restaurant_system.app.runtime import background_task
from restaurant_system.database import outbox, personal_data, reconciliation_queries
from restaurant_system.database.connection import Database
from restaurant_system.errors import (
    BrokerUnavailable,
    ErasedOrderRepeated,
    OrderNotFound,
    OrderOfAnotherCustomer,
)
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.dead_letters import DeadLetter
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.postgres.queues import delete_erased
from restaurant_system.messaging.retry_policy import FIRST_SEEN
from restaurant_system.models.audit import Actor
from restaurant_system.models.message import Message, OrderReceived
from restaurant_system.models.order import Move, NewOrder
from restaurant_system.models.privacy import ERASED_ADDRESS, ERASED_FINGERPRINT, ERASED_NAME
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order import cleanup, privacy
from restaurant_system.services.order.privacy import Customer, Erased, PersonalData
from restaurant_system.services.order.service import OrderService
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import make_order_received
from tests.support.logs import capture_logs
from tests.support.messages import TAKEOUT, make_order_message, receive_one
from tests.support.orders import make_item, make_order
from tests.support.partitions import TABLES
from tests.support.services import NOON, FakeClock, move_through
from tests.support.waiting import eventually

MARK = "Zweigelt"  # part of all personal data
PERSON = f"Ada {MARK}"
RETENTION = timedelta(days=30)
CUSTOMER = Customer(name=PERSON)

COOKING, READY = OrderStatus.COOKING, OrderStatus.READY
COMPLETED, CANCELLED = OrderStatus.COMPLETED, OrderStatus.CANCELLED

# A row as text has the bytes of a message in hexadecimal digits.
ROWS_WITH = """
SELECT count(*) FROM {table} AS stored
WHERE strpos(stored::text, $1) > 0
   OR strpos(stored::text, encode(convert_to($1, 'UTF8'), 'hex')) > 0
"""
TEXT_COLUMNS = """
SELECT table_name || '.' || column_name AS name FROM information_schema.columns
WHERE table_schema = 'public' AND data_type IN ('text', 'bytea', 'jsonb', 'json', 'ARRAY')
  AND table_name IN ('orders', 'order_items', 'order_status_log')
"""
ERASED_COLUMNS = {
    *("orders.customer_name", "orders.delivery_address", "orders.notes", "orders.tracking_token"),
    *("orders.phone", "orders.allergy_note", "orders.reference", "orders.handed_over_by"),
    *("order_items.notes", "order_items.guest", "order_items.modifiers"),
    *("order_status_log.notes", "order_status_log.changed_by"),
}
IMPERSONAL_COLUMNS = {
    *("orders.number", "orders.type", "orders.status", "orders.processed_by"),
    *("orders.handoff", "orders.table_label", "orders.channel", "orders.external_id"),
    *("orders.charges", "orders.request_id", "orders.trace_context"),
    *("order_items.name", "order_items.sku", "order_status_log.status"),
}


@pytest.fixture
def personal(database: Database, broker: Broker, clock: FakeClock) -> PersonalData:
    """Return the personal data in the test's database and on its broker."""
    return PersonalData(database, broker, clock=clock)


@pytest.fixture
def in_database(database: Database, clock: FakeClock) -> PersonalData:
    """Return the personal data in the test's database, for tests that need no broker."""
    return PersonalData(database, PostgresBroker(database), clock=clock)


def personal_order(**changes: object) -> NewOrder:
    """Make an order with personal data in every field that may have some."""
    instruction = {"name": f"Write {MARK} on it", "kind": "instruction"}
    modifiers = [{"name": "Extra cheese", "modifiers": [instruction]}, instruction]
    personal = {"notes": f"for {MARK}", "guest": MARK, "modifiers": modifiers}
    fields: dict[str, object] = {
        "customer_name": PERSON,
        "order_type": "delivery",
        "delivery_address": f"{MARK} Street 12",
        "notes": f"ring at {MARK}",
        "items": [make_item(**personal), make_item(name="Calzone", quantity=2)],
        "phone": f"+44 {MARK}",
        "allergy_note": f"{MARK}: nuts",
        "reference": f"{MARK} 84H9B",
        "channel": "example.eats",
        "external_id": uuid4().hex,
    }
    return make_order(**(fields | changes))


async def place(intake: OrderService, key: str | None = None, **changes: object) -> str:
    """Place an order with personal data; return its number."""
    placed = await intake.place(personal_order(**changes), request_id="request-1", key=key)
    return placed.order_number


async def place_and_cancel(intake: OrderService, key: str | None = None, **changes: object) -> str:
    """Place an order with personal data, which its customer cancels; return its number."""
    number = await place(intake, key, **changes)
    await intake.cancel(number, Move(reason=f"{MARK} is ill"), request_id="request-2")
    return number


async def erase(personal: PersonalData, customer: Customer = CUSTOMER) -> Erased:
    """Erase a customer."""
    return await personal.erase(await personal.plan(customer), Erased())


async def rows_with(database: Database, text: str) -> set[str]:
    """Return the names of the tables that contain a text, also within bytes."""
    async with database.connection() as sql:
        tables = [row["relname"] for row in await sql.fetch(TABLES)]
        assert {"orders", "outbox", "broker_messages", "idempotency_keys"} <= set(tables)
        return {
            table for table in tables if await sql.fetchval(ROWS_WITH.format(table=table), text)
        }


async def fetch(database: Database, query: str, *values: object) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    async with database.connection() as sql:
        return [dict(row) for row in await sql.fetch(query, *values)]


async def names(database: Database) -> list[str]:
    """Return the customers' names, oldest order first."""
    rows = await fetch(database, "SELECT customer_name FROM orders ORDER BY id")
    return [row["customer_name"] for row in rows]


async def put_dead_letter(broker: Broker, *messages: Message) -> None:
    """Put messages into the dead-letter queue."""
    await broker.connect()
    assert await broker.publish(messages) == []


def make_letter(number: str = "", **changes: Any) -> Message:  # noqa: ANN401 - any field
    """Make a dead letter about an order with personal data."""
    body = OrderReceived.from_order(personal_order(), number or "ORD_20991231_001").encode()
    return make_order_message(**({"exchange": "orders_dlx", "body": body} | changes))


async def letters(broker: Broker) -> list[DeadLetter]:
    """Return the dead letters."""
    return await dead_letters.read(broker)


# What is erased


async def test_erased_order_keeps_its_figures_and_leaves_no_personal_data(
    intake: OrderService, in_database: PersonalData, database: Database, clock: FakeClock
) -> None:
    number = await place_and_cancel(intake)
    clock.now += timedelta(hours=1)
    assert await rows_with(database, MARK) == {
        *("orders", "order_items", "order_status_log", "outbox")
    }
    before = await fetch(database, "SELECT * FROM orders")
    items = await fetch(database, "SELECT name, quantity, price FROM order_items ORDER BY id")

    result = await erase(in_database)

    assert result.orders == [number]
    assert await rows_with(database, MARK) == set()
    (after,) = await fetch(database, "SELECT * FROM orders")
    changed = {name for name in after if after[name] != before[0][name]}
    assert changed == {
        *("customer_name", "delivery_address", "notes", "erased_at", "tracking_token"),
        *("phone", "allergy_note", "reference"),
    }
    assert after["erased_at"] == clock.now
    assert (after["customer_name"], after["delivery_address"]) == (ERASED_NAME, ERASED_ADDRESS)
    assert items == await fetch(
        database, "SELECT name, quantity, price FROM order_items ORDER BY id"
    )
    log = await fetch(database, "SELECT status, changed_by FROM order_status_log ORDER BY id")
    assert [(row["status"], row["changed_by"]) for row in log] == [
        ("received", "order-service"),
        ("cancelled", "order-service"),
    ]


async def test_name_of_a_customer_who_cancelled_in_person_is_erased_in_the_log(
    intake: OrderService, in_database: PersonalData, database: Database
) -> None:
    number = await place(intake)
    await intake.cancel(number, Move(changed_by=PERSON.upper()), request_id="request-2")

    await erase(in_database)

    rows = await fetch(database, "SELECT changed_by FROM order_status_log ORDER BY id")
    assert [row["changed_by"] for row in rows] == ["order-service", ERASED_NAME]


async def test_handed_over_by_is_erased_only_if_it_is_the_name_of_the_customer(
    intake: OrderService, in_database: PersonalData, database: Database
) -> None:
    for by in ("anna", PERSON.upper()):
        number = await place(intake)
        await move_through(database, number, COOKING, READY, COMPLETED, at=NOON)
        async with database.connection() as sql:
            await sql.execute(
                "UPDATE orders SET handed_over_at = now(), handed_over_by = $1 WHERE number = $2",
                *(by, number),
            )
    assert "handed_over_by" not in (await in_database.export(CUSTOMER))["orders"][0]

    await erase(in_database)

    rows = await fetch(database, "SELECT handed_over_by FROM orders ORDER BY id")
    assert [row["handed_over_by"] for row in rows] == ["anna", ERASED_NAME]


async def test_every_text_column_is_erased_or_known_to_be_impersonal(database: Database) -> None:
    """A migration that adds a column decides whether `ERASE` must erase it."""
    columns = {row["name"] for row in await fetch(database, TEXT_COLUMNS)}

    assert columns == ERASED_COLUMNS | IMPERSONAL_COLUMNS


async def test_order_of_an_earlier_release_with_an_item_name_refused_today_is_erased(
    intake: OrderService, in_database: PersonalData, database: Database
) -> None:
    number = await place_and_cancel(intake)
    async with database.connection() as sql:
        await sql.execute("ALTER TABLE order_items DROP CONSTRAINT name_is_printable")
        await sql.execute("UPDATE order_items SET name = E'Soup\\u202e' WHERE notes IS NOT NULL")
        await sql.execute(
            "ALTER TABLE order_items ADD CONSTRAINT name_is_printable"
            " CHECK (name !~ '[\\x80-\\x9f\\u202a-\\u202e]') NOT VALID"
        )

    assert (await erase(in_database)).orders == [number]

    rows = await fetch(database, "SELECT name, notes FROM order_items ORDER BY id")
    assert (rows[0]["name"], rows[0]["notes"]) == ("Soup?", None)


async def test_unpublished_message_of_an_erased_order_is_deleted_and_its_update_is_not(
    intake: OrderService, in_database: PersonalData, database: Database
) -> None:
    await place_and_cancel(intake)
    other = await place(intake, customer_name="Grace Hopper")

    await erase(in_database)

    async with database.transaction() as tx:
        left = await outbox.claim_overdue(tx, timedelta(), 10)
    assert [(each.message.type, each.message.exchange) for each in left] == [
        ("order.status_changed", "notifications_fanout"),
        ("order.received", "orders_topic"),
    ]
    assert other.encode() in left[1].message.body


async def test_erased_order_is_shown_with_placeholders(
    intake: OrderService, in_database: PersonalData, tracking: httpx.AsyncClient
) -> None:
    number = await place_and_cancel(intake)

    await erase(in_database)

    order = (await tracking.get(f"/orders/{number}")).json()
    assert (order["customer_name"], order["delivery_address"]) == (ERASED_NAME, ERASED_ADDRESS)
    assert (order["notes"], order["items"][0]["notes"]) == (None, None)
    assert order["total_amount"] == 28.5
    for path in (f"/orders/{number}/status", f"/orders/{number}/history", "/orders", "/stats"):
        response = await tracking.get(path)
        assert response.status_code == 200
        assert MARK not in response.text


async def test_status_of_an_order_contains_no_personal_data(
    intake: OrderService, tracking: httpx.AsyncClient
) -> None:
    number = await place(intake)

    response = await tracking.get(f"/orders/{number}/status")

    assert set(response.json()) == {
        *("order_number", "current_status", "updated_at", "estimated_completion", "processed_by")
    }
    assert MARK not in response.text


# An erased order does not come back


async def test_late_retry_gets_the_first_answer_and_stores_nothing(
    intake: OrderService, in_database: PersonalData, database: Database
) -> None:
    number = await place_and_cancel(intake, key="k")
    hashed = "SELECT fingerprint FROM idempotency_keys"
    (before,) = await fetch(database, hashed)

    await erase(in_database)
    replays = [
        await intake.place(order, request_id="request-3", key="k")
        for order in (personal_order(), make_order())
    ]

    assert [(each.order_number, each.replayed) for each in replays] == [(number, True)] * 2
    assert [each.total_amount for each in replays] == [Decimal("28.50")] * 2
    assert await names(database) == [ERASED_NAME]
    assert await rows_with(database, MARK) == set()
    assert (await fetch(database, hashed)) != [before]


@pytest.mark.parametrize("is_due", [False, True])
async def test_external_id_of_an_erased_order_stays_taken_without_its_hash(
    intake: OrderService, in_database: PersonalData, database: Database, *, is_due: bool
) -> None:
    order = personal_order(channel="uber", external_id="84H9B")
    number = (await intake.place(order, request_id="request-1", key=None)).order_number
    await intake.cancel(number, Move(), request_id="request-2")

    if is_due:
        await in_database.erase_due(timedelta(seconds=-1), {})
    else:
        await erase(in_database)
    for each in (order, make_order(channel="uber", external_id="84H9B")):
        with pytest.raises(ErasedOrderRepeated, match=number):
            await intake.place(each, request_id="request-3", key="k")
    (row,) = await fetch(database, "SELECT fingerprint FROM external_orders")
    assert row["fingerprint"] == ERASED_FINGERPRINT


async def test_reconciliation_republishes_nothing_personal_about_an_erased_order(
    intake: OrderService, in_database: PersonalData, database: Database, clock: FakeClock
) -> None:
    number = await place(intake)
    await intake.cancel(number, Move(changed_by=PERSON, reason=PERSON), request_id="request-2")
    await erase(in_database)

    async with database.transaction() as tx:
        bounds = await reconciliation_queries.scan_bounds(tx, clock() + timedelta(days=1), NOON)
        waiting = await reconciliation_queries.count_waiting(tx, bounds, "orders_topic")
        ids = await reconciliation_queries.orders_moved_since(tx, NOON - timedelta(days=1))
        updates = await reconciliation_queries.status_changes_since(
            tx, NOON - timedelta(days=1), ids
        )

    assert not waiting.orders
    assert [update.order_number for update in updates] == [number]
    assert not any(MARK.encode() in update.encode() for update in updates)


async def test_second_erasure_of_the_same_customer_changes_nothing(
    intake: OrderService, in_database: PersonalData, database: Database, clock: FakeClock
) -> None:
    number = await place_and_cancel(intake)
    await erase(in_database)
    clock.now += timedelta(days=1)

    assert (await erase(in_database)).orders == []
    assert (await erase(in_database, Customer(numbers=(number,)))).orders == []
    assert await in_database.find(Customer(ERASED_NAME)) == []

    (row,) = await fetch(database, "SELECT erased_at FROM orders")
    assert row["erased_at"] == NOON


# Which orders are a customer's


async def test_customer_is_found_by_the_whole_name_however_it_is_typed(
    intake: OrderService, in_database: PersonalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "SCAN_SIZE", 2)
    names = ["O\u2019Brien-Zweigelt", "O'Brien", "o'brien-zweigelt", "Ada O'Brien-Zweigelt"]
    numbers = [await place(intake, customer_name=name) for name in names]

    found = await in_database.find(Customer(name="  O'BRIEN\u2010ZWEIGELT"))

    assert [order.number for order in found] == [numbers[0], numbers[2]]


async def test_customer_is_found_by_phone_by_dish_and_by_reference(
    intake: OrderService, personal: PersonalData, broker: Broker
) -> None:
    """The name may be anywhere that the order has names; the phone tells the orders apart."""
    phone, other = {"phone": "+44 20 7946 0000"}, {"phone": "020 7946 0000"}
    items = [make_item(), make_item(guest="grace  hopper")]
    numbers = [
        await place(intake, customer_name="Grace Hopper", **phone),
        await place(intake, items=items, **other),
        await place(intake, reference="Grace Hopper", **phone),
        await place(intake, **phone),
        await place(intake, **other),
    ]
    order = personal_order(items=items, **phone)
    body = OrderReceived.from_order(order, "ORD_20991231_001").encode()
    await put_dead_letter(broker, make_order_message(exchange="orders_dlx", body=body))

    async def found(name: str | None = None, phone: str | None = None) -> tuple[list[int], int]:
        exported = await personal.export(Customer(name, phone=phone))
        return [numbers.index(each["number"]) for each in exported["orders"]], len(
            exported["dead_letters"]
        )

    name, typed = "Grace Hopper", "(0044) 20-79460000"
    assert await found(name=name) == ([0, 1, 2], 1)
    assert await found(phone=typed) == ([0, 2, 3], 1)
    assert await found(name=name, phone=typed) == ([0, 2], 1)
    assert await found(phone="79460000") == ([], 0)
    with pytest.raises(OrderOfAnotherCustomer):
        await personal.plan(Customer(numbers=(numbers[0], numbers[4]), phone=typed))
    assert len((await personal.plan(Customer(phone=typed))).dead_letters) == 1


async def test_unfinished_orders_stay_and_are_listed(
    intake: OrderService, in_database: PersonalData, database: Database
) -> None:
    received, cooking, ready, completed, cancelled = [await place(intake) for _ in range(5)]
    await move_through(database, cooking, COOKING, at=NOON)
    await move_through(database, ready, COOKING, READY, at=NOON)
    await move_through(database, completed, COOKING, READY, COMPLETED, at=NOON)
    await move_through(database, cancelled, CANCELLED, at=NOON)

    plan = await in_database.plan(CUSTOMER)
    result = await in_database.erase(plan, Erased())

    assert [order.number for order in plan.unfinished] == [received, cooking, ready]
    assert sorted(result.orders) == [completed, cancelled]
    assert await names(database) == [PERSON] * 3 + [ERASED_NAME] * 2


async def test_order_that_has_been_ready_for_a_day_counts_as_finished(
    intake: OrderService, in_database: PersonalData, database: Database, clock: FakeClock
) -> None:
    number = await place(intake)
    await move_through(database, number, COOKING, READY, at=NOON)
    clock.now = NOON + timedelta(hours=25)

    assert (await erase(in_database)).orders == [number]


async def test_order_that_is_recalled_after_the_plan_is_not_erased(
    intake: OrderService, in_database: PersonalData, database: Database, clock: FakeClock
) -> None:
    number = await place(intake)
    await move_through(database, number, COOKING, READY, at=NOON)
    clock.now = NOON + timedelta(hours=25)
    plan = await in_database.plan(CUSTOMER)
    async with database.connection() as sql:
        await sql.execute("UPDATE orders SET status = 'cooking', completed_at = NULL")

    assert (await in_database.erase(plan, Erased())).orders == []
    assert await names(database) == [PERSON]


async def test_only_the_numbered_orders_are_erased(
    intake: OrderService, in_database: PersonalData, database: Database
) -> None:
    first = await place_and_cancel(intake)
    await place_and_cancel(intake)

    assert (await erase(in_database, Customer(PERSON, (first,)))).orders == [first]
    assert await names(database) == [ERASED_NAME, PERSON]


async def test_unknown_number_and_number_of_another_customer_are_refused(
    intake: OrderService, in_database: PersonalData, database: Database
) -> None:
    mine = await place_and_cancel(intake)
    other = await place_and_cancel(intake, customer_name="Grace Hopper")

    with pytest.raises(OrderNotFound):
        await in_database.plan(Customer(numbers=(mine, "ORD_20991231_001")))
    with pytest.raises(OrderOfAnotherCustomer):
        await in_database.plan(Customer(PERSON, (mine, other)))

    assert ERASED_NAME not in await names(database)


async def test_export_contains_everything_about_the_orders_of_one_customer(
    intake: OrderService, in_database: PersonalData
) -> None:
    number = await place_and_cancel(intake)
    await place_and_cancel(intake, customer_name="Grace Hopper")

    exported = await in_database.export(CUSTOMER)

    (order,) = exported["orders"]
    assert exported["exported_at"] == "2024-12-16T12:00:00.000Z"
    assert (order["number"], order["customer_name"]) == (number, PERSON)
    assert (order["delivery_address"], order["notes"]) == (f"{MARK} Street 12", f"ring at {MARK}")
    assert order["total_amount"] == 28.5
    assert "tracking_token" not in order  # a secret, in a file that is passed on
    assert [(item["name"], item["quantity"], item["notes"]) for item in order["items"]] == [
        ("Margherita", 1, f"for {MARK}"),
        ("Calzone", 2, None),
    ]
    assert [(step["status"], step["notes"]) for step in order["history"]] == [
        ("received", None),
        ("cancelled", f"{MARK} is ill"),
    ]


# The retention period


async def test_orders_are_erased_once_they_have_been_finished_for_the_retention_period(
    intake: OrderService, in_database: PersonalData, database: Database, clock: FakeClock
) -> None:
    received, ready, completed, recent = [await place(intake) for _ in range(4)]
    await move_through(database, ready, COOKING, READY, at=NOON)
    await move_through(database, completed, COOKING, READY, COMPLETED, at=NOON)
    await move_through(database, recent, CANCELLED, at=NOON + timedelta(seconds=2))

    clock.now = NOON + RETENTION
    assert await in_database.erase_due(RETENTION, {}) == 0
    clock.now += timedelta(seconds=1)
    assert await in_database.erase_due(RETENTION, {}) == 2
    assert await in_database.erase_due(RETENTION, {}) == 0

    rows = await fetch(database, "SELECT number FROM orders WHERE erased_at IS NULL ORDER BY id")
    assert [row["number"] for row in rows] == [received, recent]


async def test_several_processes_share_the_orders_that_are_due(
    intake: OrderService,
    in_database: PersonalData,
    database: Database,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(privacy, "BATCH_SIZE", 7)
    for _ in range(20):
        await place_and_cancel(intake)
    clock.now = NOON + 2 * RETENTION

    erased = await asyncio.gather(*(in_database.erase_due(RETENTION, {}) for _ in range(4)))

    assert sum(erased) <= 20
    assert max(erased) <= 7
    while more := await in_database.erase_due(RETENTION, {}):
        erased.append(more)
    assert sum(erased) == 20
    assert await rows_with(database, MARK) == set()


async def test_locked_order_is_skipped_and_erased_the_next_time(
    intake: OrderService, in_database: PersonalData, database: Database, clock: FakeClock
) -> None:
    locked, free = [await place_and_cancel(intake) for _ in range(2)]
    clock.now = NOON + 2 * RETENTION

    async with database.transaction() as tx:
        await tx.execute("SELECT FROM orders WHERE number = $1 FOR UPDATE", locked)
        assert await in_database.erase_due(RETENTION, {}) == 1
    assert await names(database) == [PERSON, ERASED_NAME], free

    assert await in_database.erase_due(RETENTION, {}) == 1


async def test_interrupted_erasure_changes_nothing_and_is_repeated(
    intake: OrderService,
    in_database: PersonalData,
    database: Database,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process dies after the statement and before the commit."""
    await place_and_cancel(intake)
    clock.now = NOON + 2 * RETENTION
    statement = personal_data.erase

    async def die_after(*arguments: Any, **options: Any) -> list[str]:  # noqa: ANN401 - passed on
        await statement(*arguments, **options)
        raise asyncio.CancelledError

    with monkeypatch.context() as patch, contextlib.suppress(asyncio.CancelledError):
        patch.setattr(personal_data, "erase", die_after)
        await in_database.erase_due(RETENTION, {})
    assert await names(database) == [PERSON]

    assert await in_database.erase_due(RETENTION, {}) == 1
    assert await rows_with(database, MARK) == set()


@pytest.fixture
def quick_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the intervals of the periodic task."""
    monkeypatch.setattr(cleanup, "ERASURE_INTERVAL", 0.1)
    monkeypatch.setattr(cleanup, "REPEAT_DELAY", 0.1)
    monkeypatch.setattr(cleanup, "ERASURE_PAUSE", 0.0)


@pytest.mark.usefixtures("quick_task")
async def test_periodic_task_erases_in_batches_what_becomes_due(
    intake: OrderService,
    in_database: PersonalData,
    database: Database,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(privacy, "BATCH_SIZE", 2)
    for _ in range(5):
        await place_and_cancel(intake)

    async def all_are_erased() -> bool:
        return set(await names(database)) == {ERASED_NAME}

    async with background_task(cleanup.erase_personal_data(in_database, RETENTION)):
        await asyncio.sleep(0.3)
        assert set(await names(database)) == {PERSON}
        clock.now = NOON + 2 * RETENTION
        await eventually(all_are_erased, doing="for all orders to be erased")


@pytest.mark.usefixtures("quick_task")
async def test_without_retention_period_no_order_is_erased(
    intake: OrderService, in_database: PersonalData, database: Database, clock: FakeClock
) -> None:
    await place_and_cancel(intake)
    clock.now = NOON + 1000 * RETENTION

    async with background_task(cleanup.erase_personal_data(in_database, None)):
        await asyncio.sleep(0.3)

    assert await names(database) == [PERSON]


REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'never %', OLD; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON orders FOR EACH ROW
    WHEN (NEW.erased_at IS NOT NULL AND NEW.number = '{number}')
    EXECUTE FUNCTION refuse();
"""


def refusals_in(logs: Sequence[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """Return the log lines about erasures that failed."""
    return [line for line in logs if line["event"] == "erasure_failed"]


async def has_refused_twice(logs: Sequence[MutableMapping[str, Any]]) -> bool:
    """Tell whether the erasure went on after it had failed."""
    return len(refusals_in(logs)) > 1


@pytest.mark.usefixtures("quick_task")
async def test_erasure_that_the_database_refuses_is_logged_and_stops_no_service(
    intake: OrderService, in_database: PersonalData, database: Database, clock: FakeClock
) -> None:
    """A trigger or constraint of the operator may refuse it; the other orders are erased."""
    refused_order, erased_order = [await place_and_cancel(intake) for _ in range(2)]
    clock.now = NOON + 2 * RETENTION
    async with database.connection() as sql:
        await sql.execute(REFUSE.format(number=refused_order))

    with capture_logs() as logs:
        async with background_task(cleanup.erase_personal_data(in_database, RETENTION)):
            await eventually(lambda: has_refused_twice(logs), doing="for two refused erasures")

    refused = refusals_in(logs)
    assert {line["count"] for line in refused} == {1}
    assert MARK not in str(logs)
    async with database.connection() as sql:
        erased = await sql.fetch("SELECT number FROM orders WHERE erased_at IS NOT NULL")
    assert [row["number"] for row in erased] == [erased_order]


# Messages


async def test_message_of_an_erased_order_in_a_kitchen_queue_is_deleted(
    intake: OrderService, database: Database, in_database: PersonalData
) -> None:
    """Those of unfinished orders stay, and the one that a worker has taken."""
    queue = PostgresBroker(database)
    taken, erased = [
        await place_and_cancel(intake, order_type="takeout", delivery_address=None)
        for _ in range(2)
    ]
    unfinished = await place(intake, order_type="takeout", delivery_address=None)
    await queue.publish([make_order_received(taken)])
    async with queue.consume([TAKEOUT], prefetch=1) as consumer:
        delivery = await receive_one(consumer)
        await queue.publish(
            [
                make_order_received(erased),
                make_order_received(unfinished),
                make_order_message(body=b'\xff"order_number":"' + erased.encode()),
            ]
        )

        result = await erase(in_database)

        assert sorted(result.orders) == [taken, erased]
        assert result.messages == 1
        assert (await queue.depths())[TAKEOUT] == 2
        await delivery.ack()
    assert await delete_erased(database) == 0


async def test_dead_letters_of_a_customer_are_discarded_and_no_others(
    intake: OrderService, personal: PersonalData, broker: Broker
) -> None:
    mine = await place_and_cancel(intake)
    unfinished = await place(intake)
    other = await place_and_cancel(intake, customer_name="Grace Hopper")
    kept = [
        make_letter(unfinished),
        make_letter(other),
        make_order_message(exchange="orders_dlx", body=b"{"),
    ]
    mentioned = make_letter("ORD_20991231_001")  # the order is not stored
    await put_dead_letter(broker, kept[0], make_letter(mine), *kept[1:], mentioned)

    plan = await personal.plan(CUSTOMER)
    result = await personal.erase(plan, Erased())

    assert (len(plan.dead_letters), plan.unattributed) == (2, 1)
    assert result.dead_letters.done == 2
    assert [letter.id for letter in await letters(broker)] == [str(m.message_id) for m in kept]


async def test_dead_letter_of_an_order_erased_before_is_discarded_by_the_next_command(
    intake: OrderService, personal: PersonalData, broker: Broker
) -> None:
    """It may have waited in a retry queue, or the broker was unavailable after the orders."""
    number = await place_and_cancel(intake)
    await erase(personal)
    await put_dead_letter(broker, make_letter(number))

    assert (await erase(personal)).dead_letters.done == 1
    assert await letters(broker) == []


async def test_periodic_task_discards_dead_letters_of_erased_orders(
    intake: OrderService,
    personal: PersonalData,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(privacy, "DEAD_LETTERS_SIZE", 2)
    erased = await place_and_cancel(intake)
    await erase(personal)
    kept = make_letter(await place(intake))
    await put_dead_letter(broker, *(make_letter(erased) for _ in range(3)), kept)

    assert await personal.delete_messages(None) == 3
    assert [letter.id for letter in await letters(broker)] == [str(kept.message_id)]


async def test_dead_letters_without_a_stored_order_are_discarded_after_the_retention_period(
    personal: PersonalData, broker: Broker
) -> None:
    old = make_letter(headers={FIRST_SEEN: (NOON - 2 * RETENTION).isoformat()})
    untimed = make_letter(headers={FIRST_SEEN: "yesterday"}, timestamp=NOON - 2 * RETENTION)
    new = make_letter(headers={FIRST_SEEN: NOON.isoformat()}, timestamp=NOON - 2 * RETENTION)
    await put_dead_letter(broker, old, untimed, new)

    assert await personal.delete_messages(None) == 0
    assert await personal.delete_messages(RETENTION) == 2
    assert [letter.id for letter in await letters(broker)] == [str(new.message_id)]


@pytest.fixture
def quick_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the delay after which an erasure is repeated that has found orders."""
    monkeypatch.setattr(cleanup, "REPEAT_DELAY", 0.5)


@pytest.mark.usefixtures("quick_repeat")
async def test_dead_letters_that_were_locked_are_discarded_after_a_short_delay(
    intake: OrderService,
    personal: PersonalData,
    database: Database,
    broker: Broker,
    other_broker: Broker,
) -> None:
    await put_dead_letter(broker, make_letter(await place_and_cancel(intake)))
    await fetch(database, "UPDATE orders SET updated_at = $1", NOON - 2 * RETENTION)

    async def order_is_erased() -> bool:
        return await names(database) == [ERASED_NAME]

    async def none_is_left() -> bool:
        return (await other_broker.depths())["kitchen_dead_letter_queue"] == 0

    locks = contextlib.AsyncExitStack()
    await locks.enter_async_context(other_broker.browse("kitchen_dead_letter_queue"))
    async with locks, background_task(cleanup.erase_personal_data(personal, RETENTION)):
        await eventually(order_is_erased, doing="for the order to be erased")
        await asyncio.sleep(0.2)
        await locks.aclose()
        await eventually(none_is_left, doing="for no dead letter")


async def test_browsing_with_a_limit_locks_the_first_messages(broker: Broker) -> None:
    sent = [make_letter(message_id=uuid4()) for _ in range(5)]
    await put_dead_letter(broker, *sent)

    for limit, count in ((2, 2), (5, 5), (9, 5)):
        async with broker.browse("kitchen_dead_letter_queue", limit=limit) as found:
            assert [each.message.message_id for each in found] == [
                each.message_id for each in sent[:count]
            ]

    assert len(await letters(broker)) == 5


async def test_unavailable_broker_stops_a_plan_before_anything_is_erased(
    intake: OrderService, database: Database, clock: FakeClock
) -> None:
    await place_and_cancel(intake)
    broker = RecordingBroker()
    broker.unavailable = True
    personal = PersonalData(database, broker, clock=clock)

    with pytest.raises(BrokerUnavailable):
        await personal.plan(CUSTOMER)

    assert await names(database) == [PERSON]


async def test_export_has_the_dead_letters_of_this_customer_only(
    intake: OrderService, in_database: PersonalData, database: Database
) -> None:
    """Those without a stored order only by name: a namesake may have sent them."""
    mine, other = await place(intake), await place(intake, customer_name="Grace Hopper")
    about, unstored = make_letter(mine), make_letter("ORD_20991231_001")
    invalid = make_order_message(exchange="orders_dlx", body=b'{"\xff')
    sent = [about, make_letter(other), unstored, invalid]
    await put_dead_letter(PostgresBroker(database), *sent)

    async def exported(customer: Customer) -> list[str]:
        found = await in_database.export(customer)
        return [letter["id"] for letter in found["dead_letters"]]

    assert await exported(CUSTOMER) == [str(about.message_id), str(unstored.message_id)]
    assert await exported(Customer(PERSON, (mine,))) == [str(about.message_id)]
    (letter,) = (await in_database.export(Customer(numbers=(mine,))))["dead_letters"]
    assert json.loads(letter["body"])["customer_name"] == PERSON


# Who exports and erases


async def recorded(database: Database) -> list[tuple[str, ...]]:
    """Return who did what to what, the oldest first."""
    rows = await fetch(database, "SELECT who, action, target FROM audit_log ORDER BY id")
    return [tuple(row.values()) for row in rows]


async def test_who_exports_and_erases_is_recorded_without_personal_data(
    intake: OrderService, database: Database, clock: FakeClock
) -> None:
    """Erasing after the retention period is not an act of a person."""
    broker = PostgresBroker(database)
    person = PersonalData(database, broker, clock=clock, by=Actor("root", "command line"))
    one, two = await place_and_cancel(intake), await place_and_cancel(intake)
    letter = make_letter(one)
    await put_dead_letter(broker, letter)

    await person.export(CUSTOMER)
    await erase(person)
    await place_and_cancel(intake)
    clock.now += RETENTION + timedelta(seconds=1)
    assert await person.erase_due(RETENTION, {}) == 1

    assert await recorded(database) == [
        ("root", "export_personal_data", one),
        ("root", "export_personal_data", two),
        ("root", "export_personal_data", str(letter.message_id)),
        ("root", "erase_personal_data", one),
        ("root", "erase_personal_data", two),
        ("root", "discard_dead_letter", str(letter.message_id)),
    ]
    assert "audit_log" not in await rows_with(database, MARK)


async def test_export_and_erasure_that_cannot_be_recorded_are_not_done(
    intake: OrderService, database: Database, clock: FakeClock
) -> None:
    broker = PostgresBroker(database)
    person = PersonalData(database, broker, clock=clock, by=Actor("root", "command line"))
    await put_dead_letter(broker, make_letter(await place_and_cancel(intake)))
    plan = await person.plan(CUSTOMER)
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE audit_log ADD CHECK (false) NOT VALID")

    with pytest.raises(asyncpg.CheckViolationError):
        await person.export(CUSTOMER)
    with pytest.raises(asyncpg.CheckViolationError):
        await person.erase(plan, Erased())
    with pytest.raises(asyncpg.CheckViolationError):
        await person.erase(dataclasses.replace(plan, finished=[]), Erased())

    assert await names(database) == [PERSON]
    assert len(await letters(broker)) == 1
