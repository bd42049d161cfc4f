"""What a station was done with, and could take back."""

from pydantic import BaseModel

from restaurant_system.database import tickets, tracking
from restaurant_system.database.connection import Database
from restaurant_system.models.clock import rfc_3339
from restaurant_system.models.order import OrderType


class Line(BaseModel):
    """One line of an order, as the kitchen sees it."""

    name: str
    quantity: int
    notes: str | None


class Bumped(BaseModel):
    """An order that a station has bumped, and that is still ready; times are RFC 3339, in UTC."""

    order_number: str
    order_type: OrderType
    table_number: int | None
    items: list[Line]
    bumped_at: str
    updated_at: str


class Recallable:
    """Looks up what could be recalled."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def at(self, station: str) -> list[Bumped]:
        """Return up to 50 of a station's, the latest first."""
        async with self._database.connection() as connection:
            rows = await tickets.bumped(connection, station)
            items = await tracking.items(connection, [row.order_id for row in rows])
        return [
            Bumped(
                order_number=row.number,
                order_type=row.order_type,
                table_number=row.table_number,
                items=[
                    Line(name=item["name"], quantity=item["quantity"], notes=item["notes"])
                    for item in items[row.order_id]
                ],
                bumped_at=rfc_3339(row.bumped_at),
                updated_at=rfc_3339(row.updated_at),
            )
            for row in rows
        ]
