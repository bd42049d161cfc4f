"""Share servers, floors and earlier results between the measurements of a run."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.floors.measure import Floors
from benchmarks.system import SystemUnderTest

T = TypeVar("T")


class Bench:
    """The parameters of a benchmark run (durations and sizes), its servers and its results."""

    def __init__(
        self, system: SystemUnderTest, folder: Path, *, seconds: float, history: int, backlog: int
    ) -> None:
        self.system = system
        self.folder = folder
        self.seconds = seconds
        self.history = history
        self.backlog = backlog
        self.floors = Floors(system, folder)
        self._measured: dict[str, object] = {}

    def divided_by(self, turns: int) -> "Bench":
        """Return a benchmark run whose seconds and backlog are divided by a number of turns."""
        return Bench(
            self.system,
            self.folder,
            seconds=self.seconds / turns,
            history=self.history,
            backlog=self.backlog // turns,
        )

    async def once(self, name: str, measure: Callable[[], Awaitable[T]]) -> T:
        """Call `measure` once per benchmark run and name; then return its first result."""
        if name not in self._measured:
            self._measured[name] = await measure()
        return self._measured[name]  # type: ignore[return-value] # what `measure` returned
