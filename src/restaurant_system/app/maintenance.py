"""What is done once, and ends: migrations, and a person's way with dead letters."""

from restaurant_system.config import Settings
from restaurant_system.database import migrations
from restaurant_system.foundation import broker_alone, open_database, signer
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.dead_letters import All, DeadLetter, Named, Tally
from restaurant_system.shutdown import Shutdown


async def migrate(settings: Settings, _: Shutdown) -> list[str]:
    """Bring the schema up to date; return the names of what was applied."""
    async with open_database(settings, "migrate") as database:
        return await migrations.migrate(database)


async def pending_migrations(settings: Settings, _: Shutdown) -> list[str]:
    """Return what `migrate` would apply."""
    async with open_database(settings, "migrate") as database:
        return await migrations.pending(database)


async def read_dead_letters(settings: Settings, _: Shutdown) -> list[DeadLetter]:
    """Return every dead letter, the oldest first."""
    async with broker_alone(settings, "dead-letters") as broker:
        return await dead_letters.read(broker)


async def requeue_dead_letters(
    settings: Settings, _: Shutdown, chosen: Named | All, tally: Tally
) -> Tally:
    """Send dead letters back to where they first came from."""
    async with broker_alone(settings, "dead-letters") as broker:
        return await dead_letters.requeue(broker, signer(settings), chosen, tally)


async def discard_dead_letters(
    settings: Settings, _: Shutdown, chosen: Named | All, tally: Tally
) -> Tally:
    """Throw dead letters away."""
    async with broker_alone(settings, "dead-letters") as broker:
        return await dead_letters.discard(broker, chosen, tally)
