"""A short evening with every kind of fault, on either broker: nothing is lost."""

from pathlib import Path

import pytest

from tests.faults.fault_run import spend
from tests.faults.plan import Kind, Part, RunPlan

RUNS = {
    "postgres": RunPlan(
        broker="postgres", orders=280, duration=19, kills=5, disturbances=8, poisons=2
    ),
    "rabbitmq": RunPlan(
        broker="rabbitmq", orders=280, duration=21, kills=6, disturbances=8, unbinds=1, poisons=2
    ),
}


@pytest.mark.parametrize("broker", RUNS)
async def test_an_evening_of_faults_breaks_no_promise(broker: str, tmp_path: Path) -> None:
    """Orders are taken, cooked and told, whatever is killed, frozen or cut meanwhile."""
    report = await spend(RUNS[broker], tmp_path)

    assert report.broken == {}
    assert report.orders == RUNS[broker].orders


@pytest.mark.parametrize("broker", RUNS)
def test_every_part_is_killed_once_in_a_short_evening(broker: str) -> None:
    """As many kills as there are parts hit each of them."""
    faults = RUNS[broker].faults()

    killed = [fault.part for fault in faults if fault.kind is Kind.KILL]

    assert sorted(killed) == sorted(
        part for part in Part if broker == "rabbitmq" or part is not Part.RABBITMQ
    )


def test_the_same_seed_is_the_same_evening() -> None:
    """What went wrong once can be made to go wrong again."""
    assert RUNS["rabbitmq"].faults() == RUNS["rabbitmq"].faults()
