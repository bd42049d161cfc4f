"""`make faults`: evenings with faults, and one table for each of what they broke."""

import asyncio
import logging
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.faults import evening, report, sabotage
from tests.faults.plan import Evening, Part

BROKERS = ("postgres", "rabbitmq")


def main(
    *,
    broker: Annotated[str, typer.Option(help="postgres, rabbitmq, or both.")] = "both",
    orders: Annotated[int, typer.Option(min=1)] = 10_000,
    kills: Annotated[int, typer.Option(min=0, help="kill -9, of every part in turn.")] = 100,
    disturbances: Annotated[
        int, typer.Option(min=0, help="Freezes, and lines cut, slowed and torn.")
    ] = 60,
    unbinds: Annotated[int, typer.Option(min=0, help="Queues taken off their exchanges.")] = 5,
    wipes: Annotated[int, typer.Option(min=0, help="RabbitMQ's disk lost.")] = 0,
    poisons: Annotated[int, typer.Option(min=0, help="Messages that can never succeed.")] = 20,
    duration: Annotated[float, typer.Option(min=1, help="Seconds over which orders come.")] = 600,
    part: Annotated[
        list[Part] | None, typer.Option(help="What is killed and disturbed; repeatable. (all)")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed: the same orders and faults.")] = 1,
    sabotaged: Annotated[
        str | None,
        typer.Option("--sabotage", help=f"Break the product: {', '.join(sabotage.SWITCHES)}."),
    ] = None,
) -> None:
    """Run the restaurant through faults, and count every promise that was broken."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # each lost line is told in the table
    console = Console()
    wanted = Evening(
        broker="",
        orders=orders,
        duration=duration,
        seed=seed,
        kills=kills,
        disturbances=disturbances,
        poisons=poisons,
        hit=frozenset(part or Part),
        sabotage=sabotaged,
    )
    broken = False
    for name in BROKERS if broker == "both" else [broker]:
        on_rabbitmq = name == "rabbitmq"
        each = replace(
            wanted, broker=name, unbinds=unbinds * on_rabbitmq, wipes=wipes * on_rabbitmq
        )
        folder = Path(tempfile.mkdtemp(prefix=f"restaurant-faults-{name}-"))
        console.print(f"An evening on {name}: the journal and every log are in {folder}")
        found = asyncio.run(evening.spend(each, folder))
        report.show(found, _title(each), console)
        broken = broken or bool(found.broken)
    sys.exit(1 if broken else 0)


def _title(each: Evening) -> str:
    return (
        f"{each.orders:,} orders over {each.duration:g} s on {each.broker}, seed {each.seed}:"
        f" {each.kills} kills, {len(each.faults()) - each.kills} other faults"
        + (f", sabotaged: {each.sabotage}" if each.sabotage else "")
    )


if __name__ == "__main__":
    cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    cli.command()(main)
    cli()
