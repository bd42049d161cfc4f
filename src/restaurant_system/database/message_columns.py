"""Messages as rows: the columns that the outbox and the broker in PostgreSQL have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from restaurant_system.models.message import Message

COLUMNS = (
    "exchange",
    "routing_key",
    "type",
    "body",
    "message_id",
    "correlation_id",
    "app_id",
    "timestamp",
    "priority",
)


def columns(messages: Sequence[Message]) -> list[list[object]]:
    """Turn messages into one list for each of `COLUMNS`, as `unnest` wants them."""
    return [[getattr(message, name) for message in messages] for name in COLUMNS]


def message_of(row: asyncpg.Record, beside: Mapping[str, Any] | None = None) -> Message:
    """Read a message from its row, and from what the row has `beside` these columns."""
    return Message(**{name: row[name] for name in COLUMNS}, **(beside or {}))
