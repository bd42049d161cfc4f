"""Measure intake: orders per second that are stored, answered and confirmed by RabbitMQ.

In spells, and between them spells of its floors, for a machine that others share is faster now and
slower then.

Sixty-four connections, two items an order, nobody cooks: they all wait in RabbitMQ at the end, and
are counted there. What the outbox has grown by meanwhile is not confirmed yet and does not count;
where it grows by more than `ALLOWANCE` in any spell, intake is not sustained and meets no goal.
"""

from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.driving import Load, drive
from benchmarks.floors.measure import IntakeFloor
from benchmarks.processes import Failed, running
from benchmarks.results import PROCESSES, ResultRow, line
from benchmarks.statistics import median_by
from benchmarks.system import Environment
from restaurant_system.database.connection_factory import UnpooledConnection as Sql
from tests.support.processes import free_port

CONNECTIONS = 64
WARM_UP = 3.0  # s
SPELLS = 3
ALLOWANCE = 1.0  # % of what was accepted that may still be on its way at the end, one batch or so
GOALS = {1: 0.85, 2: 1.15}  # of the floor, by processes
OVER_PLAIN = 6.0
QUEUE_TABLES = ("outbox", "idempotency_keys", "broker_messages")


@dataclass(frozen=True, slots=True)
class Intake:
    """The result of a load on the order service; sizes in MB by table."""

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
class Spells:
    """The floors, and the results by number of processes, for each turn."""

    floors: list[IntakeFloor]
    taken: dict[int, list[Intake]]

    @property
    def floor(self) -> IntakeFloor:
        """The median of the floors."""
        return median_by(self.floors, lambda each: each.orders)

    def median_by(self, processes: int) -> Intake:
        """Return the result of the median turn."""
        return median_by(self.taken[processes], lambda each: each.rate)

    def most_growth(self, processes: int) -> float:
        """Return the largest growth of the outbox in % of the accepted orders."""
        return max(each.growth_share for each in self.taken[processes])


async def lines(bench: Bench) -> list[ResultRow]:
    """Measure intake by one process and two, next to the floor."""
    spells, told = await in_spells(bench), list[ResultRow]()
    floor = spells.floor
    for processes, goal in GOALS.items():
        taken, name = spells.median_by(processes), f"intake, {PROCESSES[processes]}"
        growth = spells.most_growth(processes)
        sustained = growth <= ALLOWANCE
        told += [
            line(name, taken.rate, "orders/s", floor=floor.orders, goal=goal, valid=sustained),
            line(f"{name}: outbox growth", growth, "%", goal=ALLOWANCE),
            line(f"{name}: p50", taken.load.p50, "ms"),
            line(f"{name}: p99", taken.load.p99, "ms"),
        ]
    return [
        *told,
        line("floor of intake: H, answered", floor.answered, "orders/s"),
        line("floor of intake: D, placed", floor.placed, "orders/s"),
        line("floor of intake: P, published", floor.published, "messages/s"),
        *_bloat(spells.median_by(1)),
    ]


async def plain_lines(bench: Bench) -> list[ResultRow]:
    """Measure intake by one process next to the same service without batches."""
    ours, plain = (await in_spells(bench)).median_by(1), await _plain(bench)
    return [
        line("intake, plain", plain.rate, "orders/s"),
        line("intake, ours over plain", ours.rate, "orders/s", floor=plain.rate, goal=OVER_PLAIN),
    ]


async def in_spells(bench: Bench) -> Spells:
    """Measure intake and its floors in turns, once per run."""
    return await bench.once("intake", lambda: _in_turns(bench))


async def _in_turns(bench: Bench) -> Spells:
    spells = Spells([], {processes: [] for processes in GOALS})
    for _ in range(SPELLS):
        spells.floors.append(await bench.floors.intake(bench.seconds / 2 / SPELLS))
        for processes, taken in spells.taken.items():
            taken.append(await measure(bench, processes))
    return spells


async def measure(bench: Bench, processes: int, dsn: str | None = None) -> Intake:
    """Load the order service on a new database or a given one; raise `Failed` at a loss."""
    async with bench.system.environment(dsn) as environment:
        sql = await environment.sql()
        placed_before: int = await sql.fetchval("SELECT count(*) FROM orders")
        sizes_before = await sizes(sql)
        _, port = await environment.order_service(processes)
        backlog: list[int] = []

        async def look() -> None:
            backlog.append(await sql.fetchval("SELECT count(*) FROM outbox"))

        load = await drive("place", port, *spell(bench), look=look)
        sizes_after = await sizes(sql)
        await environment.outbox_empty(sql)
        await _nothing_lost(environment, sql, placed_before, load.total)
    start, end = backlog
    return Intake(load, end - start, sizes_before, sizes_after)


def spell(bench: Bench) -> tuple[object, ...]:
    """Return the arguments of the load generator."""
    return ("--connections", CONNECTIONS, "--seconds", bench.seconds, "--warm-up", WARM_UP)


async def sizes(sql: Sql) -> dict[str, float]:
    """Return the size on disk of the tables that serve as queues, in MB."""
    question = "SELECT pg_total_relation_size($1::text::regclass)"
    return {name: await sql.fetchval(question, name) / 2**20 for name in QUEUE_TABLES}


async def _nothing_lost(environment: Environment, sql: Sql, before: int, accepted: int) -> None:
    """Compare the accepted orders with the database and the broker."""
    stored = await sql.fetchval("SELECT count(*) FROM orders") - before
    waiting = await environment.waiting_orders()
    if not stored == waiting == accepted:
        raise Failed(f"{accepted} orders accepted, {stored} stored, {waiting} in RabbitMQ")


async def _plain(bench: Bench) -> Load:
    async with bench.system.environment() as environment:
        port = free_port()
        command = ("benchmarks.plain", str(port), environment.dsn, environment.amqp)
        async with running(*command, folder=environment.folder, environment={}) as plain:
            await plain.serves(port)
            load = await drive("place", port, *spell(bench))
            await _nothing_lost(environment, await environment.sql(), 0, load.total)
        return load


def _bloat(taken: Intake) -> list[ResultRow]:
    """Return the growth of the tables that serve as queues."""
    return [
        line(f"size of {name} after intake", taken.sizes_after[name], "MB") for name in QUEUE_TABLES
    ]
