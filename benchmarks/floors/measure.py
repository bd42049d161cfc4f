"""Run the floors on demand, and combine them."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.driving import drive
from benchmarks.processes import printed_by, running
from benchmarks.servers import cores, pinned
from benchmarks.system import SystemUnderTest
from tests.support.processes import free_port

CONNECTIONS = 64


def in_a_row(*rates: float) -> float:
    """Return the combined rate of sequential stages."""
    return 1 / sum(1 / rate for rate in rates)


class IntakeFloor(NamedTuple):
    """The rates of one core: H and D in orders per second, P in messages per second."""

    answered: float
    placed: float
    published: float

    @property
    def orders(self) -> float:
        """Orders per second that are answered, placed and published."""
        return in_a_row(*self)


class KitchenFloor(NamedTuple):
    """The rates of one core: R and P in messages per second, M in moves per second."""

    taken: float
    moved: float
    published: float

    @property
    def orders(self) -> float:
        """Orders per second that are consumed, moved twice and published twice."""
        return in_a_row(self.taken, self.moved, self.moved, self.published, self.published)


class Floors:
    """Measures the floors of a run, each for some seconds."""

    def __init__(self, system: SystemUnderTest, folder: Path) -> None:
        self._system = system
        self._folder = folder

    async def intake(self, seconds: float) -> IntakeFloor:
        """See `answering.py`, `placing.py` and `publishing.py`."""
        return IntakeFloor(
            await self._answering(seconds),
            await self._next_to_postgres("placing", seconds),
            await self._next_to_rabbitmq("publishing", seconds),
        )

    async def kitchen(self, seconds: float) -> KitchenFloor:
        """See `consuming.py`, `moving.py` and `publishing.py`."""
        return KitchenFloor(
            await self._next_to_rabbitmq("consuming", seconds),
            await self._next_to_postgres("moving", seconds),
            await self._next_to_rabbitmq("publishing", seconds),
        )

    async def committing(self, dsn: str, seconds: float) -> float:
        """Measure a bare commit in ms on any core, see `committing.py`."""
        return await self._printed("committing", dsn, seconds)

    async def reading(self, dsn: str, numbers: Path, seconds: float) -> float:
        """Measure T on existing orders on any core, see `reading.py`."""
        return await self._printed("reading", dsn, seconds, numbers)

    async def _next_to_postgres(self, module: str, seconds: float) -> float:
        ours, theirs = cores()
        async with self._system.database() as dsn:
            with pinned(self._system.postgres.process, theirs):
                return await self._printed(module, dsn, seconds, core=ours)

    async def _next_to_rabbitmq(self, module: str, seconds: float) -> float:
        ours, theirs = cores()
        with pinned(self._system.rabbitmq.process, theirs):
            return await self._printed(module, self._system.amqp, seconds, core=ours)

    async def _printed(self, module: str, *arguments: object, core: int | None = None) -> float:
        command = [f"benchmarks.floors.{module}", *map(str, arguments)]
        return float(await printed_by(*command, core=core))

    async def _answering(self, seconds: float) -> float:
        ours, theirs = cores()
        async with self._serving("benchmarks.floors.answering") as (process, port):
            with pinned(process, ours):
                load = await drive(
                    "place",
                    *(port, "--connections", CONNECTIONS),
                    *("--seconds", seconds, "--warm-up", 1),
                    core=theirs,
                )
        return load.rate

    @contextlib.asynccontextmanager
    async def _serving(self, module: str) -> AsyncIterator[tuple[int, int]]:
        port = free_port()
        async with running(module, str(port), folder=self._folder, environment={}) as service:
            await service.serves(port)
            yield service.pid, port
