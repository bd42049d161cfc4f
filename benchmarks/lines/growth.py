"""Growth: everything once more with a million orders of history, over the same without."""

import asyncpg

from benchmarks import history
from benchmarks.bench import Bench
from benchmarks.lines import intake, kitchen, latency, tracking
from benchmarks.results import Line, line

GOAL = 0.9
WORDS = {1: "one process", 2: "two processes"}


async def lines(bench: Bench) -> list[Line]:
    """Write a history, and measure intake, latency, kitchen and tracking on it."""
    after = f"at {bench.history:,} orders"
    told = []
    async with bench.house.database() as dsn:
        await _write_history(dsn, bench.history)
        tracked, at_first = await tracking.measure(bench, dsn), await tracking.of(bench)
        for processes, words in WORDS.items():
            rate, empty = tracked.rates[processes], at_first.rates[processes]
            told.append(_rate(f"tracking, {words}, {after}", rate, empty, "reads/s"))
        for cooks, words in WORDS.items():
            rate, empty = await kitchen.measure(bench, cooks, dsn), await kitchen.of(bench, cooks)
            told.append(_rate(f"kitchen drain, {words}, {after}", rate, empty, "orders/s"))
        late, early = await latency.measure(bench, dsn), await latency.of(bench)
        name = f"latency, POST p50, {after}"
        told.append(line(name, late.p50, "ms", floor=early.p50, goal=1 / GOAL))
        for processes, words in WORDS.items():
            taken = await intake.measure(bench, processes, dsn)
            empty = (await intake.of(bench, processes)).rate
            told.append(_rate(f"intake, {words}, {after}", taken.rate, empty, "orders/s"))
    return told


def _rate(name: str, rate: float, empty: float, unit: str) -> Line:
    return line(name, rate, unit, floor=empty, goal=GOAL)


async def _write_history(dsn: str, orders: int) -> None:
    """Write it, and do what autovacuum would have done over the years."""
    await history.generate(dsn, orders)
    sql = await asyncpg.connect(dsn)
    await sql.execute("VACUUM ANALYZE")
    await sql.close()
