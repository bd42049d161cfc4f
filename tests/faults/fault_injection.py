"""Inject faults into the processes and connections of the system under test."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import aiormq
import asyncpg
from aiormq.abc import AbstractChannel

from tests.faults.journal import Journal
from tests.faults.plan import SERVICES, Component, Fault, Kind
from tests.faults.system import SystemUnderTest
from tests.support.rabbitmq_cluster import RabbitMQCluster
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.tcp_proxy import TcpProxy

DELAY = 0.1  # s by which a slow connection delays each packet
ATTEMPT_TIMEOUT = 5.0  # s
RETRY_DELAY = 0.3  # s

ORDER_TYPES = ("dine_in", "takeout", "delivery")
BINDINGS = (
    *(("orders_topic", f"kitchen_{kind}_queue", f"kitchen.{kind}.*") for kind in ORDER_TYPES),
    ("orders_unrouted", "kitchen_queue", ""),
)

POISON = """
INSERT INTO broker_messages (queue, priority, exchange, routing_key, type, body, message_id,
                             correlation_id, app_id, timestamp, content_type, headers)
VALUES ($1, 0, '', $1, '', $2, $3, '', '', $4, 'application/json', '{}')
"""


class FaultInjector:
    """Injects faults, and writes the start and the end of each to the journal."""

    def __init__(self, system: SystemUnderTest, journal: Journal) -> None:
        self._system = system
        self._journal = journal
        self._locks = {component: asyncio.Lock() for component in Component}  # one fault at a time

    async def inject(self, faults: list[Fault]) -> None:
        """Inject each fault at its time; return when all of them have ended."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, start + fault.at - time.monotonic()))
                group.create_task(self._inject(fault))

    async def _inject(self, fault: Fault) -> None:
        self._journal.write("fault", kind=_name_of(fault, self._system))
        if fault.kind is Kind.POISON:
            await self._poison(fault)
        elif fault.component in SERVICES:
            await self._inject_into_service(fault)
        else:
            async with self._locks[fault.component]:
                await self._inject_into_server(fault)
        self._journal.write("fault_ended", kind=_name_of(fault, self._system))

    async def _inject_into_service(self, fault: Fault) -> None:
        services, proxies = (
            self._system.services[fault.component],
            self._system.proxies[fault.component],
        )
        service = services[fault.which % len(services)]
        match fault.kind:
            case Kind.KILL:
                await service.wait_until_busy()  # killing one that is idle would test nothing
                service.kill()
            case Kind.FREEZE:
                await service.pause(fault.seconds)
            case Kind.CUT:
                async with self._locks[fault.component]:
                    await _cut_connections(proxies, fault.seconds)
            case Kind.DELAY:
                async with self._locks[fault.component]:
                    await _delay_packets(proxies, fault.seconds)
            case Kind.RESET:
                for proxy in proxies:
                    await proxy.reset()
            case _:
                raise ValueError(fault)

    async def _inject_into_server(self, fault: Fault) -> None:
        server = (
            self._system.postgres
            if fault.component is Component.POSTGRESQL
            else await asyncio.to_thread(self._choose_node, fault)
        )
        match fault.kind:
            case Kind.CUT if isinstance(server, RabbitMQ):
                number = 1 + self._system.nodes.index(server)
                proxies = [each[number] for each in self._system.proxies.values()]
                await _cut_connections(proxies, fault.seconds)
            case Kind.ISOLATE if isinstance(server, RabbitMQ):
                await self._isolate(server, fault.seconds)
            case Kind.KILL:
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            case Kind.WIPE if isinstance(server, RabbitMQ):
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.wipe)
                await asyncio.to_thread(server.start)
            case Kind.FREEZE:
                server.pause()
                try:
                    await asyncio.sleep(fault.seconds)
                finally:
                    server.resume()
            case Kind.UNBIND:
                await _retry(self._unbind)
            case _:
                raise ValueError(fault)

    async def _isolate(self, node: RabbitMQ, seconds: float) -> None:
        """Cut a node off from the others, which RabbitMQ pauses, and wait until it is back."""
        cluster = self._system.rabbitmq
        assert isinstance(cluster, RabbitMQCluster)
        await asyncio.to_thread(cluster.isolate, node)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(cluster.rejoin, node)
            await asyncio.to_thread(cluster.wait_until_complete)

    def _choose_node(self, fault: Fault) -> RabbitMQ:
        """Return a node of RabbitMQ: that of a queue's leader, or any."""
        cluster = self._system.rabbitmq
        if isinstance(cluster, RabbitMQCluster) and _hits_leader(fault):
            return cluster.leader_of(BINDINGS[fault.which % len(BINDINGS)][1])
        return self._system.nodes[fault.which % len(self._system.nodes)]

    async def _unbind(self) -> None:
        """Unbind the kitchen's queues from their exchanges, so that no order reaches a queue."""
        async with self._channel() as channel:
            for exchange, queue, key in BINDINGS:
                await channel.queue_unbind(queue, exchange, key)

    async def _poison(self, fault: Fault) -> None:
        """Publish a message that is not JSON to a kitchen queue."""
        body = f"no JSON {uuid4()}"
        queue = BINDINGS[fault.which % len(BINDINGS)][1]
        publish = self._publish_to_rabbitmq if self._system.rabbitmq else self._publish_to_postgres
        await _retry(lambda: publish(queue, body))
        self._journal.write("poison_published", body=body)

    async def _publish_to_rabbitmq(self, queue: str, body: str) -> None:
        async with self._channel() as channel:
            await channel.basic_publish(
                body.encode(),
                routing_key=queue,
                properties=aiormq.spec.Basic.Properties(delivery_mode=2),
                mandatory=True,
            )

    async def _publish_to_postgres(self, queue: str, body: str) -> None:
        sql = await asyncpg.connect(self._system.dsn)
        try:
            await sql.execute(POISON, queue, body.encode(), uuid4(), datetime.now(UTC))
        finally:
            await sql.close()

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        # Without one that answers the connection fails, and is tried again.
        node, *_ = sorted(self._system.nodes, key=lambda node: not node.answers)
        connection = await aiormq.connect(node.url("%2F"))
        try:
            yield await connection.channel()
        finally:
            await connection.close()


def _hits_leader(fault: Fault) -> bool:
    """Return whether a fault of a cluster is one of a leader; half of them are."""
    return fault.which % 2 == 0


def _name_of(fault: Fault, system: SystemUnderTest) -> str:
    role = "'s node" if len(system.nodes) > 1 and fault.component is Component.RABBITMQ else ""
    if (
        role
        and fault.kind in {Kind.KILL, Kind.FREEZE, Kind.CUT, Kind.ISOLATE}
        and _hits_leader(fault)
    ):
        role = "'s leader"
    return f"{fault.kind} {fault.component}{role}"


async def _cut_connections(proxies: Sequence[TcpProxy], seconds: float) -> None:
    for proxy in proxies:
        await proxy.refuse()
    try:
        await asyncio.sleep(seconds)
    finally:
        for proxy in proxies:
            await proxy.listen()


async def _delay_packets(proxies: Sequence[TcpProxy], seconds: float) -> None:
    for proxy in proxies:
        proxy.set_delay(DELAY)
    try:
        await asyncio.sleep(seconds)
    finally:
        for proxy in proxies:
            proxy.set_delay(0)


async def _retry(action: Callable[[], Awaitable[None]]) -> None:
    """Repeat an action until the server, which may be down, has done it."""
    while True:
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT):
                return await action()
        except (OSError, aiormq.AMQPError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await asyncio.sleep(RETRY_DELAY)
