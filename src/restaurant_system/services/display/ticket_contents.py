"""What a ticket says of its order, on the rail and in the list of bumped tickets."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from restaurant_system.database.tickets import TicketContents
from restaurant_system.models.clock import rfc_3339
from restaurant_system.models.money import Money, json_number
from restaurant_system.models.order import OrderType


class TicketModifier(BaseModel):
    """A change of an item: what is added, chosen or left out, or an instruction."""

    name: str
    kind: str
    quantity: int
    modifiers: "list[TicketModifier]" = []


class TicketItem(BaseModel):
    """An item of a ticket, without its price and its sku."""

    name: str
    quantity: int
    notes: str | None
    modifiers: list[TicketModifier] = []
    guest: str | None = None
    course: int | None = None


class TicketHead(BaseModel):
    """What a ticket says of its order, besides the items; times are RFC 3339, in UTC."""

    order_number: str
    order_type: OrderType
    handoff: str | None
    table_number: int | None
    table: str | None
    customer_name: str | None
    reference: str | None
    channel: str | None
    allergy_note: str | None
    notes: str | None
    ready_at: str | None
    amount_due: Money | None
    updated_at: str


def head_of(row: TicketContents) -> dict[str, Any]:
    """Return the fields of `TicketHead`, as JSON."""
    return {
        "order_number": row.number,
        "order_type": row.order_type.value,
        "handoff": row.handoff,
        "table_number": row.table_number,
        "table": row.table_label,
        "customer_name": row.customer_name,
        "reference": row.reference,
        "channel": row.channel,
        "allergy_note": row.allergy_note,
        "notes": row.notes,
        "ready_at": None if row.ready_at is None else rfc_3339(row.ready_at),
        "amount_due": None if row.amount_due is None else json_number(row.amount_due),
        "updated_at": rfc_3339(row.updated_at),
    }


def item_of(item: Mapping[str, Any]) -> TicketItem:
    """Return an item of an order as a ticket shows it."""
    return TicketItem.model_validate(item)
