"""The query of each guarantee finds one violation that the test has inserted."""

import json
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import pytest

from tests.faults import checker
from tests.faults.checker import Report

KEY, NUMBER = "1-000000", "ORD_20241216_001"
PLAN = {"event": "plan", "at": 0.0, "orders": 1, "subscribers": 1}
PIZZA = {"name": "Pizza", "quantity": 1, "price": 15.99}
SALAD = {"name": "Salad", "quantity": 1, "price": 8.99}
SENT = {
    "event": "order_sent",
    "at": 1.0,
    "key": KEY,
    "kind": "takeout",
    "total": "24.98",
    "items": [PIZZA, SALAD],
}
ACKNOWLEDGED = {
    "event": "order_acknowledged",
    "at": 1.1,
    "key": KEY,
    "number": NUMBER,
    "total": 24.98,
}
SUBSCRIBER = {"event": "subscriber", "at": 0.0, "name": "east"}
COOKING = {
    "event": "notification",
    "at": 1.2,
    "subscriber": "east",
    "number": NUMBER,
    "old_status": "received",
    "new_status": "cooking",
}
READY = {**COOKING, "at": 1.3, "old_status": "cooking", "new_status": "ready"}
POISON = {"event": "poison_published", "at": 1.0, "body": "no JSON"}
VALID = [PLAN, SUBSCRIBER, SENT, ACKNOWLEDGED, COOKING, READY, POISON]

ORDER = """
INSERT INTO orders (number, business_date, created_at, customer_name, type, total_amount, priority,
                    notes)
VALUES ('ORD_20241216_001', '2024-12-16', '2024-12-16T12:00Z', 'Ada', 'takeout', 24.98, 1,
        '1-000000')
"""
LIFE = """
INSERT INTO order_items (order_id, name, quantity, price) SELECT id, 'Pizza', 1, 15.99 FROM orders;
INSERT INTO order_items (order_id, name, quantity, price) SELECT id, 'Salad', 1, 8.99 FROM orders;
UPDATE orders SET status = 'cooking', processed_by = 'anna';
UPDATE orders SET status = 'ready', completed_at = now();
INSERT INTO order_status_log (order_id, status, changed_by)
SELECT id, step, 'anna' FROM orders, unnest(ARRAY['received', 'cooking', 'ready']) AS step;
INSERT INTO workers (name, type, orders_processed, heartbeat_interval, session)
VALUES ('anna', 'takeout', 1, '30 s', gen_random_uuid());
"""
BROKER_MESSAGE = """
INSERT INTO broker_messages (queue, body, headers, priority, exchange, routing_key, type,
                             message_id, correlation_id, app_id, timestamp, content_type)
VALUES ('{queue}', '{body}', '{{"x-reason": "no JSON"}}', 0, '', '', '', gen_random_uuid(), '', '',
        now(), '')
"""
DEAD_LETTER = BROKER_MESSAGE.format(queue="kitchen_dead_letter_queue", body="no JSON")
UNPUBLISHED = """
INSERT INTO outbox (stream, exchange, routing_key, type, body, message_id, correlation_id, app_id,
                    timestamp, priority)
VALUES ('', '', '', 'order.received', '', gen_random_uuid(), '', '', now(), 0)
"""
ANOTHER = ORDER.replace("_001", "_002")


async def _check(dsn: str, folder: Path, entries: Iterable[object], *statements: str) -> Report:
    """Check a run of one order, with these violations in its journal or its database."""
    journal = folder / "journal.jsonl"
    journal.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    sql = await asyncpg.connect(dsn)
    for statement in (ORDER, LIFE, DEAD_LETTER, *statements):
        await sql.execute(statement)
    await sql.close()
    return await checker.check(journal, dsn, management=None)


def _without(*entries: object) -> list[object]:
    return [entry for entry in VALID if entry not in entries]


async def test_run_without_violations_breaks_no_guarantee(dsn: str, tmp_path: Path) -> None:
    report = await _check(dsn, tmp_path, VALID)

    assert report.broken == {}
    assert report.orders == 1


@pytest.mark.parametrize(
    ("guarantee", "statement"),
    [
        ("acknowledged orders missing", "UPDATE orders SET total_amount = 24.97"),
        ("acknowledged orders missing", "DELETE FROM order_items WHERE name = 'Salad'"),
        ("acknowledged orders missing", "UPDATE order_items SET quantity = 2, price = 1"),
        ("acknowledged orders missing", "UPDATE order_items SET name = 'Mushroom'"),
        (
            "acknowledged orders missing",
            "UPDATE orders SET type = 'dine_in', table_number = 1",
        ),
        ("duplicates for a key", ANOTHER),
        ("duplicates for a key", ANOTHER.replace("'1-000000'", "NULL")),
        ("moves that no client requested", "UPDATE orders SET status = 'completed'"),
        ("orders not counted once at a worker", "UPDATE workers SET orders_processed = 2"),
        ("orders not counted once at a worker", "DELETE FROM workers"),
        ("gaps or repeats in the day's numbers", ANOTHER.replace("_002", "_003")),
        ("gaps or repeats in the day's numbers", ANOTHER.replace("_002", "_0001")),
        ("gaps or repeats in the day's numbers", "UPDATE orders SET created_at = '2024-12-17'"),
        (
            "illegal moves",
            (
                "INSERT INTO order_status_log (order_id, status, changed_by)"
                " SELECT id, 'ready', 'anna' FROM orders"
            ),
        ),
        ("illegal moves", "UPDATE orders SET status = 'completed'"),
        ("orders not ready", ANOTHER),
        ("left in the outbox or a queue", UNPUBLISHED),
        ("left in the outbox or a queue", BROKER_MESSAGE.format(queue="kitchen_queue", body="{}")),
        (
            "unexplained dead letters",
            BROKER_MESSAGE.format(queue="kitchen_dead_letter_queue", body="a message"),
        ),
        ("poison messages not dead-lettered", "DELETE FROM broker_messages"),
    ],
)
async def test_violation_in_the_database_is_found(
    guarantee: str, statement: str, dsn: str, tmp_path: Path
) -> None:
    report = await _check(dsn, tmp_path, VALID, statement)

    assert guarantee in report.broken


@pytest.mark.parametrize(
    ("guarantee", "entries"),
    [
        ("parts of the run that did not happen", []),
        ("parts of the run that did not happen", _without(PLAN)),
        ("parts of the run that did not happen", _without(SUBSCRIBER)),
        ("acknowledged orders missing", [*VALID, {**ACKNOWLEDGED, "number": "ORD_20241216_002"}]),
        ("acknowledged orders missing", [*VALID, {**ACKNOWLEDGED, "total": 24.97}]),
        ("orders never acknowledged", _without(ACKNOWLEDGED)),
        ("duplicates for a key", [*VALID, {**ACKNOWLEDGED, "number": "ORD_20241216_002"}]),
        ("duplicates for a key", _without(SENT)),
        (
            "acknowledged moves reverted",
            [
                *VALID,
                {"event": "move_acknowledged", "at": 2.0, "number": NUMBER, "status": "cancelled"},
            ],
        ),
        ("updates out of order for one order", [*_without(COOKING), COOKING]),
        ("updates out of order for one order", [*VALID, COOKING]),
        ("updates lost by a durable subscriber", _without(COOKING)),
        ("updates lost by a durable subscriber", [*VALID, {**SUBSCRIBER, "name": "west"}]),
        ("updates without a logged move", [*VALID, {**READY, "new_status": "completed"}]),
        ("unexplained dead letters", _without(POISON)),
        (
            "responses that no fault explains",
            [*VALID, {"event": "unexpected_response", "at": 2.0, "key": KEY, "what": "500"}],
        ),
        (
            "faults never recovered from",
            [*_without(READY), {"event": "fault_ended", "at": 1.0, "kind": "kill anna"}],
        ),
        (
            "services that did not stop cleanly",
            [*VALID, {"event": "unclean_exit", "at": 2.0, "what": "anna: 1"}],
        ),
    ],
)
async def test_violation_seen_by_a_client_or_subscriber_is_found(
    guarantee: str, entries: list[object], dsn: str, tmp_path: Path
) -> None:
    report = await _check(dsn, tmp_path, entries)

    assert guarantee in report.broken


async def test_repeated_update_breaks_no_guarantee(dsn: str, tmp_path: Path) -> None:
    """Delivery is at least once; only the first receptions must be in order."""
    report = await _check(dsn, tmp_path, [*VALID, COOKING, READY])

    assert report.broken == {}


WIPE_STARTED = {"event": "fault", "at": 1.2, "kind": "wipe rabbitmq"}
WIPE_ENDED = {**WIPE_STARTED, "event": "fault_ended", "at": 1.25}


async def test_after_a_lost_disk_each_update_counts_as_last_received(
    dsn: str, tmp_path: Path
) -> None:
    """The lost updates are published again, late and in order."""
    report = await _check(dsn, tmp_path, [*_without(COOKING), WIPE_STARTED, COOKING, READY])

    assert report.broken == {}


async def test_after_a_lost_disk_the_last_receptions_must_be_in_order(
    dsn: str, tmp_path: Path
) -> None:
    """A subscriber that receives `cooking` last shows a ready order as cooking."""
    report = await _check(dsn, tmp_path, [*VALID, WIPE_STARTED, COOKING])

    assert report.broken == {"updates out of order for one order": 1}


async def test_wrong_order_before_the_disk_was_lost_is_found(dsn: str, tmp_path: Path) -> None:
    late = {**WIPE_STARTED, "at": 9.0}

    report = await _check(dsn, tmp_path, [*_without(COOKING), COOKING, READY, late])

    assert report.broken == {"updates out of order for one order": 1}


async def test_poison_lost_with_the_disk_breaks_no_guarantee(dsn: str, tmp_path: Path) -> None:
    """Dead letters are lost with the disk of RabbitMQ, which is no violation."""
    report = await _check(dsn, tmp_path, [*VALID, WIPE_ENDED], "DELETE FROM broker_messages")

    assert report.broken == {}


async def test_recovery_is_reported_for_each_kind_of_fault(dsn: str, tmp_path: Path) -> None:
    """Recovery ends when an order placed after the fault is received as ready."""
    fault = {"event": "fault_ended", "at": 1.0, "kind": "kill postgresql"}

    report = await _check(dsn, tmp_path, [*VALID, fault])

    (recovery,) = report.recoveries
    assert (recovery.kind, recovery.times) == ("kill postgresql", 1)
    assert recovery.p50 == pytest.approx(0.3)
