"""Run the floors as processes, and combine the rates of their stages."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.driving import drive
from benchmarks.processes import output_of, running
from benchmarks.servers import cores, pinned
from benchmarks.system import SystemUnderTest
from tests.support.processes import free_port

CONNECTIONS = 64


def sequential_rate(*rates: float) -> float:
    """Return the rate of items that pass through stages of these rates one after the other."""
    return 1 / sum(1 / rate for rate in rates)


class IntakeFloor(NamedTuple):
    """The rates of one core: H and D in orders per second, P in messages per second."""

    answered: float
    placed: float
    published: float

    @property
    def orders(self) -> float:
        """Orders per second that are answered, placed and published."""
        return sequential_rate(*self)


class KitchenFloor(NamedTuple):
    """The rates of one core: R and P in messages per second, M in moves per second."""

    consumed: float
    moved: float
    published: float

    @property
    def orders(self) -> float:
        """Orders per second that are consumed, moved twice and published twice."""
        return sequential_rate(
            self.consumed, self.moved, self.moved, self.published, self.published
        )


class Floors:
    """Measures the floors of a benchmark run on its servers."""

    def __init__(self, system: SystemUnderTest, folder: Path) -> None:
        self._system = system
        self._folder = folder

    async def intake(self, seconds: float) -> IntakeFloor:
        """Measure H, D and P, see `answering.py`, `placing.py` and `publishing.py`."""
        return IntakeFloor(
            await self._answering(seconds),
            await self._on_postgres("placing", seconds),
            await self._on_rabbitmq("publishing", seconds),
        )

    async def kitchen(self, seconds: float) -> KitchenFloor:
        """Measure R, M and P, see `consuming.py`, `moving.py` and `publishing.py`."""
        return KitchenFloor(
            await self._on_rabbitmq("consuming", seconds),
            await self._on_postgres("moving", seconds),
            await self._on_rabbitmq("publishing", seconds),
        )

    async def committing(self, dsn: str, seconds: float) -> float:
        """Measure a bare commit in ms on any core, see `committing.py`."""
        return await self._result_of("committing", dsn, seconds)

    async def reading(self, dsn: str, numbers: Path, seconds: float) -> float:
        """Measure T on existing orders on any core, see `reading.py`."""
        return await self._result_of("reading", dsn, seconds, numbers)

    async def _on_postgres(self, module: str, seconds: float) -> float:
        own_core, server_core = cores()
        async with self._system.database() as dsn:
            with pinned(self._system.postgres.process, server_core):
                return await self._result_of(module, dsn, seconds, core=own_core)

    async def _on_rabbitmq(self, module: str, seconds: float) -> float:
        own_core, server_core = cores()
        with pinned(self._system.rabbitmq.process, server_core):
            return await self._result_of(module, self._system.amqp, seconds, core=own_core)

    async def _result_of(self, module: str, *arguments: object, core: int | None = None) -> float:
        command = [f"benchmarks.floors.{module}", *map(str, arguments)]
        return float(await output_of(*command, core=core))

    async def _answering(self, seconds: float) -> float:
        own_core, server_core = cores()
        async with self._serving("benchmarks.floors.answering") as (process, port):
            with pinned(process, own_core):
                load = await drive(
                    "place",
                    *(port, "--connections", CONNECTIONS),
                    *("--seconds", seconds, "--warm-up", 1),
                    core=server_core,
                )
        return load.rate

    @contextlib.asynccontextmanager
    async def _serving(self, module: str) -> AsyncIterator[tuple[int, int]]:
        port = free_port()
        async with running(module, str(port), folder=self._folder, environment={}) as service:
            await service.wait_until_serving(port)
            yield service.pid, port
