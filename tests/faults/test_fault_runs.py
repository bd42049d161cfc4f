"""Short runs with every kind of fault, on either broker."""

from pathlib import Path

import pytest

from tests.faults.fault_run import run_faults
from tests.faults.plan import Component, Kind, RunPlan

RUNS = {
    "postgres": RunPlan(
        broker="postgres", orders=200, duration=11, kills=5, disturbances=8, poisons=2
    ),
    "rabbitmq": RunPlan(
        broker="rabbitmq",
        orders=200,
        duration=13,
        kills=6,
        disturbances=8,
        unbinds=1,
        poisons=2,
        partitions=3,
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


def test_nodes_of_a_cluster_are_killed_frozen_cut_off_and_isolated() -> None:
    plan = RunPlan(
        broker="rabbitmq",
        orders=200,
        duration=16,
        kills=2,
        disturbances=4,
        targets=frozenset({Component.RABBITMQ}),
        cluster=True,
    )

    kinds = {fault.kind for fault in plan.faults() if fault.component is Component.RABBITMQ}

    assert kinds == {Kind.KILL, Kind.FREEZE, Kind.CUT, Kind.ISOLATE}


def test_cluster_of_the_broker_in_postgresql_is_refused() -> None:
    with pytest.raises(ValueError, match="a cluster is one of RabbitMQ"):
        RunPlan(broker="postgres", orders=1, duration=1, cluster=True)


def test_same_seed_gives_the_same_faults() -> None:
    assert RUNS["rabbitmq"].faults() == RUNS["rabbitmq"].faults()
