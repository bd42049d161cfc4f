"""Each promise's query can fail: one thing put wrong by hand, and it names the offender."""

import json
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import pytest

from tests.faults import checker
from tests.faults.checker import Report

KEY, NUMBER = "1-000000", "ORD_20241216_001"
EVENING = {"event": "evening", "at": 0.0, "orders": 1, "subscribers": 1}
PIZZA = {"name": "Pizza", "quantity": 1, "price": 15.99}
SALAD = {"name": "Salad", "quantity": 1, "price": 8.99}
ASKED = {
    "event": "asked",
    "at": 1.0,
    "key": KEY,
    "kind": "takeout",
    "total": "24.98",
    "items": [PIZZA, SALAD],
}
TOLD = {"event": "told", "at": 1.1, "key": KEY, "number": NUMBER, "total": 24.98}
SUBSCRIBER = {"event": "subscriber", "at": 0.0, "name": "east"}
COOKING = {
    "event": "heard",
    "at": 1.2,
    "subscriber": "east",
    "number": NUMBER,
    "old_status": "received",
    "new_status": "cooking",
}
READY = {**COOKING, "at": 1.3, "old_status": "cooking", "new_status": "ready"}
POISONED = {"event": "poisoned", "at": 1.0, "body": "no JSON"}
SOUND = [EVENING, SUBSCRIBER, ASKED, TOLD, COOKING, READY, POISONED]

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
LETTER = """
INSERT INTO broker_messages (queue, body, headers, priority, exchange, routing_key, type,
                             message_id, correlation_id, app_id, timestamp, content_type)
VALUES ('{queue}', '{body}', '{{"x-reason": "no JSON"}}', 0, '', '', '', gen_random_uuid(), '', '',
        now(), '')
"""
DEAD_LETTER = LETTER.format(queue="kitchen_dead_letter_queue", body="no JSON")
OWED = """
INSERT INTO outbox (stream, exchange, routing_key, type, body, message_id, correlation_id, app_id,
                    timestamp, priority)
VALUES ('', '', '', 'order.received', '', gen_random_uuid(), '', '', now(), 0)
"""
ANOTHER = ORDER.replace("_001", "_002")


async def _check(dsn: str, folder: Path, entries: Iterable[object], *statements: str) -> Report:
    """Check an evening of one order, with what is put wrong in its journal or its database."""
    journal = folder / "journal.jsonl"
    journal.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    sql = await asyncpg.connect(dsn)
    for statement in (ORDER, LIFE, DEAD_LETTER, *statements):
        await sql.execute(statement)
    await sql.close()
    return await checker.check(journal, dsn, management=None)


def _without(*entries: object) -> list[object]:
    return [entry for entry in SOUND if entry not in entries]


async def test_a_sound_evening_breaks_no_promise(dsn: str, tmp_path: Path) -> None:
    """Where everything was kept, every number is nought."""
    report = await _check(dsn, tmp_path, SOUND)

    assert report.broken == {}
    assert report.orders == 1


@pytest.mark.parametrize(
    ("promise", "statement"),
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
        ("moves that nobody asked for", "UPDATE orders SET status = 'completed'"),
        ("orders not credited to a cook once", "UPDATE workers SET orders_processed = 2"),
        ("orders not credited to a cook once", "DELETE FROM workers"),
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
        ("left in the outbox or a queue", OWED),
        ("left in the outbox or a queue", LETTER.format(queue="kitchen_queue", body="{}")),
        (
            "unexplained dead letters",
            LETTER.format(queue="kitchen_dead_letter_queue", body="a meal"),
        ),
        ("poison not put aside", "DELETE FROM broker_messages"),
    ],
)
async def test_what_is_wrong_in_the_database_is_found(
    promise: str, statement: str, dsn: str, tmp_path: Path
) -> None:
    """A row too many, too few or untrue turns its promise's number red."""
    report = await _check(dsn, tmp_path, SOUND, statement)

    assert promise in report.broken


@pytest.mark.parametrize(
    ("promise", "entries"),
    [
        ("parts of the evening that did not happen", []),
        ("parts of the evening that did not happen", _without(EVENING)),
        ("parts of the evening that did not happen", _without(SUBSCRIBER)),
        ("acknowledged orders missing", [*SOUND, {**TOLD, "number": "ORD_20241216_002"}]),
        ("acknowledged orders missing", [*SOUND, {**TOLD, "total": 24.97}]),
        ("orders never acknowledged", _without(TOLD)),
        ("duplicates for a key", [*SOUND, {**TOLD, "number": "ORD_20241216_002"}]),
        ("duplicates for a key", _without(ASKED)),
        (
            "acknowledged moves taken back",
            [*SOUND, {"event": "moved", "at": 2.0, "number": NUMBER, "status": "cancelled"}],
        ),
        ("updates out of order for one order", [*_without(COOKING), COOKING]),
        ("updates out of order for one order", [*SOUND, COOKING]),
        ("updates lost by a durable subscriber", _without(COOKING)),
        ("updates lost by a durable subscriber", [*SOUND, {**SUBSCRIBER, "name": "west"}]),
        ("updates that no move explains", [*SOUND, {**READY, "new_status": "completed"}]),
        ("unexplained dead letters", _without(POISONED)),
        (
            "answers that no fault explains",
            [*SOUND, {"event": "odd_answer", "at": 2.0, "key": KEY, "what": "500"}],
        ),
        (
            "faults never recovered from",
            [*_without(READY), {"event": "fault_lifted", "at": 1.0, "kind": "kill anna"}],
        ),
        (
            "services that did not stop cleanly",
            [*SOUND, {"event": "unclean_exit", "at": 2.0, "what": "anna: 1"}],
        ),
    ],
)
async def test_what_was_seen_outside_and_should_not_have_been_is_found(
    promise: str, entries: list[object], dsn: str, tmp_path: Path
) -> None:
    """Something told, heard or answered that the database does not bear out turns red."""
    report = await _check(dsn, tmp_path, entries)

    assert promise in report.broken


async def test_an_update_that_comes_again_is_no_fault(dsn: str, tmp_path: Path) -> None:
    """Delivery is at least once; only the first hearing of each update must be in order."""
    report = await _check(dsn, tmp_path, [*SOUND, COOKING, READY])

    assert report.broken == {}


WIPING = {"event": "fault", "at": 1.2, "kind": "wipe rabbitmq"}
WIPED = {**WIPING, "event": "fault_lifted", "at": 1.25}


async def test_after_a_lost_disk_the_last_telling_counts(dsn: str, tmp_path: Path) -> None:
    """What was lost with it is told again, late: then an order's story must end in order."""
    report = await _check(dsn, tmp_path, [*_without(COOKING), WIPING, COOKING, READY])

    assert report.broken == {}


async def test_after_a_lost_disk_too_the_story_must_end_in_order(dsn: str, tmp_path: Path) -> None:
    """Who hears last that it cooks believes that it cooks."""
    report = await _check(dsn, tmp_path, [*SOUND, WIPING, COOKING])

    assert report.broken == {"updates out of order for one order": 1}


async def test_what_was_heard_before_the_disk_was_lost_counts(dsn: str, tmp_path: Path) -> None:
    """A loss excuses nothing that came before it."""
    late = {**WIPING, "at": 9.0}

    report = await _check(dsn, tmp_path, [*_without(COOKING), COOKING, READY, late])

    assert report.broken == {"updates out of order for one order": 1}


async def test_poison_that_was_lost_with_the_disk_is_not_missed(dsn: str, tmp_path: Path) -> None:
    """Dead letters are on that disk as well."""
    report = await _check(dsn, tmp_path, [*SOUND, WIPED], "DELETE FROM broker_messages")

    assert report.broken == {}


async def test_recovery_is_told_for_each_kind_of_fault(dsn: str, tmp_path: Path) -> None:
    """It lasts until an order placed after the fault was heard to be ready."""
    fault = {"event": "fault_lifted", "at": 1.0, "kind": "kill postgresql"}

    report = await _check(dsn, tmp_path, [*SOUND, fault])

    (recovery,) = report.recoveries
    assert (recovery.kind, recovery.times) == ("kill postgresql", 1)
    assert recovery.p50 == pytest.approx(0.3)
