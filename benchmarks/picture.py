"""Draw the results of a run: how far goals are met, and every rate with its floor."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import JSON, LESS_IS_BETTER, PICTURE, ResultRow, format_goal, read

GOOD, BAD, PLAIN = "#2a7f62", "#c8553d", "#5b7db1"
ROW = 0.3  # inches
WIDTH = 11.0
FURTHEST = 3.0  # times over that a goal is reached; beyond, a bar would dwarf the others


def draw(source: Path = JSON, target: Path = PICTURE) -> None:
    """Draw the results in `source` into the PNG `target`."""
    mpl.use("agg")
    lines = read(source)
    held = [each for each in lines if each.goal]
    rates = [each for each in lines if each.unit.endswith("/s")]
    parts = [part for part in (held, rates) if part]
    figure = Figure(figsize=(WIDTH, ROW * sum(map(len, parts)) + 2), layout="constrained")
    axes = figure.subplots(
        len(parts), squeeze=False, height_ratios=[len(part) + 1 for part in parts]
    )
    for part, (axis,) in zip(parts, axes, strict=True):
        (_against_goals if part is held else _rates)(axis, part)
    figure.savefig(target, dpi=120)


def _against_goals(axis: Axes, lines: Sequence[ResultRow]) -> None:
    """Draw the ratio to the goal for each result that has one."""
    reached = [_reached(each) for each in lines]
    bars = axis.barh(
        [each.name for each in lines], reached, color=[GOOD if each.met else BAD for each in lines]
    )
    axis.bar_label(bars, [_judged(each) for each in lines], padding=4, fontsize=8)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_title("against its goal (1 = just reached)", loc="left", fontsize=10)
    _tidy(axis, reached)


def _rates(axis: Axes, lines: Sequence[ResultRow]) -> None:
    """Draw every rate with a mark at its floor."""
    names, rates = [each.name for each in lines], [each.measured for each in lines]
    bars = axis.barh(names, rates, color=PLAIN)
    axis.bar_label(
        bars, [f"{each.measured:,.0f} {each.unit}" for each in lines], padding=4, fontsize=8
    )
    for place, each in enumerate(lines):
        if each.floor:
            axis.plot([each.floor] * 2, [place - 0.4, place + 0.4], color="black", linewidth=1.5)
    axis.set_title("rates (mark: what it is held against)", loc="left", fontsize=10)
    _tidy(axis, [*rates, *(each.floor or 0 for each in lines)])


def _tidy(axis: Axes, values: Sequence[float]) -> None:
    axis.invert_yaxis()
    axis.set_xlim(0, max(values) * 1.25)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _reached(each: ResultRow) -> float:
    assert each.goal  # noqa: S101 - only such lines come here
    judged = each.measured if each.ratio is None else each.ratio
    if each.unit not in LESS_IS_BETTER:
        return min(judged / each.goal, FURTHEST)
    return each.goal / judged if judged * FURTHEST > each.goal else FURTHEST


def _judged(each: ResultRow) -> str:
    judged = each.measured if each.ratio is None else each.ratio
    return f"{judged:.3g}  (goal {format_goal(each)})"


if __name__ == "__main__":
    draw()
