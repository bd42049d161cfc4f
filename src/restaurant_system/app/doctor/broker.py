"""Check the broker: reachability, rights, topology, a message sent round, and waiting messages."""

import asyncio
import shlex
from collections.abc import Mapping, Sequence

from restaurant_system.app.doctor import certificates
from restaurant_system.app.doctor.findings import (
    Check,
    Finding,
    count,
    error,
    has_error,
    ok,
    run_checks,
    warning,
)
from restaurant_system.app.health_checks import OUTBOX_DELAYED_AFTER
from restaurant_system.config import RabbitMQSettings, Settings
from restaurant_system.database import inspection, outbox, workers
from restaurant_system.database.connection_factory import ConnectionFactory
from restaurant_system.logger import reason
from restaurant_system.messaging import topology
from restaurant_system.messaging.postgres import inspection as queue_table
from restaurant_system.messaging.rabbitmq.inspection import RabbitMQInspection
from restaurant_system.models.clock import Clock
from restaurant_system.models.worker import Worker

NOTIFICATION_TIMEOUT = 2.0  # s
OLDEST, NEWEST = (3, 10), (4, 3)  # versions that are tested
RUNS_RABBITMQ = (
    "check that RabbitMQ runs and that the rabbitmq section of the configuration is right"
)
START_NODE = "start this node of the cluster, or correct rabbitmq.hosts"
ALARMS = "run rabbitmq-diagnostics alarms, which shows whether RabbitMQ lacks memory or disk"
CHECK_DATABASE = "see the findings about PostgreSQL"
START_WORKER = "start a kitchen worker, or open a station, that cooks this type"
READ_DEAD_LETTERS = "run restaurant-system dead-letters list, correct the cause, then requeue them"
DIRECT_CONNECTION = (
    "set database.direct_url, or connect to PostgreSQL directly or through a pooler in session mode"
)
RELAY = "start the order service, which publishes them, and read its log"


class DatabaseAccess:
    """How to connect to the database with our tables, or why that cannot be done."""

    def __init__(
        self,
        factory: ConnectionFactory | None,
        unusable: str | None,
        direct: ConnectionFactory | None = None,
    ) -> None:
        self._factory = factory
        self._direct = direct
        self.unusable = unusable

    @property
    def factory(self) -> ConnectionFactory:
        """Opens connections; must not be read if the database is unusable."""
        if self._factory is None:
            raise RuntimeError(self.unusable)
        return self._factory

    @property
    def direct(self) -> ConnectionFactory:
        """Opens connections to PostgreSQL itself, also if there is a pooler before it."""
        return self._direct or self.factory


async def check_rabbitmq(
    settings: Settings,
    rabbitmq: RabbitMQSettings,
    database: DatabaseAccess,
    clock: Clock,
    found: list[Finding],
) -> None:
    """Run all checks of RabbitMQ; waiting messages are compared with the registered workers."""
    inspected = RabbitMQInspection(rabbitmq, settings.delivery.retry_delays)

    async def connect() -> Sequence[Finding]:
        away = await inspected.nodes_away()
        version = await inspected.version()
        return [
            ok(f"connected to RabbitMQ {version}"),
            *(warning(f"{node}: {reason(failure)}", START_NODE) for node, failure in away.items()),
        ]

    async def check_queues() -> Sequence[Finding]:
        return _waiting(await inspected.depths(), await _online_workers(database))

    # Longer than its own, whose error says more: it tries all nodes together, then one by one.
    timeout = rabbitmq.connect_timeout * (len(rabbitmq.nodes()) + 1) + 1
    try:
        connection = Check("broker.connection", connect, RUNS_RABBITMQ, timeout)
        unreachable = has_error(await run_checks([connection], found))
        skip = "RabbitMQ is unreachable" if unreachable else None
        await run_checks(_rabbitmq_checks(inspected, rabbitmq, clock), found, skip=skip)
        queues = Check("broker.queues", check_queues, CHECK_DATABASE)
        await run_checks([queues], found, skip=skip or database.unusable)
    finally:
        await inspected.close()


def _rabbitmq_checks(
    inspected: RabbitMQInspection, rabbitmq: RabbitMQSettings, clock: Clock
) -> list[Check]:
    async def check_certificate() -> Sequence[Finding]:
        der = await inspected.peer_certificate()
        return [certificates.check_server_certificate(der, clock)]

    async def check_version() -> Sequence[Finding]:
        return [judge_version(await inspected.version())]

    async def check_rights() -> Sequence[Finding]:
        return [_rights(await inspected.lacking_rights(), rabbitmq)]

    async def check_topology() -> Sequence[Finding]:
        differences = await inspected.differences()
        if differences.refused:
            return [error(each.reason, each.cure) for each in differences.refused]
        if differences.absent:
            number = count(differences.absent, "exchange or queue", "exchanges and queues")
            return [ok(f"the next service that starts declares {number}")]
        return [ok("all exchanges and queues have the expected arguments")]

    async def send_round() -> Sequence[Finding]:
        return [_round_trip(await inspected.round_trip())]

    return [
        Check("broker.certificate", check_certificate, RUNS_RABBITMQ),
        Check("broker.version", check_version, RUNS_RABBITMQ),
        Check("broker.rights", check_rights, RUNS_RABBITMQ),
        Check("broker.topology", check_topology, RUNS_RABBITMQ),
        Check("broker.round_trip", send_round, ALARMS),
    ]


async def check_queue_table(database: DatabaseAccess, found: list[Finding]) -> None:
    """Run all checks of the broker in PostgreSQL."""

    async def send_round() -> Sequence[Finding]:
        async with inspection.inspecting(database.factory, read_only=False) as connection:
            return [_round_trip(await queue_table.round_trip(connection))]

    async def notify() -> Sequence[Finding]:
        async with (
            inspection.connected(database.direct) as listener,
            inspection.connected(database.factory) as sender,
        ):
            try:
                async with asyncio.timeout(NOTIFICATION_TIMEOUT):
                    await queue_table.wait_for_notification(listener, sender)
            except TimeoutError:
                late = f"no notification arrived within {NOTIFICATION_TIMEOUT:g} s"
                return [error(late, DIRECT_CONNECTION)]
        return [ok("a notification from one connection reached another")]

    async def check_queues() -> Sequence[Finding]:
        online = await _online_workers(database)
        async with inspection.inspecting(database.factory) as connection:
            depths = await queue_table.depths(connection)
            subscribers = await queue_table.subscriber_queues(connection)
        found = _waiting(depths, online)
        prefix = topology.subscriber_queue("")
        found += [
            warning(
                f"{count(each.waiting, 'message')} in {each.name}, which has no consumer",
                "start restaurant-system notification-subscriber --name"
                f" {each.name.removeprefix(prefix)}",
            )
            for each in subscribers
            if each.waiting and not each.unacknowledged
        ]
        return found

    checks = [
        Check("broker.round_trip", send_round, CHECK_DATABASE),
        Check("broker.notifications", notify, CHECK_DATABASE),
        Check("broker.queues", check_queues, CHECK_DATABASE),
    ]
    await run_checks(checks, found, skip=database.unusable)


async def check_outbox(database: DatabaseAccess, found: list[Finding]) -> None:
    """Check whether messages wait to be published."""

    async def check() -> Sequence[Finding]:
        async with inspection.inspecting(database.factory) as connection:
            backlog = await outbox.backlog(connection)
        message = f"{count(backlog.size, 'message')} to publish"
        if backlog.oldest_seconds > OUTBOX_DELAYED_AFTER:
            oldest = f"{message}, the oldest for {backlog.oldest_seconds:.0f} s"
            return [warning(oldest, RELAY)]
        return [ok(message)]

    await run_checks([Check("outbox", check, CHECK_DATABASE)], found, skip=database.unusable)


async def _online_workers(database: DatabaseAccess) -> list[Worker]:
    async with inspection.inspecting(database.factory) as connection:
        return await workers.list_online(connection)


def judge_version(name: str) -> Finding:
    """Judge a version such as 4.0.5; an empty one is unknown."""
    numbers = tuple(int(part) for part in name.split(".")[:2] if part.isdecimal())
    tested = f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"
    if numbers < OLDEST:
        shown = name or "without a version"
        return error(f"RabbitMQ {shown} is not supported", f"use RabbitMQ {tested}")
    if numbers > NEWEST:
        newer = f"RabbitMQ {name} is newer than the tested ones"
        return warning(newer, f"use RabbitMQ {tested}, or a later restaurant-system")
    return ok(f"RabbitMQ {name}")


def _rights(lacking: Mapping[str, Sequence[str]], rabbitmq: RabbitMQSettings) -> Finding:
    if not lacking:
        return ok("the user may configure, write and read every exchange and queue")
    listed = "; ".join(f"{name} ({', '.join(rights)})" for name, rights in lacking.items())
    vhost, user = rabbitmq.vhost_and_user()
    return error(
        f"the user {user} lacks rights: {listed}",
        f"run {shlex.join(['rabbitmqctl', 'set_permissions', '-p', vhost, user, *['.*'] * 3])}",
    )


def _round_trip(milliseconds: float) -> Finding:
    return ok(f"a message came back after {milliseconds:.1f} ms")


def _waiting(depths: Mapping[str, int], online: Sequence[Worker]) -> list[Finding]:
    """Judge the messages in the queues of the kitchen by the workers that are registered.

    RabbitMQ's number of consumers does not tell: while a queue is not empty, workers fetch.
    """
    found = []
    for order_type, queue in topology.SPECIALISED.items():
        waiting = depths.get(queue.name, 0)
        if waiting and not any(worker.can_cook(order_type) for worker in online):
            number = count(waiting, "message")
            message = f"{number} in {queue.name}, and no worker for {order_type} is online"
            found.append(warning(message, START_WORKER))
    waiting = depths.get(topology.GENERAL.name, 0)
    if waiting and not online:
        number = count(waiting, "message")
        message = f"{number} in {topology.GENERAL.name}, and no worker is online"
        found.append(warning(message, START_WORKER))
    dead = depths.get(topology.DEAD_LETTERS.name, 0)
    if dead:
        found.append(
            warning(
                f"{count(dead, 'dead letter')} in {topology.DEAD_LETTERS.name}", READ_DEAD_LETTERS
            )
        )
    total = sum(depths.values())
    return found or [ok(f"{count(total, 'message')} ready, {count(len(online), 'worker')} online")]
