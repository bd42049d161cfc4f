"""The composition root: builds what a command needs, runs it, closes it.

Everything that a service leans on is made here and handed in; nothing below this module makes its
own.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from restaurant_system.config import OrderServiceSettings, Settings, TrackingServiceSettings
from restaurant_system.database import embedded, migrations, outbox, workers
from restaurant_system.database.connection import Database
from restaurant_system.foundation import (
    Foundation,
    begin,
    beside,
    broker_alone,
    foundation,
    open_database,
    reach,
    reading,
)
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.dead_letters import All, DeadLetter, Named, Tally
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.signature import Signer
from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import OrderType
from restaurant_system.services.kitchen.processor import Processor
from restaurant_system.services.kitchen.worker import KitchenWorker
from restaurant_system.services.notification.subscriber import NotificationSubscriber
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.services.order.reconciliation import Reconciliation
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.services.tracking.service import TrackingService
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, door, health, server
from restaurant_system.web.api import Feature
from restaurant_system.web.door import HandedLines
from restaurant_system.web.health import Dependency

LAST_NOTIFICATIONS = 0.2  # s for what was published last to come back to the printer of `up`


@dataclass(frozen=True, slots=True)
class Cook:
    """A worker to be started: its name, and what it cooks."""

    name: str
    order_types: tuple[OrderType, ...] = tuple(OrderType)


# --- the commands ---------------------------------------------------------------------------------


async def order_service(
    settings: Settings, shutdown: Shutdown, handed: HandedLines | None = None
) -> None:
    """Take orders over HTTP until asked to stop."""
    with _entrance(settings.order_service, shutdown, handed) as entrance:
        async with (
            foundation(settings, "order-service", shutdown) as base,
            _relay(base) as relay,
            _order_intake(base, relay) as intake,
        ):
            app = api.build("Order service", [intake, _health(base, base.database)])
            await server.serve(app, entrance, base.shutdown)


async def kitchen_worker(settings: Settings, shutdown: Shutdown, cook: Cook) -> None:
    """Cook until asked to stop."""
    async with foundation(settings, "kitchen-worker", shutdown) as base, _relay(base) as relay:
        await _worker(base, relay, cook).run(base.shutdown)


async def tracking_service(
    settings: Settings, shutdown: Shutdown, handed: HandedLines | None = None
) -> None:
    """Answer questions over HTTP until asked to stop."""
    with _entrance(settings.tracking_service, shutdown, handed) as entrance:
        async with (
            foundation(settings, "tracking-service", shutdown) as base,
            reading(base) as database,
        ):
            features = [_tracking(base, database), _health(base, database)]
            app = api.build("Tracking service", features)
            await server.serve(app, entrance, base.shutdown)


async def notification_subscriber(settings: Settings, shutdown: Shutdown, name: str | None) -> None:
    """Print status changes until asked to stop."""
    async with broker_alone(settings, "notification-subscriber") as broker:
        await reach(broker)
        begin("notification-subscriber", shutdown)
        await _subscriber(settings, broker, name).run(shutdown)


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
        return await dead_letters.requeue(broker, _signer(settings), chosen, tally)


async def discard_dead_letters(
    settings: Settings, _: Shutdown, chosen: Named | All, tally: Tally
) -> Tally:
    """Throw dead letters away."""
    async with broker_alone(settings, "dead-letters") as broker:
        return await dead_letters.discard(broker, chosen, tally)


async def up(
    settings: Settings, shutdown: Shutdown, cooks: Sequence[Cook], announce: Callable[[str], None]
) -> None:
    """Run everything in this process, on one port, until asked to stop.

    `announce` is called with the address once orders are taken. At the end the cooks finish what
    they cook, and the last notifications are printed.
    """
    with (
        embedded.only_one(settings.data_dir),
        contextlib.closing(_bind(settings.order_service)) as listening,
    ):
        async with (
            foundation(settings, "up", shutdown) as base,
            _printing(base),
            _relay(base) as relay,
        ):
            if settings.database is None:
                await _dismiss(base.database, cooks)
            async with (
                _order_intake(base, relay) as intake,
                reading(base) as database,
                asyncio.TaskGroup() as group,
            ):
                features = [intake, _tracking(base, database), _health(base, base.database)]
                app = api.build("Restaurant system", features)
                group.create_task(server.serve(app, listening, base.shutdown))
                for cook in cooks:
                    group.create_task(_worker(base, relay, cook).run(base.shutdown))
                announce(_address(listening))


# --- the parts ------------------------------------------------------------------------------------


def _bind(where: OrderServiceSettings | TrackingServiceSettings) -> socket.socket:
    return door.bind(where.host, where.port)


@contextlib.contextmanager
def _entrance(
    where: OrderServiceSettings | TrackingServiceSettings,
    shutdown: Shutdown,
    handed: HandedLines | None,
) -> Iterator[socket.socket | HandedLines]:
    """Take the port, unless a supervisor has it and hands us our lines."""
    if handed is None:
        with contextlib.closing(_bind(where)) as listening:
            yield listening
    else:
        with handed.watched(shutdown):
            yield handed


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def _relay(base: Foundation) -> AsyncIterator[Relay]:
    relay = Relay(base.database, base.broker, base.settings.outbox, _signer(base.settings))
    async with relay.running():
        yield relay


@contextlib.asynccontextmanager
async def _order_intake(base: Foundation, relay: Relay) -> AsyncIterator[Feature]:
    service = OrderService(
        base.database,
        relay,
        clock=utc_now,
        timezone=base.settings.timezone,
        key_lifetime=timedelta(hours=base.settings.idempotency_hours),
    )
    async with beside(service.forget_expired_keys()), _reconciliation(base, relay):
        yield OrderHandler(service, base.settings.order_service.max_concurrent).feature()


@contextlib.asynccontextmanager
async def _reconciliation(base: Foundation, relay: Relay) -> AsyncIterator[None]:
    settings = base.settings.reconciliation
    if not settings.enabled:
        yield
        return
    check = Reconciliation(base.database, base.broker, relay, settings, clock=utc_now)
    async with beside(check.run()):
        yield


def _tracking(base: Foundation, database: Database) -> Feature:
    service = TrackingService(
        database,
        base.broker,
        clock=utc_now,
        timezone=base.settings.timezone,
        kitchen=base.settings.kitchen,
    )
    return TrackingHandler(service).feature()


def _worker(base: Foundation, relay: Relay, cook: Cook) -> KitchenWorker:
    kitchen = base.settings.kitchen
    return KitchenWorker(
        base.database,
        base.broker,
        Processor(base.database, relay, worker_name=cook.name, kitchen=kitchen, clock=utc_now),
        name=cook.name,
        order_types=cook.order_types,
        kitchen=kitchen,
        session=uuid4(),
        signer=_signer(base.settings),
    )


def _subscriber(settings: Settings, broker: Broker, name: str | None) -> NotificationSubscriber:
    return NotificationSubscriber(broker, name, sys.stdout, _signer(settings))


def _signer(settings: Settings) -> Signer:
    return Signer(settings.signing.keys)


def _health(base: Foundation, database: Database) -> Feature:
    async def check_database() -> Mapping[str, Any]:
        return {"latency_ms": round(await database.ping(), 2)}

    async def check_broker() -> Mapping[str, Any]:
        return {"kind": base.broker.name, "latency_ms": round(await base.broker.ping(), 2)}

    async def check_outbox() -> Mapping[str, Any]:
        async with database.connection() as connection:
            backlog = await outbox.backlog(connection)
        return {"size": backlog.size, "oldest_seconds": round(backlog.oldest_seconds, 1)}

    return Feature(
        health.routes(
            Dependency("database", check_database, essential=True),
            Dependency("broker", check_broker, essential=False),
            Dependency("outbox", check_outbox, essential=False),
        )
    )


@contextlib.asynccontextmanager
async def _printing(base: Foundation) -> AsyncIterator[None]:
    """Print notifications for as long as the block lasts, and those of its last moments."""
    stop = Shutdown()
    async with asyncio.TaskGroup() as group:
        group.create_task(_subscriber(base.settings, base.broker, None).run(stop))
        yield
        await asyncio.sleep(LAST_NOTIFICATIONS)
        stop.ask()


async def _dismiss(database: Database, cooks: Sequence[Cook]) -> None:
    """Free the names of cooks whose process was killed: this directory is ours alone by now."""
    async with database.connection() as connection:
        await workers.dismiss(connection, [cook.name for cook in cooks])
