"""Run the commands that end by themselves: migrations, and work on dead letters.

A signal interrupts each until its work is done, but not the closing of its connections.
"""

import contextlib
from collections.abc import AsyncIterator

from restaurant_system.app.actors import actor_of_command
from restaurant_system.app.runtime import broker_alone, database_and_broker, open_database, signer
from restaurant_system.config import Settings
from restaurant_system.database import migrations
from restaurant_system.database.connection import Database
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.dead_letters import All, ById, DeadLetter, Record, Result
from restaurant_system.models.audit import AuditAction
from restaurant_system.shutdown import Shutdown


async def migrate(settings: Settings, shutdown: Shutdown) -> list[str]:
    """Bring the schema up to date; return the names of the applied migrations."""
    async with _database(settings, shutdown) as database:
        return await migrations.migrate(database)


async def pending_migrations(settings: Settings, shutdown: Shutdown) -> list[str]:
    """Return the names of the migrations that `migrate` would apply."""
    async with _database(settings, shutdown) as database:
        return await migrations.pending(database)


async def read_dead_letters(settings: Settings, shutdown: Shutdown) -> list[DeadLetter]:
    """Return every dead letter, the oldest first."""
    async with _broker(settings, shutdown) as broker:
        return await dead_letters.read(broker)


async def requeue_dead_letters(
    settings: Settings, shutdown: Shutdown, selection: ById | All, result: Result
) -> Result:
    """Publish dead letters to the queues that they came from, and record who does."""
    action = AuditAction.REQUEUE_DEAD_LETTER
    async with _recorded_broker(settings, shutdown, action) as (broker, record):
        return await dead_letters.requeue(
            broker, signer(settings), selection, result, record=record
        )


async def discard_dead_letters(
    settings: Settings, shutdown: Shutdown, selection: ById | All, result: Result
) -> Result:
    """Discard the selected dead letters, and record who does."""
    action = AuditAction.DISCARD_DEAD_LETTER
    async with _recorded_broker(settings, shutdown, action) as (broker, record):
        return await dead_letters.discard(broker, selection, result, record=record)


@contextlib.asynccontextmanager
async def _database(settings: Settings, shutdown: Shutdown) -> AsyncIterator[Database]:
    async with open_database(settings, "migrate") as database:
        yield database
        shutdown.stop_cancelling()


@contextlib.asynccontextmanager
async def _broker(settings: Settings, shutdown: Shutdown) -> AsyncIterator[Broker]:
    async with broker_alone(settings, "dead-letters") as broker:
        yield broker
        shutdown.stop_cancelling()


@contextlib.asynccontextmanager
async def _recorded_broker(
    settings: Settings, shutdown: Shutdown, action: AuditAction
) -> AsyncIterator[tuple[Broker, Record]]:
    """Open the broker, and the database to record what the user of this machine does there."""
    async with database_and_broker(settings, "dead-letters") as (database, broker):
        yield broker, dead_letters.recorder(database, action, actor_of_command())
        shutdown.stop_cancelling()
