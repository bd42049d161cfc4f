"""What an evening came to, as two tables: what was broken, and how long each fault was felt."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.faults.checker import Report


def show(report: Report, title: str, console: Console) -> None:
    """Print the promises with how often each was broken, then the speed and the recoveries."""
    console.print(_promises(report, title))
    console.print(_recoveries(report))


def _promises(report: Report, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("promise broken", no_wrap=True)
    table.add_column("times", justify="right")
    table.add_column("for example")
    for finding in report.findings:
        colour = "red" if finding.count else "green"
        examples = escape("; ".join(finding.examples))
        table.add_row(finding.promise, f"[{colour}]{finding.count}[/]", examples)
    table.add_section()
    table.add_row("orders acknowledged", f"{report.orders:,}")
    table.add_row("orders/s", f"{report.orders_per_second:.1f}")
    table.add_row("longest stall, s", f"{report.longest_stall:.1f}")
    table.add_row("orders sent again by reconciliation", f"{report.resent:,}")
    return table


def _recoveries(report: Report) -> Table:
    """Show the seconds until an order placed after the fault had passed was heard to be ready."""
    table = Table("recovery, s, after", title_justify="left")
    for heading in ("times", "p50", "max"):
        table.add_column(heading, justify="right")
    for each in report.recoveries:
        table.add_row(each.kind, str(each.times), f"{each.p50:.1f}", f"{each.longest:.1f}")
    return table
