"""Write, age and count outbox messages."""

from collections.abc import Sequence
from datetime import timedelta

from restaurant_system.config import OutboxSettings
from restaurant_system.database import outbox
from restaurant_system.database.connection import Database
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.models.message import Message
from tests.support.messages import RECEIVE_TIMEOUT
from tests.support.waiting import eventually

NUMBER, OTHER_NUMBER = "ORD_20241216_001", "ORD_20241216_002"
EVERYTHING = timedelta(days=-1)  # matches all rows

# No row of a test is old enough to be swept.
NO_SWEEP = OutboxSettings(sweep_interval=0.1, sweep_after=3600)


def sweep_settings(*, batch: int = 200, after: float = 0.001) -> OutboxSettings:
    """Return settings that sweep rows older than `after` seconds in batches."""
    return OutboxSettings(batch=batch, sweep_interval=0.05, sweep_after=after)


async def fill_outbox(
    database: Database, *messages: Message, about: str = NUMBER
) -> list[OutboxMessage]:
    """Commit outbox messages of one order."""
    async with database.transaction() as tx:
        return await outbox.add(tx, [(about, message) for message in messages])


async def fill_outbox_by_order(database: Database, *messages: Message) -> list[OutboxMessage]:
    """Commit outbox messages, each of another order."""
    about = [
        (f"ORD_20241216_{number:03d}", message) for number, message in enumerate(messages, start=1)
    ]
    async with database.transaction() as tx:
        return await outbox.add(tx, about)


def row_ids(messages: Sequence[OutboxMessage]) -> list[int]:
    """Return the row ids of outbox messages."""
    return [each.id for each in messages]


async def backdate(database: Database, row: int, by: timedelta) -> None:
    """Move the creation time of a row into the past."""
    statement = "UPDATE outbox SET created_at = created_at - $2::interval WHERE id = $1"
    async with database.connection() as connection:
        await connection.execute(statement, row, by)


async def backlog(database: Database) -> int:
    """Count the outbox messages."""
    async with database.connection() as connection:
        return (await outbox.backlog(connection)).size


async def wait_until_outbox_is_empty(database: Database, *, but_for: int = 0) -> None:
    """Wait until the outbox holds `but_for` messages."""

    async def is_empty() -> bool:
        return await backlog(database) == but_for

    await eventually(is_empty, doing="for an empty outbox", seconds=RECEIVE_TIMEOUT)
