"""Simulate a city of restaurants, to check the arithmetic of `planning.py`.

`python -m benchmarks.simulate` prints two tables. The first one is of this machine: orders placed
on the real order service, and in the simulation of a machine with as many cores. The second one is
of a city at dinner time, on the cores that `planning.py` plans, and with too few for one part.

Processor time is used in bursts, first come, first served, that are as long as `results/costs.json`
says. Orders that come while others are stored share the next transaction; the counter of order
numbers is locked until it is on disk.
"""

import contextlib
import math
import os
import random
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import simpy
import uvloop

from benchmarks import costs
from benchmarks.costs import WARM_UP
from benchmarks.driving import Load, drive
from benchmarks.planning import (
    BROKER,
    INTAKE,
    PARTS,
    PEAK_OF_RESTAURANT,
    PRIMARY,
    SERVICES,
    STEPS,
    Planner,
    table,
)
from benchmarks.servers import TICKS, cpu_seconds
from benchmarks.statistics import percentile
from benchmarks.system import SystemUnderTest
from restaurant_system.services.order.service import MAX_BATCH_SIZE

SEED = 1
CLIENTS, SECONDS = 64, 10.0  # of the load on this machine
RATES = (200, 1_000)  # orders/s of its other loads
CITY = 200  # orders/s at the peak
DINNER = 10.0  # s; hours pass in seconds, because queues of milliseconds do not remember more
BOUND = 100.0  # ms, for the p99 of every step on the planned cores
VIEWS = 20  # live views that are polled together
SHOWN = ("place", "bump", "complete", "look-up")
PROC_STAT = Path("/proc/stat")
POLLS = 2  # a second, of live views and stations

Steps = Generator[simpy.Event, object, None]


class Installation:
    """The processes and servers of one installation, and the latencies of its steps in ms.

    They share the cores that a machine has left for them, if given.
    """

    def __init__(
        self, planner: Planner, cores: Mapping[str, int], *, machine: float | None = None
    ) -> None:
        self.env = simpy.Environment()
        self.random = random.Random(SEED)  # noqa: S311 - the same for every run, not a secret
        self.planner = planner
        self.latencies: defaultdict[str, list[float]] = defaultdict(list)
        self.counter = simpy.Resource(self.env)  # of order numbers
        whole = None if machine is None else math.ceil(machine)
        self._machine = None if whole is None else simpy.Resource(self.env, whole)
        self._slowdown = whole / machine if whole and machine else 1
        # A process of a service has one core at most; a server has all cores of its part.
        self._processes = {
            part: [simpy.Resource(self.env) for _ in range(n)]
            if part in SERVICES
            else [simpy.Resource(self.env, n)]
            for part, n in cores.items()
        }
        self.order_services = [OrderService(self, each) for each in self._processes[INTAKE]]

    def process_of(self, part: str) -> simpy.Resource:
        """Return any process of a part."""
        return self.random.choice(self._processes[part])

    def use(self, process: simpy.Resource, microseconds: float) -> Steps:
        """Wait for a process and a core, and use them."""
        with process.request() as turn:
            yield turn
            if self._machine is None:
                yield self.env.timeout(microseconds / 1e6)
                return
            with self._machine.request() as core:
                yield core
                yield self.env.timeout(microseconds * self._slowdown / 1e6)

    def step(self, name: str, share: float = 1) -> Steps:
        """Do a step of an order, or a share of one, in its parts one after the other."""
        start = self.env.now
        for part in PARTS[name]:
            yield from self.use(self.process_of(part), share * self.planner.cost(name, part))
        self.latencies[name].append((self.env.now - start) * 1000)


class OrderService:
    """A process of the order service, which stores the orders that have come in batches."""

    def __init__(self, site: Installation, process: simpy.Resource) -> None:
        self._site = site
        self._process = process
        self._waiting: list[simpy.Event] = []
        self._is_storing = False

    def place(self) -> Steps:
        """Accept an order; end when it is stored."""
        site, start = self._site, self._site.env.now
        yield from site.use(self._process, site.planner.placing(INTAKE)[1])
        stored = site.env.event()
        self._waiting.append(stored)
        if not self._is_storing:
            self._is_storing = True
            site.env.process(self._store())
        yield stored
        site.latencies["place"].append((site.env.now - start) * 1000)

    def _store(self) -> Steps:
        site, placing = self._site, self._site.planner.placing
        while batch := self._waiting[:MAX_BATCH_SIZE]:
            del self._waiting[: len(batch)]
            yield from site.use(self._process, placing(INTAKE)[0])
            with site.counter.request() as locked:
                yield locked
                of_batch, of_order = placing("PostgreSQL")
                yield from site.use(site.process_of(PRIMARY), of_batch + of_order * len(batch))
                yield site.env.timeout(site.planner.flush / 1e6)
            for stored in batch:
                stored.succeed()
            of_batch, of_order = placing(BROKER)
            site.env.process(site.use(site.process_of(BROKER), of_batch + of_order * len(batch)))
        self._is_storing = False


def restaurant(site: Installation) -> Steps:
    """Place orders, most of them around a peak of its own, and poll stations and live views."""
    peak_at = site.random.gauss(DINNER / 2, DINNER / 10)
    for step, together in (("station", 1), ("watch", VIEWS)):
        for _ in range(round(STEPS[step] * PEAK_OF_RESTAURANT / together)):
            site.env.process(_poll(site, step, together / POLLS))
    while True:
        yield site.env.timeout(site.random.expovariate(PEAK_OF_RESTAURANT))
        if site.random.random() < math.exp(-(((site.env.now - peak_at) / DINNER) ** 2)):
            site.env.process(_order(site))


def _poll(site: Installation, step: str, share: float) -> Steps:
    yield site.env.timeout(site.random.random() / POLLS)
    while True:
        yield site.env.timeout(1 / POLLS)
        yield from site.step(step, share)


def _order(site: Installation) -> Steps:
    yield from site.random.choice(site.order_services).place()
    for step in ("bump", "complete", *["look-up"] * round(STEPS["look-up"])):
        site.env.process(_later(site, step))


def _later(site: Installation, step: str) -> Steps:
    """Do a step at some time of the dinner."""
    yield site.env.timeout(site.random.expovariate(10 / DINNER))
    yield from site.step(step)


def city(planner: Planner, rate: float, cores: Mapping[str, int]) -> dict[str, float]:
    """Simulate a dinner in as many restaurants as have this peak; return the p99 of each step."""
    site = Installation(planner, cores)
    for _ in range(round(rate / PEAK_OF_RESTAURANT)):
        site.env.process(restaurant(site))
    site.env.run(DINNER)
    return {step: percentile(sorted(took), 0.99) for step, took in sorted(site.latencies.items())}


def city_table(planner: Planner, rate: float) -> str:
    """Compare the p99 on the planned cores with that on too few cores for one part.

    Those are what its load fills, rounded down; a part with a load below one core is left out.
    """
    planned, loads = planner.cores(rate), planner.loads(rate)
    scenarios = {f"planned: {sum(planned.values())}": planned} | {
        f"{part}: {math.floor(load)} instead of {planned[part]}": planned | {part: math.floor(load)}
        for part, load in loads.items()
        if load >= 1
    }
    rows = []
    for name, cores in scenarios.items():
        took = city(planner, rate, cores)
        rows.append([name, *(f"{took[step]:,.0f}" for step in SHOWN)])
    return table(["cores", *(f"p99 of {step}, ms" for step in SHOWN)], rows)


def machine(
    planner: Planner,
    generator: float,
    *,
    cores: float,
    rate: float | None = None,
    seconds: float = SECONDS,
) -> tuple[float, float, float]:
    """Simulate orders on one machine; return orders/s, p50 and p99 in ms.

    The load generator uses some time in µs for each; without a rate it has 64 clients that wait.
    """
    whole = math.ceil(cores)
    site = Installation(planner, {INTAKE: 1, PRIMARY: whole, BROKER: whole}, machine=cores)
    client = simpy.Resource(site.env)

    def place() -> Steps:
        yield from site.use(client, generator)
        yield from site.order_services[0].place()

    def wait_for_each() -> Steps:
        while True:
            yield from place()

    def arrive(rate: float) -> Steps:
        while True:
            site.env.process(place())
            yield site.env.timeout(1 / rate)

    for loop in [arrive(rate)] if rate else [wait_for_each() for _ in range(CLIENTS)]:
        site.env.process(loop)
    site.env.run(seconds)
    took = sorted(site.latencies["place"])
    return len(took) / seconds, percentile(took, 0.5), percentile(took, 0.99)


async def real(system: SystemUnderTest, options: Sequence[object]) -> tuple[Load, float, float]:
    """Place orders; also return the µs of the load generator for each, and the cores left to us."""
    readings = list[tuple[float, float, float]]()
    async with system.environment() as environment:
        service, port = await environment.order_service()
        await drive("place", port, "--count", WARM_UP)

        async def read() -> None:
            ours = cpu_seconds(os.getpid()) + cpu_seconds(system.postgres.process)
            measured = (service.pid, system.rabbitmq.process, system.postgres.process)
            readings.append((ours - sum(map(cpu_seconds, measured)), ours, _busy_seconds()))

        load = await drive(*("place", port, "--seconds", SECONDS, *options), at_begin_and_end=read)
        await environment.wait_until_outbox_empty(await environment.sql())
    generator, ours, busy = (end - start for start, end in zip(*readings, strict=True))
    left = (os.cpu_count() or 1) - max(0.0, busy - ours) / load.seconds
    return load, generator * 1e6 / load.answered, left


def _busy_seconds() -> float:
    """Return the processor time of all programs on the machine, in s."""
    user, nice, system, _idle, _waiting, *others = map(int, PROC_STAT.read_text().split()[1:9])
    return (user + nice + system + sum(others)) / TICKS


async def machine_table(planner: Planner, folder: Path) -> str:
    """Compare orders on the real order service with the simulation, on the cores left to us."""
    rows = []
    with contextlib.closing(SystemUnderTest(folder)) as system:
        for rate in (None, *RATES):
            options = ("--rate", rate) if rate else ("--connections", CLIENTS)
            load, generator, left = await real(system, options)
            simulated = machine(planner, generator, cores=left, rate=rate)
            name = f"{rate} orders/s" if rate else f"{CLIENTS} clients"
            for figure, real_one, other in zip(
                ("orders/s", "p50, ms", "p99, ms"),
                (load.rate, load.p50, load.p99),
                simulated,
                strict=True,
            ):
                cells = (real_one, other, other / real_one)
                rows.append(
                    [f"{name}: {figure}", *(f"{each:,.4g}" for each in cells), f"{left:.1f}"]
                )
    return table(["on this machine", "measured", "simulated", "ratio", "cores left"], rows)


def main() -> None:
    """Print both tables."""
    planner = Planner(costs.read())
    folder = Path(tempfile.mkdtemp(prefix="restaurant-simulate-"))
    try:
        sys.stdout.write(uvloop.run(machine_table(planner, folder)) + "\n\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(city_table(planner, CITY) + "\n")


if __name__ == "__main__":
    main()
