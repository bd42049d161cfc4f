"""Share servers, floors and earlier results between the measurements of a run."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.floors.measure import Floors
from benchmarks.system import SystemUnderTest

T = TypeVar("T")


class Bench:
    """The parameters of a run: durations and sizes."""

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

    def brief(self, turns: int) -> "Bench":
        """Return a run whose seconds and backlog are divided by the number of turns."""
        return Bench(
            self.system,
            self.folder,
            seconds=self.seconds / turns,
            history=self.history,
            backlog=self.backlog // turns,
        )

    async def once(self, name: str, measure: Callable[[], Awaitable[T]]) -> T:
        """Measure something unless this run has a result of this name."""
        if name not in self._measured:
            self._measured[name] = await measure()
        return self._measured[name]  # type: ignore[return-value] # what `measure` returned
