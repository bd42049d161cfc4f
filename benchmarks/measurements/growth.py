"""Measure growth: rates and the p50 of `POST` with a million orders of history and without.

Measured in turns with and without a history, in alternating order, because the speed of a shared
machine varies. The result is the turn with the median ratio.
"""

from collections.abc import Awaitable, Callable

from benchmarks import history
from benchmarks.bench import Bench
from benchmarks.measurements import intake, kitchen, latency, tracking
from benchmarks.results import PROCESSES, ResultRow, result_row
from benchmarks.statistics import median_by

GOAL = 0.9
TURNS = 3

Measure = Callable[[Bench, str | None], Awaitable[dict[str, float]]]


async def rows(bench: Bench) -> list[ResultRow]:
    """Generate a history, and measure tracking, kitchen, latency and intake with it."""
    result = list[ResultRow]()
    async with bench.system.database() as old:
        await history.generate(old, bench.history)
        for measure, unit, goal in MEASURES:
            for name, (late, early) in (
                await _measure_in_turns(bench.divided_by(TURNS), old, measure)
            ).items():
                after = f"{name}, at {bench.history:,} orders"
                result.append(result_row(after, late, unit, floor=early, goal=goal))
    return result


async def _measure_in_turns(
    bench: Bench, old: str, measure: Measure
) -> dict[str, tuple[float, float]]:
    """Measure with and without a history in turns; return both results of the median turn."""
    turns = []
    for turn in range(TURNS):
        order = (old, None) if turn % 2 == 0 else (None, old)
        turns.append({dsn: await measure(bench, dsn) for dsn in order})
    return {
        name: median_by(
            [(turn_rates[old][name], turn_rates[None][name]) for turn_rates in turns],
            lambda figures: figures[0] / figures[1],
        )
        for name in turns[0][old]
    }


async def _tracking(bench: Bench, dsn: str | None) -> dict[str, float]:
    measured = await tracking.measure(bench, dsn, turns=1)
    return {f"tracking, {PROCESSES[processes]}": rate for processes, rate in measured.rates.items()}


async def _tracking_of_month(bench: Bench, dsn: str | None) -> dict[str, float]:
    """Look up orders of the last month; without a history these are new ones."""
    measured = await tracking.measure(bench, dsn, turns=1, of_last_month=dsn is not None)
    return {
        f"tracking a month, {PROCESSES[processes]}": rate
        for processes, rate in measured.rates.items()
    }


async def _kitchen(bench: Bench, dsn: str | None) -> dict[str, float]:
    return {
        f"kitchen drain, {words}": await kitchen.measure(bench, cooks, dsn)
        for cooks, words in PROCESSES.items()
    }


async def _latency(bench: Bench, dsn: str | None) -> dict[str, float]:
    return {"latency, POST p50": (await latency.measure_without_worker(bench, dsn, turns=1)).p50}


async def _intake(bench: Bench, dsn: str | None) -> dict[str, float]:
    return {
        f"intake, {words}": (await intake.measure(bench, processes, dsn)).rate
        for processes, words in PROCESSES.items()
    }


MEASURES: list[tuple[Measure, str, float]] = [
    (_tracking, "reads/s", GOAL),
    (_tracking_of_month, "reads/s", GOAL),
    (_kitchen, "orders/s", GOAL),
    (_latency, "ms", 1 / GOAL),
    (_intake, "orders/s", GOAL),
]
