"""Draw the results of a run: each result relative to its goal, and every rate with its floor."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import JSON, LESS_IS_BETTER, PICTURE, ResultRow, format_goal, read

GOOD, BAD, PLAIN = "#2a7f62", "#c8553d", "#5b7db1"
ROW = 0.3  # inches
WIDTH = 11.0
MAX_RATIO = 3.0  # longer bars would dwarf the others


def draw(source: Path = JSON, target: Path = PICTURE) -> None:
    """Draw the results in `source` into the PNG `target`."""
    mpl.use("agg")
    rows = read(source)
    with_goal = [each for each in rows if each.goal]
    rates = [each for each in rows if each.unit.endswith("/s")]
    parts = [part for part in (with_goal, rates) if part]
    figure = Figure(figsize=(WIDTH, ROW * sum(map(len, parts)) + 2), layout="constrained")
    axes = figure.subplots(
        len(parts), squeeze=False, height_ratios=[len(part) + 1 for part in parts]
    )
    for part, (axis,) in zip(parts, axes, strict=True):
        (_against_goals if part is with_goal else _rates)(axis, part)
    figure.savefig(target, dpi=120)


def _against_goals(axis: Axes, rows: Sequence[ResultRow]) -> None:
    """Draw the ratio to the goal for each result that has one."""
    reached = [_ratio_to_goal(each) for each in rows]
    bars = axis.barh(
        [each.name for each in rows], reached, color=[GOOD if each.met else BAD for each in rows]
    )
    axis.bar_label(bars, [_label(each) for each in rows], padding=4, fontsize=8)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_title("against its goal (1 = just reached)", loc="left", fontsize=10)
    _format_axis(axis, reached)


def _rates(axis: Axes, rows: Sequence[ResultRow]) -> None:
    """Draw every rate with a mark at its floor."""
    names, rates = [each.name for each in rows], [each.measured for each in rows]
    bars = axis.barh(names, rates, color=PLAIN)
    axis.bar_label(
        bars, [f"{each.measured:,.0f} {each.unit}" for each in rows], padding=4, fontsize=8
    )
    for place, each in enumerate(rows):
        if each.floor:
            axis.plot([each.floor] * 2, [place - 0.4, place + 0.4], color="black", linewidth=1.5)
    axis.set_title("rates (mark: the floor)", loc="left", fontsize=10)
    _format_axis(axis, [*rates, *(each.floor or 0 for each in rows)])


def _format_axis(axis: Axes, values: Sequence[float]) -> None:
    axis.invert_yaxis()
    axis.set_xlim(0, max(values) * 1.25)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _ratio_to_goal(each: ResultRow) -> float:
    assert each.goal  # noqa: S101 - only rows with a goal are drawn
    compared = each.measured if each.ratio is None else each.ratio
    if each.unit not in LESS_IS_BETTER:
        return min(compared / each.goal, MAX_RATIO)
    return each.goal / compared if compared * MAX_RATIO > each.goal else MAX_RATIO


def _label(each: ResultRow) -> str:
    compared = each.measured if each.ratio is None else each.ratio
    return f"{compared:.3g}  (goal {format_goal(each)})"


if __name__ == "__main__":
    draw()
