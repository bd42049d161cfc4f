"""List the orders that are scheduled for later, on request of a station's screen."""

from typing import Annotated

from fastapi import Query

from restaurant_system.database import scheduled_orders, tracking_queries
from restaurant_system.database.connection import Database
from restaurant_system.models.access import Capability
from restaurant_system.models.order import OrderType
from restaurant_system.services.display.ticket_contents import (
    TicketHead,
    TicketItem,
    head_of,
    item_of,
)
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.openapi import PROBLEMS

MAX_LISTED = 100


class ScheduledTicket(TicketHead):
    """An order that is not released yet."""

    items: list[TicketItem]


class ScheduledTickets:
    """Lists the scheduled orders, those that are to be ready soonest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def feature(self) -> Feature:
        """Return the route."""
        router = GuardedRouter(tags=["kitchen"])
        router.add_api_route(
            "/kitchen/scheduled",
            self.list,
            methods=["GET"],
            requires=Capability.TICKETS,
            summary="List the orders that are scheduled for later, the soonest first",
            operation_id="list_scheduled_tickets",
            responses=PROBLEMS,
        )
        return Feature(router)

    async def list(
        self, order_type: Annotated[list[OrderType] | None, Query(max_length=len(OrderType))] = None
    ) -> list[ScheduledTicket]:
        """Return up to 100 scheduled orders, of all types unless some are given."""
        types = list(OrderType) if order_type is None else order_type
        async with self._database.connection() as connection:
            rows = await scheduled_orders.scheduled(connection, types, limit=MAX_LISTED)
            items = await tracking_queries.items(connection, [row.order_id for row in rows])
        return [
            ScheduledTicket(**head_of(row), items=[item_of(each) for each in items[row.order_id]])
            for row in rows
        ]
