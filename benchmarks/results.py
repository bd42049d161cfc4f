"""Print the results of a run as a table, and write them as JSON."""

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
PROCESSES = {1: "one process", 2: "two processes"}  # in the names of results
DIGITS = 4  # significant digits of a result


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A measured value, its floor from the same run, and whether it meets its goal.

    `goal` applies to the ratio, or to the value where there is no floor: a minimum for rates, a
    maximum for times, sizes and shares.
    """

    name: str
    measured: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    goal: float | None = None
    met: bool | None = None


def result_row(
    name: str,
    measured: float,
    unit: str,
    *,
    floor: float | None = None,
    goal: float | None = None,
    valid: bool = True,
) -> ResultRow:
    """Return a row of the results; one that is not `valid` meets no goal."""
    ratio = measured / floor if floor else None
    compared = measured if ratio is None else ratio
    good = compared <= goal if goal and unit in LESS_IS_BETTER else compared >= (goal or 0)
    return ResultRow(
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


def write(rows: Sequence[ResultRow], path: Path = JSON) -> None:
    """Write the results of a benchmark run as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(each) for each in rows], indent=2) + "\n")


def read(path: Path = JSON) -> list[ResultRow]:
    """Read the results of a benchmark run from a JSON file."""
    loaded: list[dict[str, Any]] = json.loads(path.read_text())
    return [ResultRow(**each) for each in loaded]


def table(rows: Sequence[ResultRow]) -> Table:
    """Return a table of benchmark results."""
    result = Table(title="restaurant-system, measured", title_justify="left")
    result.add_column("name", no_wrap=True)
    for heading in ("measured", "unit", "floor", "ratio", "goal"):
        result.add_column(heading, justify="left" if heading == "unit" else "right")
    result.add_column("met", justify="center")
    for each in rows:
        result.add_row(
            each.name,
            _figure(each.measured),
            each.unit,
            _figure(each.floor),
            _figure(each.ratio),
            format_goal(each),
            {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[each.met],
        )
    return result


def format_goal(each: ResultRow) -> str:
    """Format a goal with its direction; return an empty string if there is none."""
    if each.goal is None:
        return ""
    return f"{'≤' if each.unit in LESS_IS_BETTER else '≥'} {each.goal:g}"


def show(rows: Sequence[ResultRow], console: Console) -> None:
    """Print benchmark results as a table."""
    console.print(table(rows))


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - digits shown
