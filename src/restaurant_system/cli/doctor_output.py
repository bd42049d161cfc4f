"""Print the report of `doctor`; text from servers is escaped."""

import sys

from pydantic_core import to_json
from rich.console import Console
from rich.text import Text

from restaurant_system import __version__
from restaurant_system.app.doctor import Finding, Level, Report, count
from restaurant_system.models.clock import rfc_3339
from restaurant_system.models.text import escape_nonprintable

SCHEMA_VERSION = 1  # increased by a change that is not an addition
STYLES = {Level.OK: "green", Level.SKIPPED: "dim", Level.WARNING: "yellow", Level.ERROR: "bold red"}
URGENCY = (Level.ERROR, Level.WARNING, Level.OK, Level.SKIPPED)
LEVEL_WIDTH, CHECK_WIDTH = 8, 27


def print_json(report: Report) -> None:
    """Print one JSON document, whose schema docs/operations.md describes."""
    findings = [
        {
            "check": each.check,
            "level": each.level,
            "message": each.message,
            "cure": each.cure,
        }
        for each in report.findings
    ]
    document = {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "checked_at": rfc_3339(report.checked_at),
        "shape": report.shape,
        "complete": report.is_complete,
        "status": report.worst,
        "findings": findings,
    }
    sys.stdout.write(to_json(document, indent=2).decode() + "\n")


def print_lines(report: Report) -> None:
    """Print one line for each finding, what must be done first, and one with their numbers."""
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    width = max((CHECK_WIDTH, *(len(each.check) + 1 for each in report.findings)))
    for finding in sorted(report.findings, key=lambda finding: URGENCY.index(finding.level)):
        console.print(_line(finding, width))
    errors, warnings = report.count(Level.ERROR), report.count(Level.WARNING)
    so_far = "" if report.is_complete else " so far"
    console.print(f"{count(errors, 'error')}, {count(warnings, 'warning')}{so_far}.")


def _line(finding: Finding, width: int) -> Text:
    line = Text(f"{finding.level:<{LEVEL_WIDTH}}", STYLES[finding.level])
    line.append(f"{finding.check:<{width}}", "default")
    line.append(escape_nonprintable(finding.message), "default")
    if finding.cure is not None:
        line.append(f" → {escape_nonprintable(finding.cure)}", "default")
    return line
