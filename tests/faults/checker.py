"""Counts every promise that an evening broke.

It shares no code with the product and none with the harness, and believes neither: it reads the
journal of what people outside saw, the database by plain SQL, and what is left in the queues. What
it knows of the product is its contract: tables, queues, the legal moves.

The journal and the queues are loaded beside the product's tables, so that each promise is one
query, and what the query returns are the offenders.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx

EXAMPLES = 3  # offenders that are named

LOADED = """
CREATE TEMP TABLE asked    (key text, total numeric, items int);
CREATE TEMP TABLE told     (at float, key text, number text, replayed bool);
CREATE TEMP TABLE moved    (number text, status text);
CREATE TEMP TABLE odd      (key text, what text);
CREATE TEMP TABLE heard    (at float, place bigint, subscriber text, number text,
                            old_status text, new_status text);
CREATE TEMP TABLE faults   (kind text, lifted float);
CREATE TEMP TABLE poisons  (body text);
CREATE TEMP TABLE exits    (what text);
CREATE TEMP TABLE waiting  (queue text);
CREATE TEMP TABLE dead     (body text, reason text);
CREATE INDEX ON heard (number);

-- The moves of an order as its log has them, each with the status that it started from.
CREATE TEMP VIEW steps AS
SELECT orders.number, log.status AS new_status,
       lag(log.status) OVER life AS old_status,
       row_number() OVER life AS step
FROM order_status_log AS log JOIN orders ON orders.id = log.order_id
WINDOW life AS (PARTITION BY log.order_id ORDER BY log.id);
"""

# What is told is there: under that number, for that sum, with so many lines, and for that key.
MISSING = """
SELECT DISTINCT told.number || ' for ' || told.key FROM told JOIN asked USING (key)
WHERE NOT EXISTS (
    SELECT FROM orders
    WHERE orders.number = told.number
      AND orders.notes = told.key
      AND orders.total_amount = asked.total
      AND (SELECT count(*) FROM order_items WHERE order_id = orders.id) = asked.items
)
"""

# Every customer stays until answered; one who gave up after minutes was turned away for good.
UNANSWERED = """
SELECT key FROM asked WHERE NOT EXISTS (SELECT FROM told WHERE told.key = asked.key)
"""

DUPLICATES = """
SELECT notes || ': ' || string_agg(number, ', ') FROM orders GROUP BY notes HAVING count(*) > 1
UNION ALL
SELECT key || ' was told ' || string_agg(DISTINCT number, ', ') FROM told
GROUP BY key HAVING count(DISTINCT number) > 1
UNION ALL
SELECT number || ' was never asked for' FROM orders
WHERE notes IS NULL OR notes NOT IN (SELECT key FROM asked)
"""

# From 001 on, each number of a day once; and the day is that on which the order came (UTC).
NUMBERS = """
WITH numbered AS (
    SELECT split_part(number, '_', 2) AS day, split_part(number, '_', 3)::int AS place FROM orders
), wanted AS (
    SELECT day, generate_series(1, max(place)) AS place FROM numbered GROUP BY day
)
SELECT day || ' has no ' || place FROM wanted
WHERE (day, place) NOT IN (SELECT day, place FROM numbered)
UNION ALL
SELECT day || ' has several ' || place FROM numbered GROUP BY day, place HAVING count(*) > 1
UNION ALL
SELECT number || ' came on another day' FROM orders
WHERE split_part(number, '_', 2) <> to_char(created_at AT TIME ZONE 'UTC', 'YYYYMMDD')
"""

ILLEGAL = """
SELECT number || ': ' || coalesce(old_status, 'nothing') || ' to ' || new_status FROM steps
WHERE (coalesce(old_status, 'nothing'), new_status) NOT IN (
    ('nothing', 'received'), ('received', 'cooking'), ('cooking', 'ready'),
    ('ready', 'completed'), ('received', 'cancelled'), ('cooking', 'cancelled')
)
UNION ALL
SELECT number || ' is ' || status || ', which its log does not say' FROM orders
WHERE status IS DISTINCT FROM (
    SELECT new_status FROM steps WHERE steps.number = orders.number ORDER BY step DESC LIMIT 1
)
"""

NOT_READY = """
SELECT number || ' is ' || status FROM orders
WHERE status NOT IN ('ready', 'completed', 'cancelled')
"""

# Nothing follows on a cancellation or a completion, so what was told about one must still hold.
TAKEN_BACK = """
SELECT moved.number || ' was told ' || moved.status FROM moved
WHERE NOT EXISTS (
    SELECT FROM orders WHERE orders.number = moved.number AND orders.status = moved.status
)
"""

# At least once, so only the first hearing of each counts; these come as the log has them.
OUT_OF_ORDER = """
WITH first_heard AS (
    SELECT subscriber, number, step, min(place) AS place
    FROM heard JOIN steps USING (number, old_status, new_status) GROUP BY subscriber, number, step
), followed AS (
    SELECT subscriber, number, place,
           lag(place) OVER (PARTITION BY subscriber, number ORDER BY step) AS earlier
    FROM first_heard
)
SELECT DISTINCT number || ' at ' || subscriber FROM followed WHERE place < earlier
"""

LOST_UPDATES = """
SELECT number || ' ' || new_status || ' at ' || subscriber
FROM steps CROSS JOIN unnest($1::text[]) AS durable (subscriber)
WHERE old_status IS NOT NULL AND NOT EXISTS (
    SELECT FROM heard
    WHERE heard.number = steps.number AND heard.subscriber = durable.subscriber
      AND heard.old_status = steps.old_status AND heard.new_status = steps.new_status
)
"""

UNTRUE_UPDATES = """
SELECT DISTINCT number || ' ' || new_status || ' at ' || subscriber FROM heard
WHERE NOT EXISTS (
    SELECT FROM steps
    WHERE steps.number = heard.number
      AND steps.old_status = heard.old_status AND steps.new_status = heard.new_status
)
"""

LEFT_OVER = """
SELECT 'outbox: ' || type FROM outbox
UNION ALL
SELECT queue FROM waiting
"""

DEAD = """
SELECT reason FROM dead WHERE body NOT IN (SELECT body FROM poisons)
"""

POISON = """
SELECT body FROM poisons WHERE body NOT IN (SELECT body FROM dead)
"""

ODD_ANSWERS = "SELECT what || ' (' || key || ')' FROM odd"

UNCLEAN = "SELECT what FROM exits"

PROMISES = {
    "acknowledged orders missing": MISSING,
    "orders never acknowledged": UNANSWERED,
    "duplicates for a key": DUPLICATES,
    "gaps or repeats in the day's numbers": NUMBERS,
    "illegal moves": ILLEGAL,
    "orders not ready": NOT_READY,
    "acknowledged moves taken back": TAKEN_BACK,
    "updates out of order for one order": OUT_OF_ORDER,
    "updates lost by a durable subscriber": LOST_UPDATES,
    "updates that no move explains": UNTRUE_UPDATES,
    "left in the outbox or a queue": LEFT_OVER,
    "unexplained dead letters": DEAD,
    "poison not put aside": POISON,
    "answers that no fault explains": ODD_ANSWERS,
    "services that did not stop cleanly": UNCLEAN,
}

RATE = """
SELECT count(*), count(*) / (max(at) - min(at)) FROM (
    SELECT key, min(at) AS at FROM told GROUP BY key
) AS first_told
"""

STALL = """
SELECT max(pause) FROM (
    SELECT at - lag(at) OVER (ORDER BY at) AS pause FROM told
) AS pauses
"""

# Until an order that was placed after the fault had passed was heard to be ready.
RECOVERY = """
WITH through AS (
    SELECT told.at AS placed, min(heard.at) AS ready
    FROM (SELECT number, min(at) AS at FROM told GROUP BY number) AS told
    JOIN heard ON heard.number = told.number AND heard.new_status = 'ready'
    GROUP BY told.number, told.at
), recovered AS (
    SELECT kind, (SELECT min(ready) FROM through WHERE placed >= lifted) - lifted AS seconds
    FROM faults
)
SELECT kind, count(*) AS times, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50,
       max(seconds) AS longest
FROM recovered WHERE seconds IS NOT NULL GROUP BY kind ORDER BY kind
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """How often a promise was broken, and where, for example."""

    promise: str
    count: int
    examples: list[str]


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long it took, in seconds, after each fault of a kind."""

    kind: str
    times: int
    p50: float
    longest: float


@dataclass(frozen=True, slots=True)
class Report:
    """What an evening came to."""

    findings: list[Finding]
    orders: int
    orders_per_second: float
    longest_stall: float
    recoveries: list[Recovery]

    @property
    def broken(self) -> dict[str, int]:
        """The promises that were broken, and how often."""
        return {each.promise: each.count for each in self.findings if each.count}


async def check(journal: Path, dsn: str, management: str | None) -> Report:
    """Read an evening that is over, its services stopped, its servers still there.

    `management` is the address of RabbitMQ's management interface, ``None`` where messages
    travelled through PostgreSQL.
    """
    sql = await asyncpg.connect(dsn)
    try:
        await sql.execute(LOADED)
        subscribers = await _load_journal(sql, journal)
        if management is None:
            await sql.execute(LEFT_IN_POSTGRES)
        else:
            await _load_queues(sql, management)
        return await _report(sql, subscribers)
    finally:
        await sql.close()


async def _report(sql: Any, subscribers: Sequence[str]) -> Report:
    findings = []
    for promise, query in PROMISES.items():
        arguments = [subscribers] if "$1" in query else []
        offenders = [row[0] for row in await sql.fetch(query, *arguments)]
        findings.append(Finding(promise, len(offenders), offenders[:EXAMPLES]))
    orders, rate = await sql.fetchrow(RATE)
    return Report(
        findings,
        orders=orders,
        orders_per_second=rate or 0,
        longest_stall=await sql.fetchval(STALL) or 0,
        recoveries=[Recovery(**row) for row in await sql.fetch(RECOVERY)],
    )


async def _load_journal(sql: Any, journal: Path) -> list[str]:
    """Load what was seen; return the names of the durable subscribers."""
    entries = defaultdict(list)
    for line in journal.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        entries[entry["event"]].append(entry)
    tables = {
        "asked": [(e["key"], Decimal(e["total"]), e["items"]) for e in entries["asked"]],
        "told": [(e["at"], e["key"], e["number"], e["replayed"]) for e in entries["told"]],
        "moved": [(e["number"], e["status"]) for e in entries["moved"]],
        "odd": [(e["key"], e["what"]) for e in entries["odd_answer"]],
        "heard": [
            (e["at"], place, e["subscriber"], e["number"], e["old_status"], e["new_status"])
            for place, e in enumerate(entries["heard"])
        ],
        "faults": [(e["kind"], e["at"]) for e in entries["fault_lifted"]],
        "poisons": [(e["body"],) for e in entries["poisoned"]],
        "exits": [(e["what"],) for e in entries["unclean_exit"]],
    }
    for table, rows in tables.items():
        await sql.copy_records_to_table(table, records=rows)
    return [entry["name"] for entry in entries["subscriber"]]


LEFT_IN_POSTGRES = """
INSERT INTO waiting SELECT queue FROM broker_messages WHERE queue <> 'kitchen_dead_letter_queue';
INSERT INTO dead SELECT convert_from(body, 'UTF8'), coalesce(headers ->> 'x-reason', 'no reason')
FROM broker_messages WHERE queue = 'kitchen_dead_letter_queue';
"""


async def _load_queues(sql: Any, management: str) -> None:
    """Look at every message that is left in RabbitMQ, and leave it there."""
    with httpx.Client(base_url=management, auth=("guest", "guest"), timeout=30) as api:
        for queue in api.get("/api/queues/%2F").raise_for_status().json():
            messages = _messages(api, queue["name"])
            if queue["name"] == "kitchen_dead_letter_queue":
                dead = [(m["payload"], _reason(m)) for m in messages]
                await sql.copy_records_to_table("dead", records=dead)
            else:
                waiting = [(queue["name"],) for _ in messages]
                await sql.copy_records_to_table("waiting", records=waiting)


def _messages(api: httpx.Client, queue: str) -> list[dict[str, Any]]:
    wish = {"count": 1_000_000, "ackmode": "ack_requeue_true", "encoding": "auto"}
    answer = api.post(f"/api/queues/%2F/{quote(queue)}/get", json=wish).raise_for_status()
    messages: list[dict[str, Any]] = answer.json()
    return messages


def _reason(message: dict[str, Any]) -> str:
    return str(message["properties"].get("headers", {}).get("x-reason", "no reason"))
