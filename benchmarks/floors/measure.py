"""Runs the floors, each whenever it is asked for, and puts them together."""

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
    """Return the rate of stages that are gone through one after the other."""
    return 1 / sum(1 / rate for rate in rates)


class IntakeFloor(NamedTuple):
    """What one core does: H and D, orders a second, and P, messages a second."""

    answered: float
    placed: float
    published: float

    @property
    def orders(self) -> float:
        """Orders a second: each is answered, placed and published."""
        return in_a_row(*self)


class KitchenFloor(NamedTuple):
    """What one core does: R and P, messages a second, and M, moves a second."""

    taken: float
    moved: float
    published: float

    @property
    def orders(self) -> float:
        """Orders a second: each is taken, moved twice and told of twice."""
        return in_a_row(self.taken, self.moved, self.moved, self.published, self.published)


class Floors:
    """What is measured beside the product, in the same run, each for so many seconds."""

    def __init__(self, house: SystemUnderTest, folder: Path) -> None:
        self._house = house
        self._folder = folder

    async def intake(self, seconds: float) -> IntakeFloor:
        """See `answering.py`, `placing.py` and `publishing.py`."""
        return IntakeFloor(
            await self._answering(seconds),
            await self._beside_postgres("placing", seconds),
            await self._beside_rabbitmq("publishing", seconds),
        )

    async def kitchen(self, seconds: float) -> KitchenFloor:
        """See `consuming.py`, `moving.py` and `publishing.py`."""
        return KitchenFloor(
            await self._beside_rabbitmq("consuming", seconds),
            await self._beside_postgres("moving", seconds),
            await self._beside_rabbitmq("publishing", seconds),
        )

    async def committing(self, dsn: str, seconds: float) -> float:
        """Return the ms of a bare commit now, see `committing.py`; free to run on any core."""
        return await self._printed("committing", dsn, seconds)

    async def reading(self, dsn: str, numbers: Path, seconds: float) -> float:
        """T now, on orders that are there, see `reading.py`; free to run on any core."""
        return await self._printed("reading", dsn, seconds, numbers)

    async def _beside_postgres(self, module: str, seconds: float) -> float:
        ours, theirs = cores()
        async with self._house.database() as dsn:
            with pinned(self._house.postgres.process, theirs):
                return await self._printed(module, dsn, seconds, core=ours)

    async def _beside_rabbitmq(self, module: str, seconds: float) -> float:
        ours, theirs = cores()
        with pinned(self._house.rabbitmq.process, theirs):
            return await self._printed(module, self._house.amqp, seconds, core=ours)

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
