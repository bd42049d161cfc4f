"""Measure intake: orders per second that are stored, answered and confirmed by RabbitMQ.

Measured in turns that alternate with its floors, because the speed of a shared machine varies.

64 connections, two items per order, no worker: at the end all orders wait in RabbitMQ, where they
are counted. Orders by which the outbox has grown are not confirmed yet and do not count; if it
grows by more than `ALLOWANCE` in any turn, intake is not sustained and meets no goal.
"""

from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.driving import Load, drive
from benchmarks.floors.measure import IntakeFloor
from benchmarks.processes import Failed, running
from benchmarks.results import PROCESSES, ResultRow, result_row
from benchmarks.statistics import median_by
from benchmarks.system import Environment
from restaurant_system.database.connection_factory import UnpooledConnection as Sql
from tests.support.processes import free_port

CONNECTIONS = 64
WARM_UP = 3.0  # s
TURNS = 3
ALLOWANCE = 1.0  # % of the accepted orders that may be unconfirmed at the end: about a batch
GOALS = {1: 0.85, 2: 1.15}  # of the floor, by processes
OVER_PLAIN = 6.0  # times the rate of the service without batches
QUEUE_TABLES = ("outbox", "idempotency_keys", "broker_messages")


@dataclass(frozen=True, slots=True)
class Intake:
    """The result of a load on the order service: outbox growth in rows, sizes in MB by table."""

    load: Load
    growth: int
    sizes_before: dict[str, float]
    sizes_after: dict[str, float]

    @property
    def rate(self) -> float:
        """Accepted and confirmed orders per second."""
        return (self.load.answered - max(self.growth, 0)) / self.load.seconds

    @property
    def growth_share(self) -> float:
        """The growth of the outbox in % of the accepted orders."""
        return 100 * self.growth / self.load.answered


@dataclass(frozen=True, slots=True)
class Turns:
    """The floors of intake, and its results by number of processes, for each turn."""

    floors: list[IntakeFloor]
    taken: dict[int, list[Intake]]

    @property
    def floor(self) -> IntakeFloor:
        """The floor of intake: the median of all turns."""
        return median_by(self.floors, lambda each: each.orders)

    def median_by(self, processes: int) -> Intake:
        """Return the result of the median turn."""
        return median_by(self.taken[processes], lambda each: each.rate)

    def most_growth(self, processes: int) -> float:
        """Return the largest growth of the outbox in % of the accepted orders."""
        return max(each.growth_share for each in self.taken[processes])


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure intake by one process and two, next to the floor."""
    turns, result = await measure_in_turns(bench), list[ResultRow]()
    floor = turns.floor
    for processes, goal in GOALS.items():
        taken, name = turns.median_by(processes), f"intake, {PROCESSES[processes]}"
        growth = turns.most_growth(processes)
        sustained = growth <= ALLOWANCE
        result += [
            result_row(
                name, taken.rate, "orders/s", floor=floor.orders, goal=goal, valid=sustained
            ),
            result_row(f"{name}: outbox growth", growth, "%", goal=ALLOWANCE),
            result_row(f"{name}: p50", taken.load.p50, "ms"),
            result_row(f"{name}: p99", taken.load.p99, "ms"),
        ]
    return [
        *result,
        result_row("floor of intake: H, answered", floor.answered, "orders/s"),
        result_row("floor of intake: D, placed", floor.placed, "orders/s"),
        result_row("floor of intake: P, published", floor.published, "messages/s"),
        *_bloat(turns.median_by(1)),
    ]


async def plain_rows(bench: Bench) -> list[ResultRow]:
    """Measure intake by one process next to the same service without batches."""
    ours, plain = (await measure_in_turns(bench)).median_by(1), await _plain(bench)
    return [
        result_row("intake, plain", plain.rate, "orders/s"),
        result_row(
            "intake, product over plain", ours.rate, "orders/s", floor=plain.rate, goal=OVER_PLAIN
        ),
    ]


async def measure_in_turns(bench: Bench) -> Turns:
    """Measure intake and its floors in turns; do so once per benchmark run."""
    return await bench.once("intake", lambda: _in_turns(bench))


async def _in_turns(bench: Bench) -> Turns:
    turns = Turns([], {processes: [] for processes in GOALS})
    for _ in range(TURNS):
        turns.floors.append(await bench.floors.intake(bench.seconds / 2 / TURNS))
        for processes, taken in turns.taken.items():
            taken.append(await measure(bench, processes))
    return turns


async def measure(bench: Bench, processes: int, dsn: str | None = None) -> Intake:
    """Load the order service on a new or a given database; raise `Failed` if an order is lost."""
    async with bench.system.environment(dsn) as environment:
        sql = await environment.sql()
        placed_before: int = await sql.fetchval("SELECT count(*) FROM orders")
        sizes_before = await sizes(sql)
        _, port = await environment.order_service(processes)
        backlog: list[int] = []

        async def record_backlog() -> None:
            backlog.append(await sql.fetchval("SELECT count(*) FROM outbox"))

        load = await drive("place", port, *load_options(bench), at_begin_and_end=record_backlog)
        sizes_after = await sizes(sql)
        await environment.wait_until_outbox_empty(sql)
        await _check_no_order_lost(environment, sql, placed_before, load.total)
    start, end = backlog
    return Intake(load, end - start, sizes_before, sizes_after)


def load_options(bench: Bench) -> tuple[object, ...]:
    """Return the options of the load generator for as many orders as possible."""
    return ("--connections", CONNECTIONS, "--seconds", bench.seconds, "--warm-up", WARM_UP)


async def sizes(sql: Sql) -> dict[str, float]:
    """Return the size on disk of the tables that serve as queues, in MB."""
    query = "SELECT pg_total_relation_size($1::text::regclass)"
    return {name: await sql.fetchval(query, name) / 2**20 for name in QUEUE_TABLES}


async def _check_no_order_lost(
    environment: Environment, sql: Sql, before: int, accepted: int
) -> None:
    """Raise `Failed` unless every accepted order is in the database and in RabbitMQ."""
    stored = await sql.fetchval("SELECT count(*) FROM orders") - before
    waiting = await environment.waiting_orders()
    if not stored == waiting == accepted:
        raise Failed(f"{accepted} orders accepted, {stored} stored, {waiting} in RabbitMQ")


async def _plain(bench: Bench) -> Load:
    async with bench.system.environment() as environment:
        port = free_port()
        command = ("benchmarks.plain", str(port), environment.dsn, environment.amqp)
        async with running(*command, folder=environment.folder, environment={}) as plain:
            await plain.wait_until_serving(port)
            load = await drive("place", port, *load_options(bench))
            await _check_no_order_lost(environment, await environment.sql(), 0, load.total)
        return load


def _bloat(taken: Intake) -> list[ResultRow]:
    """Return the growth of the tables that serve as queues."""
    return [
        result_row(f"size of {name} after intake", taken.sizes_after[name], "MB")
        for name in QUEUE_TABLES
    ]
