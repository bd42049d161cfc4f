"""Run the commands on the personal data of one customer.

A signal interrupts each until its work is done, but not the closing of its connections.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from restaurant_system.app.actors import actor_of_command
from restaurant_system.app.runtime import database_and_broker
from restaurant_system.config import Settings
from restaurant_system.models.clock import utc_now
from restaurant_system.services.order.privacy import (
    Customer,
    Erased,
    ErasurePlan,
    PersonalData,
)
from restaurant_system.shutdown import Shutdown


async def export(settings: Settings, shutdown: Shutdown, customer: Customer) -> dict[str, Any]:
    """Return everything that is stored about the orders of a customer."""
    async with _personal_data(settings, shutdown) as personal_data:
        return await personal_data.export(customer)


async def plan(settings: Settings, shutdown: Shutdown, customer: Customer) -> ErasurePlan:
    """Return what erasing a customer would change."""
    async with _personal_data(settings, shutdown) as personal_data:
        return await personal_data.plan(customer)


async def erase(
    settings: Settings, shutdown: Shutdown, erasure: ErasurePlan, result: Erased
) -> Erased:
    """Erase the personal data of a plan."""
    async with _personal_data(settings, shutdown) as personal_data:
        return await personal_data.erase(erasure, result)


@contextlib.asynccontextmanager
async def _personal_data(settings: Settings, shutdown: Shutdown) -> AsyncIterator[PersonalData]:
    async with database_and_broker(settings, "privacy") as (database, broker):
        yield PersonalData(database, broker, clock=utc_now, by=actor_of_command())
        shutdown.stop_cancelling()
