"""Print the result of a fault run: broken guarantees, and the recovery from each kind of fault."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.faults.checker import Report


def show(report: Report, title: str, console: Console) -> None:
    """Print how often each guarantee was broken, then throughput and recoveries."""
    console.print(_guarantees(report, title))
    console.print(_recoveries(report))


def _guarantees(report: Report, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("guarantee broken", no_wrap=True)
    table.add_column("times", justify="right")
    table.add_column("for example")
    for finding in report.findings:
        colour = "red" if finding.count else "green"
        examples = escape("; ".join(finding.examples))
        table.add_row(finding.guarantee, f"[{colour}]{finding.count}[/]", examples)
    table.add_section()
    table.add_row("orders acknowledged", f"{report.orders:,}")
    table.add_row("orders/s", f"{report.orders_per_second:.1f}")
    table.add_row("longest stall, s", f"{report.longest_stall:.1f}")
    table.add_row("orders published again by reconciliation", f"{report.resent:,}")
    return table


def _recoveries(report: Report) -> Table:
    """Show the seconds from a fault's end until an order placed after it was received as ready."""
    table = Table("recovery, s, after", title_justify="left")
    for heading in ("times", "p50", "max"):
        table.add_column(heading, justify="right")
    for each in report.recoveries:
        table.add_row(each.kind, str(each.times), f"{each.p50:.1f}", f"{each.longest:.1f}")
    return table
