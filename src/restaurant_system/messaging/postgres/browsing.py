"""Everything that is in a queue, in the hand of one, and settled many at a time."""

from collections.abc import Sequence

from restaurant_system.database import error_translation
from restaurant_system.database.connection import Database
from restaurant_system.database.connection_factory import UnpooledConnection
from restaurant_system.errors import DeadLettersInHand, QueueTableUnavailable
from restaurant_system.messaging.broker import Delivery
from restaurant_system.messaging.postgres.consumer import PostgresConsumer
from restaurant_system.messaging.postgres.delivery import PostgresDelivery
from restaurant_system.messaging.postgres.line import translate_errors

BROWSING = 72_782  # sets the lock of whoever browses a queue apart from a consumer's

BE_THE_ONLY_ONE = "SELECT pg_try_advisory_lock($1, hashtext($2))"


class PostgresBrowser(PostgresConsumer):
    """Takes all that a queue holds, if nobody else browses it; the lock lives as long as its line.

    Raises `DeadLettersInHand` where somebody does.
    """

    async def _open(self, line: UnpooledConnection) -> None:
        (queue,) = self._queues
        await super()._open(line)
        with translate_errors(), error_translation.translate_errors():
            if not await line.fetchval(BE_THE_ONLY_ONE, BROWSING, queue):
                raise DeadLettersInHand

    async def take_all(self) -> list[Delivery]:
        """Take everything that is there."""
        await self._bury_the_dead()
        await self._claim()
        return list(self._claimed)


SETTLE_ALL = """
DELETE FROM broker_messages USING unnest($1::bigint[], $2::integer[]) AS held (id, consumer)
WHERE broker_messages.id = held.id AND broker_messages.consumer = held.consumer
RETURNING held.id
"""


async def ack_all(database: Database, deliveries: Sequence[Delivery]) -> None:
    """Acknowledge all of them or, if one is no longer in hand, none."""
    rows = [each for each in deliveries if isinstance(each, PostgresDelivery)]
    with translate_errors():
        async with database.transaction() as tx:
            settled = await tx.fetch(
                SETTLE_ALL, [each.id for each in rows], [each.holder for each in rows]
            )
            if len(settled) < len(deliveries):
                raise QueueTableUnavailable("A message was requeued: the connection broke")
