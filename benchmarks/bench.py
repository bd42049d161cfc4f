"""What the lines of a run share: the house, the floors, and what was measured already."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.floors.measure import Floors
from benchmarks.system import SystemUnderTest

T = TypeVar("T")


class Bench:
    """A run: how long each thing is measured, and on how much."""

    def __init__(
        self, house: SystemUnderTest, folder: Path, *, seconds: float, history: int, backlog: int
    ) -> None:
        self.house = house
        self.folder = folder
        self.seconds = seconds
        self.history = history
        self.backlog = backlog
        self.floors = Floors(house, folder)
        self._measured: dict[str, object] = {}

    def brief(self, turns: int) -> "Bench":
        """Return a run whose seconds and backlog are those of one of so many turns."""
        return Bench(
            self.house,
            self.folder,
            seconds=self.seconds / turns,
            history=self.history,
            backlog=self.backlog // turns,
        )

    async def once(self, name: str, measure: Callable[[], Awaitable[T]]) -> T:
        """Measure something, unless it was measured before in this run under this name."""
        if name not in self._measured:
            self._measured[name] = await measure()
        return self._measured[name]  # type: ignore[return-value] # what `measure` returned
