"""The one table that an evening comes to."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.faults.checker import Report


def show(report: Report, title: str, console: Console) -> None:
    """Print what was broken, how fast it went, and how long each kind of fault was felt."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("for example")
    for finding in report.findings:
        colour = "red" if finding.count else "green"
        table.add_row(
            finding.promise, f"[{colour}]{finding.count}[/]", escape("; ".join(finding.examples))
        )
    table.add_section()
    table.add_row("orders acknowledged", f"{report.orders:,}")
    table.add_row("orders/s", f"{report.orders_per_second:.1f}")
    table.add_row("longest stall, s", f"{report.longest_stall:.1f}")
    table.add_section()
    for each in report.recoveries:
        table.add_row(
            f"recovery after {each.kind}, s",
            f"{each.p50:.1f}",
            f"at most {each.longest:.1f}, {each.times} times",
        )
    console.print(table)
