"""The broker that needs nothing else: a queue table in PostgreSQL.

A message in hand carries its consumer's number, and a consumer holds an advisory lock on that
number for as long as its connection lives. A number that nobody holds a lock on belongs to a dead
consumer, whose messages go back to their queues: as soon as its connection is gone, as in RabbitMQ,
and however long it cooks. ``SKIP LOCKED`` lets many take at once; ``LISTEN``/``NOTIFY`` wakes them.
"""

from restaurant_system.messaging.postgres.broker import PostgresBroker
from restaurant_system.messaging.postgres.consumer import LOCK_CLASS

__all__ = ["LOCK_CLASS", "PostgresBroker"]
