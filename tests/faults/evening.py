"""One evening from the first order to the last look: driven, disturbed, settled, checked."""

import asyncio
import contextlib
from pathlib import Path

from tests.faults import checker
from tests.faults.checker import Report
from tests.faults.customers import Customers
from tests.faults.havoc import Havoc
from tests.faults.house import House
from tests.faults.journal import Journal
from tests.faults.plan import Evening


async def spend(evening: Evening, folder: Path) -> Report:
    """Let an evening happen; `folder` keeps its journal and every service's log."""
    journal = Journal(folder / "journal.jsonl")
    with contextlib.closing(House(evening, folder, journal)) as house:
        with contextlib.closing(journal):
            await _happen(evening, house, journal)
        management = house.rabbitmq.management if house.rabbitmq else None
        return await checker.check(journal.path, house.dsn, management)


async def _happen(evening: Evening, house: House, journal: Journal) -> None:
    customers = Customers(evening, journal, house.addresses)
    havoc = Havoc(house, journal)
    async with house.opened():
        async with asyncio.TaskGroup() as group:
            group.create_task(customers.order())
            group.create_task(havoc.wreak(evening.faults()))
        await house.settled()
        await house.stop()
