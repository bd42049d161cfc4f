"""Check what a service depends on, for `/health`.

Each check returns details, with `status` unless that is `up`, or raises `Unavailable`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from restaurant_system.database import outbox
from restaurant_system.database.connection import Database
from restaurant_system.database.reader import Reader
from restaurant_system.database.replicas import Replica, Replicas
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.messaging.broker import Broker

OUTBOX_DELAYED_AFTER = 10.0  # s; a relay that works publishes a message within 5 s of a crash

# Like web.health.Check: a worker that serves no HTTP does not load the HTTP libraries.
Check: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]


def of_database(database: Database | Replicas) -> Check:
    """Return the check that the database answers, and opens new connections."""

    async def check() -> Mapping[str, Any]:
        state: dict[str, Any] = {"latency_ms": round(await database.ping(), 2)}
        if database.refused_connections is not None:
            state |= {"status": "degraded", "reason": database.refused_connections.reason}
        return state

    return check


def of_replicas(replicas: Replicas) -> Check:
    """Return the check that all replicas can be read, and the primary.

    Replicas are listed in the order of the configuration, without their addresses, because anybody
    may see this.
    """

    async def check() -> Mapping[str, Any]:
        reasons = []
        try:
            await replicas.primary.ping()
        except DatabaseUnavailable:
            reasons.append("The primary is unavailable")
        left_out = sum(each.reason is not None for each in replicas.replicas)
        if replicas.selected is None:
            reasons.append("No replica can be read, so that reads go to the primary")
        elif left_out:
            reasons.append(f"{left_out} of {len(replicas.replicas)} replicas are left out")
        return {
            "reads_from": "primary" if replicas.selected is None else "replica",
            "replicas": [_state_of(each, replicas) for each in replicas.replicas],
            **({"status": "degraded", "reason": "; ".join(reasons)} if reasons else {}),
        }

    return check


def _state_of(replica: Replica, replicas: Replicas) -> dict[str, Any]:
    lag = None if replica.lag is None else round(replica.lag, 2)
    if replica.reason is not None:
        return {"status": "left_out", "lag_seconds": lag, "reason": replica.reason}
    return {"status": "read" if replica is replicas.selected else "standby", "lag_seconds": lag}


def of_broker(broker: Broker) -> Check:
    """Return the check that the broker answers."""

    async def check() -> Mapping[str, Any]:
        return {"kind": broker.name, "latency_ms": round(await broker.ping(), 2)}

    return check


def of_outbox(database: Reader) -> Check:
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
