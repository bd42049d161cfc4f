"""Measure growth: rates and the p50 of `POST` with a million orders of history and without.

In turns, with and without, now the one first and then the other, for a machine that others share is
faster now and slower then. What is told is the turn whose ratio is neither the best nor the worst.
"""

from collections.abc import Awaitable, Callable

from benchmarks import history
from benchmarks.bench import Bench
from benchmarks.measurements import intake, kitchen, latency, tracking
from benchmarks.results import PROCESSES, ResultRow, line
from benchmarks.statistics import median_by

GOAL = 0.9
TURNS = 3

Measure = Callable[[Bench, str | None], Awaitable[dict[str, float]]]


async def lines(bench: Bench) -> list[ResultRow]:
    """Generate a history, and measure tracking, kitchen, latency and intake with it."""
    told = list[ResultRow]()
    async with bench.system.database() as old:
        await history.generate(old, bench.history)
        for measure, unit, goal in MEASURES:
            for name, (late, early) in (await _in_turns(bench.brief(TURNS), old, measure)).items():
                after = f"{name}, at {bench.history:,} orders"
                told.append(line(after, late, unit, floor=early, goal=goal))
    return told


async def _in_turns(bench: Bench, old: str, measure: Measure) -> dict[str, tuple[float, float]]:
    """Measure with the history and without; return both results of the median turn, by name."""
    turns = []
    for turn in range(TURNS):
        order = (old, None) if turn % 2 == 0 else (None, old)
        turns.append({dsn: await measure(bench, dsn) for dsn in order})
    return {
        name: median_by(
            [(told[old][name], told[None][name]) for told in turns],
            lambda figures: figures[0] / figures[1],
        )
        for name in turns[0][old]
    }


async def _tracking(bench: Bench, dsn: str | None) -> dict[str, float]:
    told = await tracking.measure(bench, dsn, spells=1)
    return {f"tracking, {PROCESSES[processes]}": rate for processes, rate in told.rates.items()}


async def _kitchen(bench: Bench, dsn: str | None) -> dict[str, float]:
    return {
        f"kitchen drain, {words}": await kitchen.measure(bench, cooks, dsn)
        for cooks, words in PROCESSES.items()
    }


async def _latency(bench: Bench, dsn: str | None) -> dict[str, float]:
    return {"latency, POST p50": (await latency.alone(bench, dsn, spells=1)).p50}


async def _intake(bench: Bench, dsn: str | None) -> dict[str, float]:
    return {
        f"intake, {words}": (await intake.measure(bench, processes, dsn)).rate
        for processes, words in PROCESSES.items()
    }


MEASURES: list[tuple[Measure, str, float]] = [
    (_tracking, "reads/s", GOAL),
    (_kitchen, "orders/s", GOAL),
    (_latency, "ms", 1 / GOAL),
    (_intake, "orders/s", GOAL),
]
