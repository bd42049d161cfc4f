"""Run `make faults`: orders under injected faults on each broker, and a table of the result."""

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

from tests.faults import mutations
from tests.faults.fault_run import STAGES, run_faults
from tests.faults.plan import Component, RunPlan
from tests.faults.report import show
from tests.support.progress import Progress


class Broker(StrEnum):
    """A message broker of the product."""

    POSTGRES = "postgres"
    RABBITMQ = "rabbitmq"


def main(
    *,
    broker: Annotated[
        list[Broker] | None, typer.Option(help="The message broker; repeatable. (both)")
    ] = None,
    orders: Annotated[int, typer.Option(min=1, help="Orders that are sent.")] = 10_000,
    kills: Annotated[int, typer.Option(min=0, help="SIGKILLs, of each component in turn.")] = 100,
    disturbances: Annotated[
        int, typer.Option(min=0, help="Freezes, and connections cut, delayed and reset.")
    ] = 60,
    unbinds: Annotated[
        int, typer.Option(min=0, help="Times that RabbitMQ's kitchen queues are unbound.")
    ] = 5,
    wipes: Annotated[int, typer.Option(min=0, help="Times that RabbitMQ loses its disk.")] = 0,
    poisons: Annotated[int, typer.Option(min=0, help="Invalid messages that are published.")] = 20,
    duration: Annotated[
        float, typer.Option(min=1, help="Seconds over which the orders are sent.")
    ] = 600,
    component: Annotated[
        list[Component] | None, typer.Option(help="What is killed and disturbed; repeatable. (all)")
    ] = None,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster",
            help="Only on RabbitMQ, as a cluster of three nodes with quorum queues; of the faults"
            " of RabbitMQ, half are those of a leader.",
        ),
    ] = False,
    partitions: Annotated[
        int,
        typer.Option(
            min=1,
            help="Only on RabbitMQ: partitions of its queues; each restart of a service changes"
            " their number.",
        ),
    ] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same orders and faults.")] = 1,
    mutation: Annotated[
        str | None,
        typer.Option(help=f"Break the product: {', '.join(mutations.MUTATIONS)}."),
    ] = None,
) -> None:
    """Send orders while faults are injected, and count every broken guarantee."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # lost connections are expected
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the servers too
    if mutation not in {None, *mutations.MUTATIONS}:
        raise typer.BadParameter(f"there is no mutation {mutation!r}; --help names them")
    try:
        plans = [
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
                targets=frozenset(component or Component),
                mutation=mutation,
                cluster=cluster,
                partitions=partitions,
            )
            for each in broker or ([Broker.RABBITMQ] if cluster or partitions > 1 else Broker)
        ]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = Console()
    progress = Progress(console, stages=len(plans) * STAGES)
    broken = [_run(each, console, progress) for each in plans]
    sys.exit(1 if any(broken) else 0)


def _run(plan: RunPlan, console: Console, progress: Progress) -> bool:
    """Execute a run and print its result; return whether any guarantee was broken."""
    folder = Path(tempfile.mkdtemp(prefix=f"restaurant-faults-{plan.broker}-"))
    console.print(f"Run on {plan.broker}: the journal and all logs are in {folder}")
    report = asyncio.run(run_faults(plan, folder, progress.start))
    show(report, _title(plan), console)
    return bool(report.broken)


def _broker(plan: RunPlan) -> str:
    return f"a cluster of {plan.broker}" if plan.cluster else plan.broker


def _title(plan: RunPlan) -> str:
    kinds = Counter(fault.kind for fault in plan.faults())
    faults = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no faults"
    return (
        f"{plan.orders:,} orders over {plan.duration:g} s on {_broker(plan)}, seed {plan.seed}:"
        f" {faults}" + (f"; mutation: {plan.mutation}" if plan.mutation else "")
    )


if __name__ == "__main__":
    cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    cli.command()(main)
    cli()
