"""Storing orders: rows, numbers, business dates and messages."""

import asyncio
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from restaurant_system import tracing
from restaurant_system.database import outbox
from restaurant_system.database.connection import Database
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.models.message import Message, OrderReceived, decode
from restaurant_system.models.order import NewOrder, PriorityThresholds
from restaurant_system.services.order.service import OrderService
from tests.support.orders import make_item, make_order
from tests.support.outbox import EVERYTHING
from tests.support.services import NOON, FakeClock, make_order_service, make_relay

# A customer whose order the database refuses, in the middle of the transaction.
UNSTORABLE = "Unstorable"
REFUSE_UNSTORABLE = """
CREATE FUNCTION refuse_unstorable() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the test refuses this customer'; END $$;
CREATE TRIGGER refuse_unstorable AFTER INSERT ON orders FOR EACH ROW
    WHEN (NEW.customer_name = 'Unstorable') EXECUTE FUNCTION refuse_unstorable();
"""


@pytest.fixture
async def unstorable_order(database: Database) -> NewOrder:
    """Return an order that the database refuses."""
    async with database.connection() as connection:
        await connection.execute(REFUSE_UNSTORABLE)
    return make_order(customer_name=UNSTORABLE)


async def place(intake: OrderService, order: NewOrder | None = None) -> str:
    """Place an order; return its number."""
    placed = await intake.place(order or make_order(), request_id="request-1", key=None)
    return placed.order_number


def numbers(count: int, start: int = 1, day: str = "20241216") -> list[str]:
    """Return `count` order numbers of a day, from `start` on."""
    return [f"ORD_{day}_{place:03d}" for place in range(start, start + count)]


async def test_order_items_log_row_and_message_share_a_transaction(
    intake: OrderService, database: Database
) -> None:
    number = await place(intake)

    async with database.connection() as connection:
        transactions = await connection.fetch(
            """SELECT xmin::text FROM orders WHERE number = $1
               UNION ALL SELECT xmin::text FROM order_items
               UNION ALL SELECT xmin::text FROM order_status_log
               UNION ALL SELECT xmin::text FROM outbox""",
            number,
        )

    assert len(transactions) == 4
    assert len({row["xmin"] for row in transactions}) == 1


async def test_order_is_stored_as_it_was_placed(intake: OrderService, database: Database) -> None:
    order = make_order(
        customer_name="  Miles O’Brien ",
        order_type="delivery",
        delivery_address="1 Main Street\nSpringfield",
        items=[make_item(price=Decimal("15.99"), quantity=4, notes="no onions")],
        notes="ring twice",
    )

    number = await place(intake, order)

    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM orders WHERE number = $1", number)
        item = await connection.fetchrow("SELECT * FROM order_items")
    assert row is not None
    assert row["customer_name"] == "Miles O’Brien"
    assert row["type"] == "delivery"
    assert row["table_number"] is None
    assert row["delivery_address"] == "1 Main Street\nSpringfield"
    assert row["notes"] == "ring twice"
    assert row["total_amount"] == Decimal("63.96")
    assert row["priority"] == 5
    assert row["status"] == "received"
    assert row["business_date"] == date(2024, 12, 16)
    assert row["created_at"] == row["updated_at"] == NOON
    assert row["processed_by"] is row["completed_at"] is None
    assert item is not None
    assert (item["order_id"], item["name"], item["quantity"]) == (row["id"], "Margherita", 4)
    assert (item["price"], item["notes"]) == (Decimal("15.99"), "no onions")


async def test_items_are_stored_in_their_sequence(intake: OrderService, database: Database) -> None:
    names = [f"Dish {(place * 7) % 20}" for place in range(20)]

    await place(intake, make_order(items=[make_item(name=name) for name in names]))

    async with database.connection() as connection:
        rows = await connection.fetch("SELECT name FROM order_items ORDER BY id")
    assert [row["name"] for row in rows] == names


async def test_first_log_row_is_received_by_the_order_service(
    intake: OrderService, database: Database
) -> None:
    await place(intake)

    async with database.connection() as connection:
        (row,) = await connection.fetch("SELECT * FROM order_status_log")
    assert (row["status"], row["changed_by"], row["changed_at"]) == (
        "received",
        "order-service",
        NOON,
    )


async def test_message_has_the_order_its_priority_and_the_request_id(
    intake: OrderService, database: Database
) -> None:
    order = make_order(items=[make_item(price=Decimal("99.99"), quantity=2)])

    number = await place(intake, order)

    async with database.connection() as connection:
        (row,) = await connection.fetch("SELECT * FROM outbox")
    message = Message(
        **{
            name: row[name]
            for name in ("exchange", "routing_key", "type", "body", "message_id", "correlation_id")
        },
        app_id=row["app_id"],
        timestamp=row["timestamp"],
    )
    assert (message.exchange, message.routing_key) == ("orders_topic", "kitchen.takeout.10")
    assert (message.type, row["priority"], message.app_id) == (
        "order.received",
        10,
        "order-service",
    )
    assert message.correlation_id == "request-1"
    assert isinstance(message.message_id, UUID)
    assert decode(message, OrderReceived) == OrderReceived.from_order(order, number)


async def test_relay_gets_the_messages_as_they_are_stored(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It publishes them from memory; another process would publish the rows."""
    relay, enqueued = make_relay(database), list[OutboxMessage]()
    monkeypatch.setattr(relay, "enqueue", lambda *messages: enqueued.extend(messages))
    context = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    monkeypatch.setattr(tracing, "current_context", lambda: context)
    intake = make_order_service(database, relay)

    await asyncio.gather(*(place(intake) for _ in range(3)))

    async with database.transaction() as tx:
        stored = await outbox.claim_overdue(tx, EVERYTHING, limit=10)
    assert enqueued == stored
    assert len(stored) == 3
    assert stored[0].message.headers == context


async def test_concurrent_orders_are_numbered_from_001_without_gaps(intake: OrderService) -> None:
    placed = await asyncio.gather(*(place(intake) for _ in range(100)))

    assert sorted(placed) == numbers(100)


async def test_order_that_cannot_be_stored_draws_no_number_and_fails_alone(
    intake: OrderService, unstorable_order: NewOrder, database: Database
) -> None:
    outcomes = await asyncio.gather(
        *(place(intake, unstorable_order if turn % 4 == 0 else None) for turn in range(40)),
        return_exceptions=True,
    )

    failures = [each for each in outcomes if not isinstance(each, str)]
    placed = sorted(each for each in outcomes if isinstance(each, str))
    assert len(failures) == 10
    assert all(isinstance(each, asyncpg.PostgresError) for each in failures)
    assert placed == numbers(30)
    async with database.connection() as connection:
        for table in ("orders", "order_items", "order_status_log", "outbox"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 30  # noqa: S608


@pytest.mark.parametrize(("price", "urgency"), [(1000, 1), (2000, 5), (20001, 10)])
async def test_priority_follows_from_the_configured_thresholds(
    database: Database, price: int, urgency: int
) -> None:
    """In the table, in the message's body, in its properties and in its routing key."""
    thresholds = PriorityThresholds(Decimal(2000), Decimal(20000))
    service = make_order_service(database, thresholds=thresholds)
    order = make_order(items=[make_item(price=price)])

    await service.place(order, request_id="request-1", key=None)

    async with database.connection() as connection:
        stored = await connection.fetchval("SELECT priority FROM orders")
        (sent,) = await connection.fetch("SELECT priority, routing_key, body FROM outbox")
    assert (stored, sent["priority"], sent["routing_key"]) == (
        urgency,
        urgency,
        f"kitchen.takeout.{urgency}",
    )
    assert json.loads(sent["body"])["priority"] == urgency


async def test_number_has_four_digits_after_999(intake: OrderService, database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("INSERT INTO order_counters VALUES ('2024-12-16', 998)")

    assert [await place(intake) for _ in range(3)] == numbers(3, start=999)


@pytest.mark.parametrize(
    ("timezone", "last", "first", "days"),
    [
        ("UTC", "2024-12-16T23:59:59", "2024-12-17T00:00:00", ("20241216", "20241217")),
        (
            "America/New_York",
            "2024-12-17T04:59:59.999999",
            "2024-12-17T05:00:00",
            ("20241216", "20241217"),
        ),
        # Its clocks go forward in the night to 10 March, and back in that to 3 November.
        (
            "America/New_York",
            "2024-03-10T04:59:59",
            "2024-03-10T05:00:00",
            ("20240309", "20240310"),
        ),
        (
            "America/New_York",
            "2024-03-11T03:59:59",
            "2024-03-11T04:00:00",
            ("20240310", "20240311"),
        ),
        (
            "America/New_York",
            "2024-11-04T04:59:59",
            "2024-11-04T05:00:00",
            ("20241103", "20241104"),
        ),
        ("Asia/Kathmandu", "2024-12-31T18:14:59", "2024-12-31T18:15:00", ("20241231", "20250101")),
    ],
)
async def test_business_date_begins_at_midnight_of_the_configured_time_zone(
    database: Database, timezone: str, last: str, first: str, days: tuple[str, str]
) -> None:
    watch = FakeClock(datetime.fromisoformat(last).replace(tzinfo=UTC))
    intake = make_order_service(database, clock=watch, timezone=timezone)
    before = [await place(intake), await place(intake)]

    watch.now = datetime.fromisoformat(first).replace(tzinfo=UTC)
    after = [await place(intake), await place(intake)]

    assert before == numbers(2, day=days[0])
    assert after == numbers(2, day=days[1])


async def test_concurrent_orders_of_two_dates_are_numbered_for_their_own_date(
    database: Database,
) -> None:
    tonight = make_order_service(
        database, clock=FakeClock(datetime(2024, 12, 16, 23, 59, 59, tzinfo=UTC))
    )
    tomorrow = make_order_service(database, clock=FakeClock(datetime(2024, 12, 17, tzinfo=UTC)))

    placed = await asyncio.gather(*(place(tonight if turn % 2 else tomorrow) for turn in range(40)))

    assert sorted(placed) == numbers(20) + numbers(20, day="20241217")


async def test_order_is_refused_while_the_database_is_unavailable(
    intake: OrderService, database: Database
) -> None:
    await database.close()

    with pytest.raises(DatabaseUnavailable):
        await place(intake)
