"""`make faults`: evenings with faults, and one table for each of what they broke."""

import asyncio
import logging
import signal
import sys
import tempfile
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.faults import fault_run, mutations, report
from tests.faults.plan import Part, RunPlan


class Broker(StrEnum):
    """By which messages travel."""

    POSTGRES = "postgres"
    RABBITMQ = "rabbitmq"


def main(
    *,
    broker: Annotated[
        list[Broker] | None, typer.Option(help="By which messages travel; repeatable. (both)")
    ] = None,
    orders: Annotated[int, typer.Option(min=1)] = 10_000,
    kills: Annotated[int, typer.Option(min=0, help="kill -9, of every part in turn.")] = 100,
    disturbances: Annotated[
        int, typer.Option(min=0, help="Freezes, and lines cut, slowed and torn.")
    ] = 60,
    unbinds: Annotated[int, typer.Option(min=0, help="Queues taken off RabbitMQ's exchanges.")] = 5,
    wipes: Annotated[int, typer.Option(min=0, help="RabbitMQ's disk lost.")] = 0,
    poisons: Annotated[int, typer.Option(min=0, help="Messages that can never succeed.")] = 20,
    duration: Annotated[float, typer.Option(min=1, help="Seconds over which orders come.")] = 600,
    part: Annotated[
        list[Part] | None, typer.Option(help="What is killed and disturbed; repeatable. (all)")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed: the same orders and faults.")] = 1,
    sabotaged: Annotated[
        str | None,
        typer.Option("--sabotage", help=f"Break the product: {', '.join(mutations.SWITCHES)}."),
    ] = None,
) -> None:
    """Run the restaurant through faults, and count every promise that was broken."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # each lost line is told in the table
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves no servers behind either
    if sabotaged not in {None, *mutations.SWITCHES}:
        raise typer.BadParameter(f"there is no sabotage {sabotaged!r}; --help names them")
    try:
        evenings = [
            RunPlan(
                broker=each,
                orders=orders,
                duration=duration,
                seed=seed,
                kills=kills,
                disturbances=disturbances,
                unbinds=unbinds if each is Broker.RABBITMQ else 0,
                wipes=wipes if each is Broker.RABBITMQ else 0,
                poisons=poisons,
                hit=frozenset(part or Part),
                sabotage=sabotaged,
            )
            for each in broker or Broker
        ]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = Console()
    broken = [_spend(each, console) for each in evenings]
    sys.exit(1 if any(broken) else 0)


def _spend(each: RunPlan, console: Console) -> bool:
    """Spend an evening and show what it came to; return whether any promise was broken."""
    folder = Path(tempfile.mkdtemp(prefix=f"restaurant-faults-{each.broker}-"))
    console.print(f"An evening on {each.broker}: the journal and every log are in {folder}")
    found = asyncio.run(fault_run.spend(each, folder))
    report.show(found, _title(each), console)
    return bool(found.broken)


def _title(each: RunPlan) -> str:
    kinds = Counter(fault.kind for fault in each.faults())
    faults = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no faults"
    return (
        f"{each.orders:,} orders over {each.duration:g} s on {each.broker}, seed {each.seed}:"
        f" {faults}" + (f"; sabotaged: {each.sabotage}" if each.sabotage else "")
    )


if __name__ == "__main__":
    cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    cli.command()(main)
    cli()
