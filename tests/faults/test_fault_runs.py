"""Short runs with every kind of fault, on either broker."""

from pathlib import Path

import pytest

from tests.faults.fault_run import run_faults
from tests.faults.plan import Component, Kind, RunPlan

RUNS = {
    "postgres": RunPlan(
        broker="postgres", orders=280, duration=19, kills=5, disturbances=8, poisons=2
    ),
    "rabbitmq": RunPlan(
        broker="rabbitmq", orders=280, duration=21, kills=6, disturbances=8, unbinds=1, poisons=2
    ),
}


@pytest.mark.parametrize("broker", RUNS)
async def test_fault_run_breaks_no_guarantee(broker: str, tmp_path: Path) -> None:
    report = await run_faults(RUNS[broker], tmp_path)

    assert report.broken == {}
    assert report.orders == RUNS[broker].orders


@pytest.mark.parametrize("broker", RUNS)
def test_short_run_kills_each_component_once(broker: str) -> None:
    """A plan with as many kills as components kills each component once."""
    faults = RUNS[broker].faults()

    killed = [fault.component for fault in faults if fault.kind is Kind.KILL]

    assert sorted(killed) == sorted(
        component
        for component in Component
        if broker == "rabbitmq" or component is not Component.RABBITMQ
    )


def test_same_seed_gives_the_same_faults() -> None:
    assert RUNS["rabbitmq"].faults() == RUNS["rabbitmq"].faults()
