"""Compute what a number of orders per second needs, and which part breaks first.

`python -m benchmarks.planning` prints the tables of docs/scale.md from `results/costs.json`. It is
arithmetic alone: the load of a part is the number of steps per second times the cost of a step.
"""

import math
import sys
from collections.abc import Mapping, Sequence

from benchmarks import costs
from benchmarks.costs import Cost
from restaurant_system.config.servers import ServerSettings
from restaurant_system.services.order.service import MAX_BATCH_SIZE

RATES = (200, 2_000, 20_000, 200_000)  # orders/s
UTILIZATION = 0.6  # of a core, a disk or a network; above, waiting times grow steeply
PEAK_OF_RESTAURANT = 0.2  # orders/s
STATIONS = 2  # open in each restaurant
PEAK_HOURS = 4  # in which a day's orders come
LARGEST_TYPE = 0.5  # share of the orders that one kitchen queue takes
SERVER_CORES = 32  # of the largest server, as the figures after it
SERVER_DISK = 500e6  # bytes/s
SERVER_NETWORK = 1.25e9  # bytes/s: 10 Gbit/s
SERVER_CONNECTIONS = 500  # to PostgreSQL
STEPS = {  # for each order, after it was placed
    "bump": 1.0,
    "complete": 1.0,
    "look-up": 10.0,
    "watch": 300.0,  # s: ten minutes of every second order
    "station": STATIONS / PEAK_OF_RESTAURANT,  # s
}
INTAKE, DISPLAY, TRACKING, SUBSCRIBER = SERVICES = (
    "order-service",
    "kitchen-display",
    "tracking-service",
    "subscriber",
)
PRIMARY, REPLICAS, BROKER = SERVERS = ("PostgreSQL, primary", "PostgreSQL, replicas", "RabbitMQ")
PARTS = {  # of each step, in their sequence; others were idle
    "place": (INTAKE, PRIMARY, BROKER),
    "bump": (DISPLAY, PRIMARY, BROKER, SUBSCRIBER),
    "complete": (INTAKE, PRIMARY, BROKER, SUBSCRIBER),
    "look-up": (TRACKING, REPLICAS),
    "watch": (TRACKING, REPLICAS),
    "station": (DISPLAY, PRIMARY),
}
NETWORKS = ("PostgreSQL network", "RabbitMQ network", "HTTP network")


class Planner:
    """Computes loads from measured costs: their medians, or another figure of `Cost`."""

    def __init__(self, measured: Sequence[Cost], figure: str = "median") -> None:
        self._costs: dict[tuple[str, str], float] = {
            (each.step, each.resource): getattr(each, figure) for each in measured
        }
        # A time on the clock, which other programs only make longer.
        self.flush = next(each.low for each in measured if each.step == "commit") * 1000
        self.kept = self._costs["life", "disk"]

    def cost(self, step: str, part: str) -> float:
        """Return the median of what a step costs in a part, or of another resource."""
        return self._costs[step, part.partition(",")[0]]

    def placing(self, part: str) -> tuple[float, float]:
        """Return what a batch of placed orders costs, and each order in it.

        At the rate of the step `place`, each order is a batch of its own.
        """
        single, shared = self.cost("place", part), self.cost("place, busy", part)
        of_batch = max(0.0, single - shared) / (1 - 1 / self._costs["place, busy", "batch"])
        return of_batch, single - of_batch

    def batch_size(self, rate: float) -> float:
        """Return how many orders share a transaction: those that come while one is stored."""
        of_batch, of_order = self.placing(PRIMARY)
        collected = rate * (of_batch + self.flush) / max(1e6 - rate * of_order, 1)
        return min(max(collected, 1.0), MAX_BATCH_SIZE)

    def used(self, part: str, batch: float) -> float:
        """Return the processor time of an order's whole life in a part."""
        of_batch, of_order = self.placing(part) if part in PARTS["place"] else (0.0, 0.0)
        steps = (n * self.cost(step, part) for step, n in STEPS.items() if part in PARTS[step])
        return of_batch / batch + of_order + sum(steps)

    def bytes_of(self, resource: str, *, without: Sequence[str] = ()) -> float:
        """Return the bytes of an order's whole life, without some of the steps."""
        steps = {"place": 1.0} | STEPS
        return sum(
            n * self._costs.get((step, resource), 0)
            for step, n in steps.items()
            if step not in without
        )

    def loads(self, rate: float) -> dict[str, float]:
        """Return the cores that are busy in one installation, by part."""
        batch = self.batch_size(rate)
        return {part: rate * self.used(part, batch) / 1e6 for part in (*SERVICES, *SERVERS)}

    def cores(self, rate: float) -> dict[str, int]:
        """Return the cores to plan for one installation; a process of a service uses one."""
        return {part: math.ceil(load / UTILIZATION) for part, load in self.loads(rate).items()}

    def partitions(self, rate: float) -> int:
        """Return the queues that one installation needs for its most frequent type of order."""
        busy = rate * LARGEST_TYPE * self.cost("place, busy", BROKER) / 1e6
        return math.ceil(busy / UTILIZATION)

    def limits(self) -> list[tuple[float, str, str]]:
        """Return the orders/s that each part of one installation bears, the lowest first.

        The part is named, and the reason why it is not divided.
        """
        core, server = 1e6, SERVER_CORES * 1e6
        used = {part: self.used(part, MAX_BATCH_SIZE) for part in (*SERVICES, *SERVERS)}
        connections = (used[INTAKE] + used[DISPLAY]) / 1e6 * (ServerSettings().pool_max + 1)
        sent = self.bytes_of("PostgreSQL network", without=("look-up", "watch"))
        counted = self.cost("place, busy", PRIMARY)
        queued = self.cost("place, busy", BROKER) * LARGEST_TYPE
        parts = [
            ("primary of PostgreSQL", server, used[PRIMARY], f"one server, {SERVER_CORES} cores"),
            ("a subscriber", core, used[SUBSCRIBER], "one process gets all updates"),
            ("order numbers", core, counted, "one row, locked while a batch is stored"),
            ("largest kitchen queue", core, queued, "one Erlang process, without partitions"),
            ("RabbitMQ", server, used[BROKER], f"one node, {SERVER_CORES} cores"),
            ("WAL", SERVER_DISK, self.bytes_of("WAL"), f"{SERVER_DISK / 1e6:.0f} MB/s"),
            ("network of the primary", SERVER_NETWORK, sent, f"{SERVER_NETWORK / 1e9} GB/s"),
            (
                "connections to the primary",
                SERVER_CONNECTIONS,
                connections,
                f"{SERVER_CONNECTIONS} of one server",
            ),
        ]
        return sorted((UTILIZATION * most / used, part, why) for part, most, used, why in parts)


def tables(measured: Sequence[Cost]) -> list[str]:
    """Return the tables of docs/scale.md: needs, cores, limits, idle installations and costs."""
    planner = Planner(measured)
    limits = planner.limits()
    count = {rate: math.ceil(rate / limits[0][0]) for rate in RATES}
    cores = {
        rate: {part: n * each for part, each in planner.cores(rate / n).items()}
        for rate, n in count.items()
    }
    answer = [_answer(planner, rate, count[rate], cores[rate]) for rate in RATES]
    parts = [[part, *(f"{cores[rate][part]:,}" for rate in RATES)] for part in cores[RATES[0]]]
    resources = [*SERVICES, "PostgreSQL", BROKER, "WAL"]
    steps = [
        _costs_of(step, resources, measured) for step in ("idle", "place", "place, busy", *STEPS)
    ]
    return [
        table(ANSWER, answer),
        table(["cores at orders/s", *(f"{rate:,}" for rate in RATES)], parts),
        table(["part", "orders/s", "why"], _limits(measured)),
        table(["without orders", "processor time, ms/s", "memory, MB"], _idle(planner)),
        table(["step", *resources], steps),
    ]


ANSWER = (
    "orders/s",
    "restaurants",
    "installations",
    "cores",
    "replicas of each",
    "partitions of each",
    "WAL",
    "network",
    "tables grow",
)


def _answer(planner: Planner, rate: int, count: int, cores: Mapping[str, int]) -> list[str]:
    replicas = math.ceil(cores[REPLICAS] / count / SERVER_CORES)
    each = (replicas, planner.partitions(rate / count))
    numbers = (rate, rate / PEAK_OF_RESTAURANT, count, sum(cores.values()), *each)
    network = rate * sum(map(planner.bytes_of, NETWORKS))
    return [
        *(f"{number:,.0f}" for number in numbers),
        f"{rate * planner.bytes_of('WAL') / 1e6:,.1f} MB/s",
        f"{network * 8 / 1e9:,.2f} Gbit/s",
        f"{rate * PEAK_HOURS * 3600 * planner.kept / 1e9:,.0f} GB a day",
    ]


def _limits(measured: Sequence[Cost]) -> list[list[str]]:
    """Return the limits of an installation, and what they are at the highest and lowest costs."""
    lowest = {part: rate for rate, part, _ in Planner(measured, "high").limits()}
    highest = {part: rate for rate, part, _ in Planner(measured, "low").limits()}
    return [
        [part, f"{_rounded(rate)} ({_rounded(lowest[part])} to {_rounded(highest[part])})", why]
        for rate, part, why in Planner(measured).limits()
    ]


def _rounded(rate: float) -> str:
    return f"{float(f'{rate:.2g}'):,.0f}"


def _idle(planner: Planner) -> list[list[str]]:
    """Return what the processes of one restaurant use while no orders come."""
    used = {part: planner.cost("idle", part) for part in (INTAKE, TRACKING, SUBSCRIBER)}
    used[DISPLAY] = STATIONS * planner.cost("station", DISPLAY)
    memory = {part: planner.cost("memory", part) for part in used}
    postgres = planner.cost("idle", PRIMARY) + STATIONS * planner.cost("station", PRIMARY)
    used |= {
        "its part of PostgreSQL": postgres,
        "its part of RabbitMQ": planner.cost("idle", BROKER),
    }
    total = f"together, with {planner.cost('idle', 'connections'):.0f} connections to PostgreSQL"
    used[total], memory[total] = sum(used.values()), sum(memory.values())
    return [
        [part, f"{each / 1000:.1f}", f"{memory[part]:.0f}" if part in memory else ""]
        for part, each in used.items()
    ]


def _costs_of(step: str, resources: Sequence[str], measured: Sequence[Cost]) -> list[str]:
    """Return the costs of a step in its parts: medians, with the lowest and the highest value."""
    parts = [*PARTS.get(step.partition(",")[0], SERVICES + SERVERS), "WAL"]
    names = {part.partition(",")[0] for part in parts}
    found = {each.resource: each for each in measured if each.step == step and each.high >= 1}
    return [
        step,
        *(
            f"{found[each].median:,.0f} ({found[each].low:,.0f} to {found[each].high:,.0f})"
            if each in found and each in names
            else ""
            for each in resources
        ),
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write("\n\n".join(tables(costs.read())) + "\n")
