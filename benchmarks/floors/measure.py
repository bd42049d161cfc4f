"""Runs the floors, each once in a run, and puts them together."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.driving import drive
from benchmarks.house import House
from benchmarks.processes import printed_by, running
from benchmarks.servers import cores, pinned
from tests.support.servers import free_port

CONNECTIONS = 64


def in_a_row(*rates: float) -> float:
    """Return the rate of stages that are gone through one after the other."""
    return 1 / sum(1 / rate for rate in rates)


class Floors:
    """Figures that are measured when they are first asked for, or, of two, whenever they are."""

    def __init__(self, house: House, seconds: float, folder: Path) -> None:
        self._house = house
        self._seconds = seconds
        self._folder = folder
        self.known: dict[str, float] = {}

    async def intake(self) -> float:
        """Orders a second through one core: answered, placed, published."""
        stages = [await self.answering(), await self.placing(), await self.publishing()]
        return in_a_row(*stages)

    async def kitchen(self) -> float:
        """Orders a second through one core: taken, moved twice, told twice."""
        moving, publishing = await self.moving(), await self.publishing()
        return in_a_row(await self.consuming(), moving, moving, publishing, publishing)

    async def answering(self) -> float:
        """H, see `answering.py`."""
        if "H" not in self.known:
            self.known["H"] = await self._served_rate("benchmarks.floors.answering")
        return self.known["H"]

    async def placing(self) -> float:
        """D, see `placing.py`."""
        return await self._with_postgres("D", "placing")

    async def moving(self) -> float:
        """M, see `moving.py`."""
        return await self._with_postgres("M", "moving")

    async def publishing(self) -> float:
        """P, see `publishing.py`."""
        return await self._with_rabbitmq("P", "publishing")

    async def consuming(self) -> float:
        """R, see `consuming.py`."""
        return await self._with_rabbitmq("R", "consuming")

    async def committing(self, dsn: str, seconds: float) -> float:
        """Return the ms of a bare commit now, see `committing.py`; free to run on any core."""
        return await self._printed("committing", dsn, seconds)

    async def reading(self, dsn: str, numbers: Path, seconds: float) -> float:
        """T now, on orders that are there, see `reading.py`; free to run on any core."""
        return await self._printed("reading", dsn, seconds, numbers)

    async def _with_postgres(self, name: str, module: str) -> float:
        if name not in self.known:
            ours, theirs = cores()
            async with self._house.database() as dsn:
                with pinned(self._house.postgres.process, theirs):
                    self.known[name] = await self._printed(module, dsn, self._seconds, core=ours)
        return self.known[name]

    async def _with_rabbitmq(self, name: str, module: str) -> float:
        if name not in self.known:
            ours, theirs = cores()
            amqp = self._house.amqp
            with pinned(self._house.rabbitmq.process, theirs):
                self.known[name] = await self._printed(module, amqp, self._seconds, core=ours)
        return self.known[name]

    async def _printed(self, module: str, *arguments: object, core: int | None = None) -> float:
        command = [f"benchmarks.floors.{module}", *map(str, arguments)]
        return float(await printed_by(*command, core=core))

    async def _served_rate(self, module: str) -> float:
        ours, theirs = cores()
        async with self._serving(module) as (process, port):
            with pinned(process, ours):
                load = await drive(
                    "place",
                    *(port, "--connections", CONNECTIONS),
                    *("--seconds", self._seconds, "--warm-up", 1),
                    core=theirs,
                )
        return load.rate

    @contextlib.asynccontextmanager
    async def _serving(self, module: str) -> AsyncIterator[tuple[int, int]]:
        port = free_port()
        async with running(module, str(port), folder=self._folder, environment={}) as service:
            await service.serves(port)
            yield service.pid, port
