"""Mutation tests of the checker: it finds each known way to lose or duplicate an order."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.fault_run import run_faults
from tests.faults.guarantees import GUARANTEES
from tests.faults.plan import Component, RunPlan

NO_FAULTS = RunPlan(broker="postgres", orders=60, duration=1.25, settle_timeout=2)
FAULTS = replace(NO_FAULTS, orders=90, duration=3)
DATABASE_KILLED = replace(FAULTS, kills=2, targets=frozenset({Component.POSTGRESQL}))
QUEUES_UNBOUND = replace(FAULTS, broker="rabbitmq", unbinds=3)


@pytest.mark.parametrize(
    ("mutation", "plan", "guarantees"),
    [
        ("unroutable-unnoticed", QUEUES_UNBOUND, {"orders not ready"}),
        ("outbox-by-cursor", NO_FAULTS, {"left in the outbox or a queue"}),
        # What the database itself refuses is answered with 500.
        ("no-compare-and-set", NO_FAULTS, {"illegal moves", "responses that no fault explains"}),
        ("number-from-sequence", DATABASE_KILLED, {"gaps or repeats in the day's numbers"}),
        ("no-idempotency-key", NO_FAULTS, {"duplicates for a key"}),
    ],
)
async def test_checker_finds_a_mutation_by_the_guarantee_it_breaks(
    mutation: str, plan: RunPlan, guarantees: set[str], tmp_path: Path
) -> None:
    report = await run_faults(replace(plan, mutation=mutation), tmp_path)

    assert guarantees <= GUARANTEES.keys()
    assert report.broken.keys() & guarantees, report.broken
