"""Run one plan: send orders, inject faults, wait until all is handled, and check the result."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from tests.faults import checker
from tests.faults.checker import Report
from tests.faults.customers import Customers
from tests.faults.fault_injection import FaultInjector
from tests.faults.journal import Journal
from tests.faults.plan import RunPlan
from tests.faults.system import SystemUnderTest

STAGES = 5  # that are reported


def _report_nothing(_stage: str) -> None:
    """Ignore a progress report: the default of `run_faults`."""


async def run_faults(
    plan: RunPlan, folder: Path, start_stage: Callable[[str], None] = _report_nothing
) -> Report:
    """Execute a run; write its journal and the log of each service to `folder`.

    `start_stage` is called with the name of each of the `STAGES` when it starts.
    """
    start_stage(f"start the servers of the run on {plan.broker}")
    journal = Journal(folder / "journal.jsonl")
    with contextlib.closing(SystemUnderTest(plan, folder, journal)) as system:
        with contextlib.closing(journal):
            await _run(plan, system, journal, start_stage)
        start_stage("check the guarantees")
        management = system.rabbitmq.management if system.rabbitmq else None
        return await checker.check(journal.path, system.dsn, management)


async def _run(
    plan: RunPlan, system: SystemUnderTest, journal: Journal, start_stage: Callable[[str], None]
) -> None:
    customers = Customers(plan, journal, system.addresses)
    injector = FaultInjector(system, journal)
    faults = plan.faults()
    start_stage("start the services")
    async with system.running():
        start_stage(f"{plan.orders:,} orders and {len(faults)} faults over {plan.duration:g} s")
        async with asyncio.TaskGroup() as group:
            group.create_task(customers.order())
            group.create_task(injector.inject(faults))
        start_stage("wait until all orders and messages are handled")
        await system.wait_until_settled()
        await system.stop()
