"""Implement the broker without a further server, as a queue table in PostgreSQL.

The row of an unacknowledged message has the number of its consumer, and the consumer holds an
advisory lock on that number as long as its connection lives. When no session holds the lock, the
consumer is gone, and other consumers requeue its messages: as soon as the connection is closed, as
RabbitMQ does, and however long an order cooks. ``SKIP LOCKED`` lets many consumers claim messages
at once; ``LISTEN``/``NOTIFY`` wakes them.
"""

from restaurant_system.messaging.postgres.broker import PostgresBroker
from restaurant_system.messaging.postgres.consumer import LOCK_CLASS

__all__ = ["LOCK_CLASS", "PostgresBroker"]
