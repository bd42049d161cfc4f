"""The columns of a message, listed once for the outbox and for the broker in PostgreSQL."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import jiter

from restaurant_system.models.message import Header, Message, supported_headers

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
    "headers": "jsonb",
}
COLUMNS = ", ".join(TYPES)
FIELDS = tuple(TYPES)[:-1]  # stored as they are; headers are encoded
NO_HEADERS = "{}"


def parameters(first: int) -> str:
    """Return one array parameter for each column, from `$first` on, as arguments of `unnest`."""
    return ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(TYPES.values(), first))


def values(messages: Sequence[Message]) -> list[list[object]]:
    """Return one list of values for each column, to be passed as `parameters`."""
    fields = [[getattr(message, name) for message in messages] for name in FIELDS]
    return [*fields, [encode_headers(message.headers) for message in messages]]


def message_from_row(row: asyncpg.Record, **others: Any) -> Message:  # noqa: ANN401 - any field
    """Return the message in a row; `others` are fields that are not among the columns."""
    fields = {name: row[name] for name in FIELDS}
    return Message(**fields, headers=_decode_headers(row["headers"]), **others)


def encode_headers(headers: Mapping[str, Header]) -> str:
    """Return the headers of a message as JSON."""
    return json.dumps(dict(headers)) if headers else NO_HEADERS


def _decode_headers(text: str | None) -> Mapping[str, Header]:
    """Decode headers; malformed ones, which a third-party publisher wrote, are dropped."""
    if text is None or text == NO_HEADERS:
        return {}
    try:
        headers = jiter.from_json(text.encode())
    except ValueError:
        return {}
    return supported_headers(headers) if isinstance(headers, dict) else {}
