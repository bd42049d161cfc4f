"""Measure what each step in the life of an order costs: processor time, WAL, disk and network.

`python -m benchmarks.costs` runs all services on private servers, takes orders through their whole
life several times, and writes `results/costs.json`. It measures processor time rather than rates,
because other programs may share the machine. The steps are:

- `idle`: a second of all services without orders, which is subtracted from the steps after it
- `place`: an order, 200 a second; `place, busy`: an order of 64 clients that wait for each response
- `station`: a second of an open station and its screen; `bump`: an order started and bumped there
- `cook`: an order of a simulated cook, in batches; `worker`: a second of such a cook without orders
- `complete`: an order handed over; `look-up`: its status, requested once
- `watch`: a second of a customer's live view of an order
"""

import argparse
import asyncio
import contextlib
import json
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks import results
from benchmarks.driving import drive
from benchmarks.floors.measure import Floors
from benchmarks.measurements.kitchen import UNFINISHED
from benchmarks.processes import Command, Failed
from benchmarks.servers import cpu_seconds, written_bytes
from benchmarks.system import Environment, SystemUnderTest, until_false
from restaurant_system.database.connection_factory import UnpooledConnection
from tests.support.processes import free_port

JSON = results.FOLDER / "costs.json"
RATE = 200  # orders/s of the step `place`
STATIONS = 20  # as many as a kitchen display allows by default
ROUNDS = 4  # in which the tickets of all stations are bumped
STREAMS = 500  # live views of orders
WARM_UP = 500  # orders, which prepare the statements of the order service
SETTLE = 3.0  # s until streams are open and stations have their first tickets
DISPLAY = {
    "RESTAURANT_KITCHEN_DISPLAY__HOST": "127.0.0.1",
    "RESTAURANT_KITCHEN_DISPLAY__STATIONS_PER_ADDRESS": "0",  # unlimited
}
NUMBERS = "SELECT number FROM orders WHERE status = $1"
CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
UNREADY = "SELECT count(*) FROM orders WHERE status IN ('received', 'cooking')"
TICKETS = """
SELECT station, number FROM station_tickets JOIN orders ON orders.id = order_id
WHERE status = 'received'
"""
TOO_FEW = f"SELECT count(*) < $1 FROM ({TICKETS}) AS tickets"  # noqa: S608 - only constants
# The transaction that has inserted a row; later ones have changed no order yet.
BATCH = "SELECT count(*) / count(DISTINCT xmin::text)::float FROM orders WHERE id > $1"
# What keeps an order for ever; the other tables are emptied again.
SIZE = """
SELECT sum(pg_total_relation_size(relid))::bigint
FROM unnest(ARRAY['orders', 'order_items', 'order_status_log']) AS name,
     pg_partition_tree(name::regclass)
"""


IDLE: Mapping[str, float] = {"idle": 1}
Sql = UnpooledConnection


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step needs of a resource: the median of all turns, the lowest and the highest.

    In µs for processes, in ms for times, in MB for memory, in orders for batches, else in bytes.
    """

    step: str
    resource: str
    median: float
    low: float
    high: float


@dataclass(slots=True)
class Units:
    """How many orders, requests, seconds or bytes a step had."""

    count: float = 0


class Turn:
    """The steps of one turn on a new database, and what each of them costs."""

    def __init__(self, system: SystemUnderTest, environment: Environment, sql: Sql) -> None:
        self.costs: dict[tuple[str, str], float] = {}
        self._system = system
        self._environment = environment
        self._sql = sql
        self._services: dict[str, Command] = {}

    async def run(self, orders: int, seconds: float) -> None:
        """Take orders through their whole life."""
        intake, port = await self._environment.order_service()
        tracking, tracking_port = await self._environment.tracking_service()
        subscriber = await self._environment.start("notification-subscriber")
        await subscriber.wait_for_log("service_started")
        self._services = {
            "order-service": intake,
            "tracking-service": tracking,
            "subscriber": subscriber,
        }
        await drive("place", port, "--count", WARM_UP)
        await self._environment.wait_until_outbox_empty(self._sql)
        size = await self._sql.fetchval(SIZE)
        await self._rest("idle", seconds, without={})
        for name, service in self._services.items():
            self.costs["memory", name] = service.memory()
        await self._load("place", "place", port, "--rate", RATE, "--seconds", seconds)
        await self._bump(seconds)
        last = await self._sql.fetchval("SELECT max(id) FROM orders")
        await self._load("place, busy", "place", port, "--count", orders)
        self.costs["place, busy", "batch"] = await self._sql.fetchval(BATCH, last)
        await self._cook(seconds)
        completions = (f"/orders/{n}/complete {{}}" for n in await self._numbers("ready"))
        await self._load("complete", "post", port, *self._requests(completions))
        placed = await self._sql.fetchval("SELECT count(*) FROM orders") - WARM_UP
        self.costs["life", "disk"] = (await self._sql.fetchval(SIZE) - size) / placed
        numbers = await self._numbers("completed")
        options = ("--numbers", self._file(numbers), "--count", 4 * orders)
        await self._load("look-up", "status", tracking_port, *options)
        paths = [f"/live/track/{number}" for number in numbers[:STREAMS]]
        async with streams(tracking_port, paths) as received:
            await self._rest("watch", seconds, units=STREAMS, received=received)

    async def _bump(self, seconds: float) -> None:
        """Have people start and bump the first tickets of some stations."""
        port, stations = free_port(), [f"/kitchen/stations/station_{n}" for n in range(STATIONS)]
        command = ("kitchen-display", "--port", str(port))
        display = await self._environment.start(*command, settings=DISPLAY)
        await display.wait_until_serving(port)
        self._services["kitchen-display"] = display
        await drive("post", port, *self._requests(f"{station} {{}}" for station in stations))
        async with streams(port, [f"{station}/live" for station in stations]) as received:
            await self._rest("station", seconds, units=STATIONS, received=received)
            self.costs["memory", "kitchen-display"] = display.memory()
            self.costs["idle", "connections"] = await self._sql.fetchval(CONNECTIONS)
            async with self._measuring("bump", {"idle": 1, "station": STATIONS}) as units:
                for _ in range(ROUNDS):
                    units.count += await self._bump_all(port)
                    await asyncio.sleep(SETTLE)  # other orders become tickets in their place
        del self._services["kitchen-display"]
        await display.stop()

    async def _bump_all(self, port: int) -> int:
        """Start and bump the tickets of all stations, once there are some; return their number."""
        await until_false(self._sql, TOO_FEW, STATIONS)
        tickets = [tuple(row) for row in await self._sql.fetch(TICKETS)]
        for action, expected in (("start", "received"), ("bump", "cooking")):
            path, body = "/kitchen/stations/%s/tickets/%s/", f'{{"expected": "{expected}"}}'
            taps = (f"{path % ticket}{action} {body}" for ticket in tickets)
            await drive("post", port, "--connections", STATIONS, *self._requests(taps))
        return len(tickets)

    async def _cook(self, seconds: float) -> None:
        """Have a simulated cook finish the other orders."""
        cook = self._services["kitchen-worker"] = await self._environment.kitchen_worker("anna")
        async with self._measuring("cook") as units:
            units.count = await self._sql.fetchval(UNREADY)
            await until_false(self._sql, UNFINISHED, 0)
            # Messages of the orders that were bumped are left.
            while await self._environment.waiting_orders():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.1)
        await self._rest("worker", seconds)
        del self._services["kitchen-worker"]
        await cook.stop()

    async def _numbers(self, status: str) -> list[str]:
        return [row["number"] for row in await self._sql.fetch(NUMBERS, status)]

    def _file(self, lines: Sequence[str]) -> Path:
        file = self._environment.folder / "requests"
        file.write_text("\n".join(lines))
        return file

    def _requests(self, lines: Iterable[str]) -> tuple[object, ...]:
        """Return the options of the load generator for requests with bodies."""
        requests = list(lines)
        return ("--posts", self._file(requests), "--count", len(requests))

    async def _load(self, step: str, *arguments: object) -> None:
        """Measure what a request of the load generator costs."""
        async with self._measuring(step) as units:
            load = await drive(*arguments)
            units.count = load.total
            await self._environment.wait_until_outbox_empty(self._sql)
        self.costs[step, "HTTP network"] = load.size / load.total

    async def _rest(
        self,
        step: str,
        seconds: float,
        *,
        units: int = 1,
        without: Mapping[str, float] = IDLE,
        received: Units | None = None,
    ) -> None:
        """Measure what each second of a unit costs while no orders come."""
        await asyncio.sleep(SETTLE)
        before = received.count if received else 0
        async with self._measuring(step, without) as counted:
            await asyncio.sleep(seconds)
            counted.count = seconds * units
        if received:
            self.costs[step, "HTTP network"] = (received.count - before) / counted.count

    @contextlib.asynccontextmanager
    async def _measuring(
        self, step: str, without: Mapping[str, float] = IDLE
    ) -> AsyncIterator[Units]:
        """Store what the block costs for each unit, without so many seconds of other steps."""
        units, before, start = Units(), await self._read(), time.monotonic()
        yield units
        seconds, after = time.monotonic() - start, await self._read()
        for resource, reading in after.items():
            other = sum(self.costs.get((each, resource), 0) * n for each, n in without.items())
            used = reading - before[resource] - other * seconds
            self.costs[step, resource] = max(0.0, used) / units.count

    async def _read(self) -> dict[str, float]:
        """Read the processor time of all processes in µs, and the other counters in bytes."""
        postgres, rabbitmq = self._system.postgres, self._system.rabbitmq
        pids = {name: each.pid for name, each in self._services.items()}
        pids |= {"PostgreSQL": postgres.process, "RabbitMQ": rabbitmq.process}
        return {name: cpu_seconds(pid) * 1e6 for name, pid in pids.items()} | {
            "WAL": await self._sql.fetchval("SELECT (pg_current_wal_lsn() - '0/0')::float"),
            "RabbitMQ disk": written_bytes(rabbitmq.process),
            "PostgreSQL network": await _bytes_of(postgres.port),
            "RabbitMQ network": await _bytes_of(rabbitmq.port),
        }


async def _bytes_of(port: int) -> int:
    """Return what the open connections to a port have sent and received."""
    command = ("ss", "-tinHO", f"dport = :{port}")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return sum(map(int, re.findall(rb"bytes_(?:sent|received):(\d+)", output)))


@contextlib.asynccontextmanager
async def streams(port: int, paths: Iterable[str]) -> AsyncIterator[Units]:
    """Open live views for the block; count the bytes that they receive."""
    received, opened = Units(), []
    try:
        for path in paths:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            if b" 200 " not in await reader.readline():
                raise Failed(f"{path} was refused")
            opened.append((writer, asyncio.create_task(_receive(reader, received))))
        yield received
    finally:
        for writer, receiving in opened:
            receiving.cancel()
            writer.close()


async def _receive(reader: asyncio.StreamReader, received: Units) -> None:
    while data := await reader.read(2**16):
        received.count += len(data)


async def measure(folder: Path, *, turns: int, orders: int, seconds: float) -> None:
    """Measure all steps in several turns; write their costs after each of them.

    A turn in which a service was starved by other programs, and refused a request, is repeated.
    """
    figures: dict[tuple[str, str], list[float]] = {}
    with contextlib.closing(SystemUnderTest(folder)) as system:
        floors, done, failed = Floors(system, folder), 0, 0
        while done < turns:
            try:
                async with system.environment() as environment:
                    turn = Turn(system, environment, await environment.sql())
                    turn.costs["commit", "time"] = await floors.committing(environment.dsn, seconds)
                    await turn.run(orders, seconds)
            except Failed as error:
                failed += 1
                if failed > turns:
                    raise
                sys.stderr.write(f"A turn is repeated: {error}\n")
                continue
            done += 1
            for name, figure in turn.costs.items():
                figures.setdefault(name, []).append(figure)
            write(figures)


def write(figures: Mapping[tuple[str, str], Sequence[float]]) -> None:
    """Write the costs of all turns so far."""
    costs = [
        Cost(*name, *(float(f"{x:.4g}") for x in (statistics.median(of), min(of), max(of))))
        for name, of in figures.items()
    ]
    JSON.write_text(json.dumps([asdict(each) for each in costs], indent=1) + "\n")


def read(path: Path = JSON) -> list[Cost]:
    """Read measured costs."""
    return [Cost(**each) for each in json.loads(path.read_text())]


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--orders", type=int, default=5_000, help="orders of a turn")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the steps without orders")
    options = vars(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # stops the servers too
    folder = Path(tempfile.mkdtemp(prefix="restaurant-costs-"))
    try:
        uvloop.run(measure(folder, **options))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
