"""What a run came to: one line for each figure, as a table and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent / "results"
JSON = FOLDER / "latest.json"
PICTURE = FOLDER / "latest.png"

LESS_IS_BETTER = frozenset({"ms", "s", "MB", "%"})
PROCESSES = {1: "one process", 2: "two processes"}  # as lines are named
DIGITS = 4  # that are told of a figure; there is no truth in more


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A figure, what it is held against in the same run, and whether it is good enough.

    `goal` is about the ratio, or about the figure itself where there is no floor: a least value for
    rates, a largest one for times, sizes and shares.
    """

    name: str
    measured: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    goal: float | None = None
    met: bool | None = None


def line(
    name: str,
    measured: float,
    unit: str,
    *,
    floor: float | None = None,
    goal: float | None = None,
    valid: bool = True,
) -> Line:
    """Put a line together; one that is not `valid` meets no goal."""
    ratio = measured / floor if floor else None
    judged = measured if ratio is None else ratio
    good = judged <= goal if goal and unit in LESS_IS_BETTER else judged >= (goal or 0)
    return Line(
        name=name,
        measured=_rounded(measured),
        unit=unit,
        floor=None if floor is None else _rounded(floor),
        ratio=None if ratio is None else _rounded(ratio),
        goal=None if goal is None else _rounded(goal),
        met=None if goal is None else good and valid,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def write(lines: Sequence[Line], path: Path = JSON) -> None:
    """Write lines as a JSON list, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(each) for each in lines], indent=2) + "\n")


def read(path: Path = JSON) -> list[Line]:
    """Read what `write` wrote."""
    stated: list[dict[str, Any]] = json.loads(path.read_text())
    return [Line(**each) for each in stated]


def table(lines: Sequence[Line]) -> Table:
    """Lay the lines out for a terminal."""
    laid_out = Table(title="restaurant-system, measured", title_justify="left")
    laid_out.add_column("what", no_wrap=True)
    for heading in ("measured", "unit", "floor", "ratio", "goal"):
        laid_out.add_column(heading, justify="left" if heading == "unit" else "right")
    laid_out.add_column("met", justify="center")
    for each in lines:
        laid_out.add_row(
            each.name,
            _figure(each.measured),
            each.unit,
            _figure(each.floor),
            _figure(each.ratio),
            goal_in_words(each),
            {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[each.met],
        )
    return laid_out


def goal_in_words(each: Line) -> str:
    """Say what a line's goal is, and which way; nothing where there is none."""
    if each.goal is None:
        return ""
    return f"{'≤' if each.unit in LESS_IS_BETTER else '≥'} {each.goal:g}"


def show(lines: Sequence[Line], console: Console) -> None:
    """Print the table."""
    console.print(table(lines))


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - digits shown
