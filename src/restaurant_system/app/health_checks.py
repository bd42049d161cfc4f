"""Check what a service depends on, for `/health`.

Each check returns details, with `status` unless that is `up`, or raises `Unavailable`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from restaurant_system.database import outbox
from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker

OUTBOX_DELAYED_AFTER = 10.0  # s; a relay that works publishes a message within 5 s of a crash

# Like web.health.Check: a worker that serves no HTTP does not load the HTTP libraries.
Check: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]


def of_database(database: Database) -> Check:
    """Return the check that the database answers, and opens new connections."""

    async def check() -> Mapping[str, Any]:
        state: dict[str, Any] = {"latency_ms": round(await database.ping(), 2)}
        if database.refused_connections is not None:
            state |= {"status": "degraded", "reason": database.refused_connections.reason}
        return state

    return check


def of_broker(broker: Broker) -> Check:
    """Return the check that the broker answers."""

    async def check() -> Mapping[str, Any]:
        return {"kind": broker.name, "latency_ms": round(await broker.ping(), 2)}

    return check


def of_outbox(database: Database) -> Check:
    """Return the check that messages do not wait to be published."""

    async def check() -> Mapping[str, Any]:
        async with database.connection() as connection:
            backlog = await outbox.backlog(connection)
        state: dict[str, Any] = {
            "size": backlog.size,
            "oldest_seconds": round(backlog.oldest_seconds, 1),
        }
        if backlog.oldest_seconds > OUTBOX_DELAYED_AFTER:
            reason = f"The oldest message has waited for {backlog.oldest_seconds:.0f} s"
            state |= {"status": "degraded", "reason": reason}
        return state

    return check


def of_consumer(is_consuming: Callable[[], bool]) -> Check:
    """Return the check that a worker or subscriber receives messages."""

    async def check() -> Mapping[str, Any]:
        if is_consuming():
            return {}
        return {"status": "down", "reason": "No consumer is open, so no message is received"}

    return check
