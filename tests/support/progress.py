"""Report the progress of a long run, one line for each stage."""

import time

from rich.console import Console


class Progress:
    """Prints a line when a stage starts; on a terminal or not, it is written at once."""

    def __init__(self, console: Console, stages: int) -> None:
        self._console = console
        self._stages = stages
        self._started = 0
        self._start = time.monotonic()

    def start(self, stage: str) -> None:
        """Print the number of the stage, the seconds since the first one, and its name."""
        if self._started == 0:
            self._start = time.monotonic()
        self._started += 1
        elapsed = time.monotonic() - self._start
        self._console.print(
            f"[{elapsed:6.0f} s] stage {self._started} of {self._stages}: {stage}",
            markup=False,
            highlight=False,
        )
