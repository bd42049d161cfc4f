"""The columns of a message, listed once for the outbox and for the broker in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from restaurant_system.models.message import Message

TYPES = {
    "exchange": "text",
    "routing_key": "text",
    "type": "text",
    "body": "bytea",
    "message_id": "uuid",
    "correlation_id": "text",
    "app_id": "text",
    "timestamp": "timestamptz",
    "priority": "smallint",
}
COLUMNS = ", ".join(TYPES)


def parameters(first: int) -> str:
    """Return one array parameter for each column, from `$first` on, as arguments of `unnest`."""
    return ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(TYPES.values(), first))


def values(messages: Sequence[Message]) -> list[list[object]]:
    """Return one list of values for each column, to be passed as `parameters`."""
    return [[getattr(message, name) for message in messages] for name in TYPES]


def message_from_row(row: asyncpg.Record, **others: Any) -> Message:  # noqa: ANN401 - any field
    """Return the message in a row; `others` are fields that are not among the columns."""
    return Message(**{name: row[name] for name in TYPES}, **others)
