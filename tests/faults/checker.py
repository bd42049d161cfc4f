"""Count the violations of each guarantee after a fault run.

The checker shares no code with the product or the harness. It reads the journal of what clients and
subscribers got, the database by plain SQL, and what is left in the queues. Of the product it knows
the contract alone: tables, queues and legal moves.

The journal and the queues are loaded next to the product's tables; then each guarantee is one query
of `guarantees`, which returns the violations.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import asyncpg
import httpx

from tests.faults.guarantees import GUARANTEES, LOADED, ORDERS, RATE, RECOVERY, RESENT, STALL

EXAMPLES = 3  # violations that are named
DEAD_LETTERS = "kitchen_dead_letter_queue"
CREDENTIALS = ("guest", "guest")

Line: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class Finding:
    """The number of violations of a guarantee, with examples."""

    guarantee: str
    count: int
    examples: list[str]


@dataclass(frozen=True, slots=True)
class Recovery:
    """The seconds that recovery took after the faults of one kind."""

    kind: str
    times: int
    p50: float
    longest: float


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a fault run."""

    findings: list[Finding]
    orders: int
    orders_per_second: float
    longest_stall: float
    resent: int  # orders that reconciliation published again
    recoveries: list[Recovery]

    @property
    def broken(self) -> dict[str, int]:
        """Return the guarantees that were broken, and how often."""
        return {each.guarantee: each.count for each in self.findings if each.count}


async def check(journal: Path, dsn: str, management: str | None) -> Report:
    """Check a fault run after its services have stopped, while its servers still run.

    `management` is the address of RabbitMQ's management interface, `None` where PostgreSQL was the
    broker.
    """
    sql = await asyncpg.connect(dsn)
    try:
        await sql.execute(LOADED)
        await _load_journal(sql, journal)
        if management is None:
            await sql.execute(LEFT_IN_POSTGRES)
        else:
            await _load_queues(sql, management)
        return await _report(sql)
    finally:
        await sql.close()


async def _report(sql: Line) -> Report:
    findings = []
    for guarantee, query in GUARANTEES.items():
        violations = [row[0] for row in await sql.fetch(query)]
        findings.append(Finding(guarantee, len(violations), violations[:EXAMPLES]))
    return Report(
        findings,
        orders=await sql.fetchval(ORDERS),
        orders_per_second=await sql.fetchval(RATE) or 0,
        longest_stall=await sql.fetchval(STALL) or 0,
        resent=await sql.fetchval(RESENT),
        recoveries=[Recovery(**row) for row in await sql.fetch(RECOVERY)],
    )


async def _load_journal(sql: Line, journal: Path) -> None:
    entries = _entries(journal)
    tables: dict[str, list[tuple[object, ...]]] = {
        "plan": [(e["orders"], e["subscribers"]) for e in entries["plan"]],
        "subscriptions": [(e["name"],) for e in entries["subscriber"]],
        "sent": [
            (e["key"], e["kind"], Decimal(e["total"]), "; ".join(map(_as_stored, e["items"])))
            for e in entries["order_sent"]
        ],
        "acknowledged": [
            (e["at"], e["key"], e["number"], Decimal(str(e["total"])))
            for e in entries["order_acknowledged"]
        ],
        "requested_moves": [(e["number"], e["status"]) for e in entries["move_requested"]],
        "acknowledged_moves": [(e["number"], e["status"]) for e in entries["move_acknowledged"]],
        "unexpected": [(e["key"], e["what"]) for e in entries["unexpected_response"]],
        "notifications": [
            (e["at"], place, e["subscriber"], e["number"], e["old_status"], e["new_status"])
            for place, e in enumerate(entries["notification"])
        ],
        "fault_starts": [(e["at"], e["kind"]) for e in entries["fault"]],
        "fault_ends": [(e["at"], e["kind"]) for e in entries["fault_ended"]],
        "poison": [(e["at"], e["body"]) for e in entries["poison_published"]],
        "exits": [(e["what"],) for e in entries["unclean_exit"]],
    }
    for table, rows in tables.items():
        await sql.copy_records_to_table(table, records=rows)


def _as_stored(item: dict[str, Any]) -> str:
    """Format an item as the query `MISSING` formats a stored one."""
    return f"{item['quantity']} x {item['name']} at {item['price']:.2f}"


def _entries(journal: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the journal's entries by event."""
    entries = defaultdict(list)
    for line in journal.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        entries[entry["event"]].append(entry)
    return entries


LEFT_IN_POSTGRES = """
INSERT INTO waiting SELECT queue FROM broker_messages WHERE queue <> 'kitchen_dead_letter_queue';
INSERT INTO dead_letters
SELECT convert_from(body, 'UTF8'), coalesce(headers ->> 'x-reason', 'no reason')
FROM broker_messages WHERE queue = 'kitchen_dead_letter_queue';
"""


async def _load_queues(sql: Line, management: str) -> None:
    """Read every message that is left in RabbitMQ without removing it."""
    async with httpx.AsyncClient(base_url=management, auth=CREDENTIALS, timeout=30) as api:
        queues = (await api.get("/api/queues/%2F")).raise_for_status().json()
        for queue in queues:
            name = queue["name"]
            if name == DEAD_LETTERS:
                dead = [(each["payload"], _reason(each)) for each in await _messages(api, name)]
                await sql.copy_records_to_table("dead_letters", records=dead)
            else:
                count = await _count(api, queue)
                await sql.copy_records_to_table("waiting", records=[(name,)] * count)


async def _count(api: httpx.AsyncClient, queue: dict[str, Any]) -> int:
    """Count the messages of a queue; those of a subscriber in a cluster cannot be read."""
    if queue["type"] == "quorum" and "x-single-active-consumer" in queue["arguments"]:
        return int(queue.get("messages", 0))
    return len(await _messages(api, queue["name"]))


async def _messages(api: httpx.AsyncClient, queue: str) -> list[dict[str, Any]]:
    request = {"count": 1_000_000, "ackmode": "ack_requeue_true", "encoding": "auto"}
    response = await api.post(f"/api/queues/%2F/{quote(queue)}/get", json=request)
    messages: list[dict[str, Any]] = response.raise_for_status().json()
    return messages


def _reason(message: dict[str, Any]) -> str:
    return str(message["properties"].get("headers", {}).get("x-reason", "no reason"))
