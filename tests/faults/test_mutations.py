"""The checker can fail: each way to lose meals that we know of turns its number red."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.fault_run import spend
from tests.faults.plan import Part, RunPlan

CALM = RunPlan(broker="postgres", orders=150, duration=5, patience=2)
COOKS_DIE = replace(CALM, kills=4, hit=frozenset({Part.KITCHEN_WORKER}))
DATABASE_DIES = replace(CALM, kills=2, hit=frozenset({Part.POSTGRESQL}))
QUEUES_GO = replace(CALM, broker="rabbitmq", unbinds=3)


@pytest.mark.parametrize(
    ("sabotage", "evening", "promises"),
    [
        ("ack-before-commit", COOKS_DIE, {"orders not ready"}),
        ("unroutable-unnoticed", QUEUES_GO, {"orders not ready"}),
        ("outbox-by-cursor", CALM, {"left in the outbox or a queue"}),
        # What the database itself refuses is answered as our own fault.
        ("no-compare-and-set", CALM, {"illegal moves", "answers that no fault explains"}),
        ("number-from-sequence", DATABASE_DIES, {"gaps or repeats in the day's numbers"}),
        ("no-idempotency-key", CALM, {"duplicates for a key"}),
    ],
)
async def test_sabotage_is_found_out(
    sabotage: str, evening: RunPlan, promises: set[str], tmp_path: Path
) -> None:
    """What some comparable system does is seen in the number of the promise that it breaks."""
    report = await spend(replace(evening, sabotage=sabotage), tmp_path)

    assert report.broken.keys() & promises, report.broken
