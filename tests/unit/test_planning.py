from pathlib import Path

import pytest

from benchmarks import costs, planning, simulate
from benchmarks.costs import Cost
from benchmarks.planning import (
    BROKER,
    DISPLAY,
    INTAKE,
    PARTS,
    PRIMARY,
    REPLICAS,
    STEPS,
    SUBSCRIBER,
    TRACKING,
    UTILIZATION,
    Planner,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "scale.md"
LIFE_ON_DISK = ("life", "disk")
BATCH = 20.0  # orders, of the step `place, busy`


def cost(step: str, resource: str, value: float) -> Cost:
    return Cost(step, resource, value, value, value)


def measured() -> list[Cost]:
    """Costs of 100 µs for each part of each step; placing costs 290 µs alone, and 100 in 20."""
    steps = [(step, part.partition(",")[0]) for step, parts in PARTS.items() for part in parts]
    single = {(step, part): 290.0 if step == "place" else 100.0 for step, part in steps}
    busy = {("place, busy", part): 100.0 for step, part in steps if step == "place"}
    other = {
        ("place, busy", "batch"): BATCH,
        ("commit", "time"): 1.0,
        LIFE_ON_DISK: 2000.0,
        ("place", "WAL"): 1000.0,
        ("place", "PostgreSQL network"): 1000.0,
    }
    return [cost(*name, value) for name, value in (single | busy | other).items()]


def test_cost_of_a_batch_is_what_a_single_order_costs_more() -> None:
    of_batch, of_order = Planner(measured()).placing(PRIMARY)

    assert of_batch == pytest.approx(200)
    assert of_order == pytest.approx(90)
    assert of_batch / BATCH + of_order == pytest.approx(100)


def test_more_orders_share_a_transaction_the_more_come() -> None:
    """A batch takes 1.2 ms and 0.09 ms for each order: at 5,000/s it is 6 ms of orders / 0.55."""
    planner = Planner(measured())

    assert planner.batch_size(200) == 1
    assert planner.batch_size(5_000) == pytest.approx(5 * 1.2 / (1 - 0.45))
    assert planner.batch_size(1e6) == 128


def test_loads_are_the_steps_of_an_order_times_their_costs() -> None:
    loads = Planner(measured()).loads(200)

    polls = STEPS["look-up"] + STEPS["watch"]
    assert loads == {
        INTAKE: pytest.approx(200 * (290 + 100) / 1e6),
        DISPLAY: pytest.approx(200 * (100 + 100 * STEPS["station"]) / 1e6),
        TRACKING: pytest.approx(200 * 100 * polls / 1e6),
        SUBSCRIBER: pytest.approx(200 * 200 / 1e6),
        PRIMARY: pytest.approx(200 * (290 + 200 + 100 * STEPS["station"]) / 1e6),
        REPLICAS: pytest.approx(200 * 100 * polls / 1e6),
        BROKER: pytest.approx(200 * (290 + 200) / 1e6),
    }


def test_first_limit_is_of_the_part_that_reaches_its_utilization_first() -> None:
    """A subscriber uses 200 µs of its one core for each order, the primary 1,292 µs of 32."""
    planner = Planner(measured())
    rates = {part: rate for rate, part, _ in planner.limits()}

    assert next(iter(rates)) == "a subscriber"
    assert rates["a subscriber"] == pytest.approx(UTILIZATION * 1e6 / 200)
    assert list(rates.values()) == sorted(rates.values())
    primary = rates["primary of PostgreSQL"]
    assert planner.cores(primary * 0.999)[PRIMARY] == planning.SERVER_CORES


def test_partitions_share_the_orders_of_the_most_frequent_type() -> None:
    """Half of 20,000 orders/s use one core of RabbitMQ: 0.6 of two queues each, not of one."""
    planner = Planner(measured())

    assert planner.partitions(200) == 1
    assert planner.partitions(20_000) == 2


def test_document_has_the_tables_of_the_committed_costs() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    for table in planning.tables(costs.read()):
        assert table in text, "run `python -m benchmarks.planning`, and put its tables there"


def test_committed_costs_have_what_an_order_keeps_on_disk() -> None:
    """A partitioned table has no size of its own."""
    (kept,) = [each.median for each in costs.read() if (each.step, each.resource) == LIFE_ON_DISK]

    assert kept > 1_000


def test_simulated_machine_reaches_what_its_cores_allow() -> None:
    """An order costs 20 µs of the load generator, 3 * 90, and a part of the 600 µs of its batch."""
    planner = Planner(measured())

    rate, p50, p99 = simulate.machine(planner, 20, cores=1, seconds=2)

    assert 1e6 / (290 + 600 / 16) < rate < 1e6 / (290 + 600 / 64)
    assert p50 == pytest.approx(64 / rate * 1000, rel=0.5)
    assert p99 >= p50
    assert simulate.machine(planner, 20, cores=0.5, seconds=2)[0] == pytest.approx(
        rate / 2, rel=0.05
    )


def test_simulated_single_orders_wait_for_their_batch_and_flush_alone() -> None:
    """90 µs of the order, 200 of its batch, 290 of the statement, and 1 ms until it is on disk."""
    rate, p50, p99 = simulate.machine(Planner(measured()), 20, cores=2, rate=100)

    assert rate == pytest.approx(100, rel=0.01)
    assert p50 == pytest.approx(1.58)
    assert p99 == pytest.approx(1.58)


def test_simulated_processes_take_order_numbers_one_after_the_other() -> None:
    """The second one also waits for 290 µs of the first one's statement and 1 ms of its flush."""
    site = simulate.Installation(Planner(measured()), {INTAKE: 2, PRIMARY: 2, BROKER: 1})
    for service in site.order_services:
        site.env.process(service.place())

    site.env.run()

    assert site.latencies["place"] == [pytest.approx(1.58), pytest.approx(2.87)]


def test_city_on_the_planned_cores_is_fast_and_on_too_few_is_not() -> None:
    """At 10 orders/s, look-ups and live views of 400 µs fill 1.24 cores of the tracking service."""
    lookups = [cost(step, TRACKING, 400) for step in ("look-up", "watch")]
    planner = Planner(measured() + lookups)
    planned = planner.cores(10)

    fast = simulate.city(planner, 10, planned)
    slow = simulate.city(planner, 10, planned | {TRACKING: 1})

    assert max(fast.values()) < simulate.BOUND
    assert slow["look-up"] > simulate.BOUND
    assert slow["place"] < simulate.BOUND
    assert simulate.city(planner, 10, planned) == fast
