"""One evening from the first order to the last look: driven, disturbed, settled, checked."""

import asyncio
import contextlib
from pathlib import Path

from tests.faults import checker
from tests.faults.checker import Report
from tests.faults.customers import Customers
from tests.faults.fault_injection import FaultInjector
from tests.faults.journal import Journal
from tests.faults.plan import RunPlan
from tests.faults.system import SystemUnderTest


async def spend(evening: RunPlan, folder: Path) -> Report:
    """Let an evening happen; `folder` keeps its journal and every service's log."""
    journal = Journal(folder / "journal.jsonl")
    with contextlib.closing(SystemUnderTest(evening, folder, journal)) as house:
        with contextlib.closing(journal):
            await _happen(evening, house, journal)
        management = house.rabbitmq.management if house.rabbitmq else None
        return await checker.check(journal.path, house.dsn, management)


async def _happen(evening: RunPlan, house: SystemUnderTest, journal: Journal) -> None:
    customers = Customers(evening, journal, house.addresses)
    havoc = FaultInjector(house, journal)
    async with house.opened():
        async with asyncio.TaskGroup() as group:
            group.create_task(customers.order())
            group.create_task(havoc.wreak(evening.faults()))
        await house.settled()
        await house.stop()
