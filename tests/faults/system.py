"""Run the system under test: two servers, four services, and TCP proxies between them."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests.faults.customers import Services
from tests.faults.journal import Journal
from tests.faults.plan import SERVICES, Component, RunPlan
from tests.faults.service_process import ServiceProcess
from tests.support.postgres_server import Postgres
from tests.support.processes import free_port
from tests.support.rabbitmq_cluster import RabbitMQCluster
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.tcp_proxy import TcpProxy, proxy

WORKERS = {"anna": "dine_in,takeout,delivery", "bert": "dine_in,takeout", "carla": "delivery"}
SUBSCRIBERS = ("east", "west")
STARTED_ACTIONS = {
    Component.KITCHEN_WORKER: "worker_registered",
    Component.SUBSCRIBER: "subscribed",
}
BUSY_ACTIONS = {Component.KITCHEN_WORKER: "order_processing_started"}
START_TIMEOUT = 60.0  # s
STATISTICS_DELAY = 1.5  # s by which RabbitMQ's statistics may be late
QUORUM_STATISTICS_DELAY = 6.0  # s
POLL_INTERVAL = 0.25  # s
MARKER = "reconciliation_marker"
DEAD_LETTERS = "kitchen_dead_letter_queue"

# Intervals that suit a run of a minute.
SETTINGS = {
    "RESTAURANT_OUTBOX__SWEEP_INTERVAL": "0.5",
    "RESTAURANT_OUTBOX__SWEEP_AFTER": "1",
    "RESTAURANT_DELIVERY__RETRY_DELAYS": "[0.5, 1, 2]",
    "RESTAURANT_KITCHEN__COOKING_TIME_SCALE": "0.05",
    "RESTAURANT_KITCHEN__HEARTBEAT_INTERVAL": "1",
    "RESTAURANT_KITCHEN__PREFETCH": "10",
    "RESTAURANT_ORDER_SERVICE__HOST": "127.0.0.1",
    "RESTAURANT_TRACKING_SERVICE__HOST": "127.0.0.1",
    "RESTAURANT_LOG__FORMAT": "json",
}

# Reconciliation restores what was lost with a disk. Without wipes it is off, because it would hide
# other losses.
RECONCILIATION = {
    "RESTAURANT_RECONCILIATION__INTERVAL": "2",
    "RESTAURANT_RECONCILIATION__AFTER": "3",
}
NO_RECONCILIATION = {"RESTAURANT_RECONCILIATION__ENABLED": "false"}

UNSETTLED = """
SELECT EXISTS (SELECT FROM orders WHERE status IN ('received', 'cooking'))
    OR EXISTS (SELECT FROM outbox)
    OR EXISTS (SELECT FROM broker_messages WHERE queue <> 'kitchen_dead_letter_queue')
"""


class SystemUnderTest:
    """Two servers, eight processes of four services, and a proxy for each service and server."""

    def __init__(self, plan: RunPlan, folder: Path, journal: Journal) -> None:
        self._plan = plan
        self._folder = folder
        self._journal = journal
        self._order_ports, self._tracking_port = [free_port(), free_port()], free_port()
        self.postgres = Postgres(fsync=True)
        self.rabbitmq = _rabbitmq(plan)
        self.proxies: dict[Component, list[TcpProxy]] = {}
        self.services: dict[Component, list[ServiceProcess]] = {}

    @property
    def dsn(self) -> str:
        """The URL of the database, without a proxy."""
        return self.postgres.dsn("postgres")

    @property
    def nodes(self) -> list[RabbitMQ]:
        """The nodes of RabbitMQ: none, one, or those of the cluster."""
        match self.rabbitmq:
            case RabbitMQCluster():
                return self.rabbitmq.nodes
            case RabbitMQ():
                return [self.rabbitmq]
            case _:
                return []

    @property
    def addresses(self) -> Services:
        """The addresses of the HTTP services."""
        orders, tracking = (f"http://127.0.0.1:{p}" for p in self._order_ports), self._tracking_port
        return Services(tuple(orders), f"http://127.0.0.1:{tracking}")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all services for as long as the block lasts; wait until they have started."""
        async with contextlib.AsyncExitStack() as stack:
            for component in SERVICES:
                ports = [self.postgres.port, *(node.port for node in self.nodes)]
                self.proxies[component] = [
                    await stack.enter_async_context(proxy(port)) for port in ports
                ]
            self._define_services()
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(service.run()) for service in self._all_services()]
                try:
                    async with asyncio.timeout(START_TIMEOUT):
                        await asyncio.gather(
                            *(service.wait_until_started() for service in self._all_services())
                        )
                        await _eventually(self._ready)
                    yield
                finally:
                    for service in self._all_services():
                        service.kill()
                    for task in running:
                        task.cancel()

    def close(self) -> None:
        """Stop the servers and delete their data."""
        self.postgres.close()
        if self.rabbitmq is not None:
            self.rabbitmq.close()

    async def wait_until_settled(self) -> None:
        """Wait until all orders and messages are handled, or until `settle_timeout`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._plan.settle_timeout):
                await _eventually(self._is_settled)
                if self.rabbitmq is not None:
                    await asyncio.sleep(
                        QUORUM_STATISTICS_DELAY if self._plan.cluster else STATISTICS_DELAY
                    )

    async def stop(self) -> None:
        """Stop every service with SIGTERM, and wait for it."""
        await asyncio.gather(*(service.stop() for service in self._all_services()))

    def _define_services(self) -> None:
        """Define the processes of all services."""
        self._journal.write("plan", orders=self._plan.orders, subscribers=len(SUBSCRIBERS))
        for port in self._order_ports:
            self._add(Component.ORDER_SERVICE, f"order-service-{port}", "--port", str(port))
        for name, kinds in WORKERS.items():
            options = ("--worker-name", name, "--order-types", kinds)
            self._add(Component.KITCHEN_WORKER, name, *options)
        for name in SUBSCRIBERS:
            self._journal.write("subscriber", name=name)
            self._add(Component.SUBSCRIBER, name, "--name", name)
        self._add(Component.TRACKING_SERVICE, "tracking", "--port", str(self._tracking_port))

    def _add(self, component: Component, name: str, *options: str) -> None:
        service = ServiceProcess(
            name,
            [component, *options],
            mutation=self._plan.mutation,
            started_action=STARTED_ACTIONS.get(component, "service_started"),
            busy_action=BUSY_ACTIONS.get(component, "service_started"),
            environments=self._environments(component),
            folder=self._folder,
            journal=self._journal,
        )
        self.services.setdefault(component, []).append(service)

    def _environments(self, component: Component) -> Iterator[Mapping[str, str]]:
        """Yield the environment of each start; from the second one on, partitions change."""
        environment, count = self._environment(component), self._plan.partitions
        if count == 1:
            yield from itertools.repeat(environment)
        for partitions in itertools.chain([count], itertools.cycle(range(1, count + 1))):
            yield {**environment, "RESTAURANT_RABBITMQ__PARTITIONS": str(partitions)}

    def _environment(self, component: Component) -> Mapping[str, str]:
        database, *nodes = self.proxies[component]
        servers = {
            "RESTAURANT_DATABASE__URL": f"postgresql://postgres@127.0.0.1:{database.port}/postgres"
        }
        if nodes:
            hosts = ",".join(f"127.0.0.1:{each.port}" for each in nodes)
            servers |= {
                "RESTAURANT_RABBITMQ__URL": f"amqp://guest:guest@{hosts}/%2F",
                "RESTAURANT_RABBITMQ__QUEUE_TYPE": "quorum" if self._plan.cluster else "classic",
                "RESTAURANT_RABBITMQ__HEARTBEAT": "5",
            }
        reconciliation = RECONCILIATION if self._plan.wipes else NO_RECONCILIATION
        return {**SETTINGS, **reconciliation, **servers}

    def _all_services(self) -> list[ServiceProcess]:
        return [service for component in self.services.values() for service in component]

    async def _ready(self) -> bool:
        """Return whether the HTTP services answer."""
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - there is no TLS here
            addresses = self.addresses
            for address in (*addresses.order_services, addresses.tracking):
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{address}/health")).is_success:
                        continue
                return False
        return True

    async def _is_settled(self) -> bool:
        if (await self._first_column(UNSETTLED))[0]:
            return False
        if self.rabbitmq is None:
            return True
        with self.rabbitmq.api as api:
            queues = api.get("/queues/%2F").raise_for_status().json()
        if self._plan.wipes and MARKER not in {queue["name"] for queue in queues}:
            return False  # lost updates are not yet published again
        return not any(q.get("messages") for q in queues if q["name"] != DEAD_LETTERS)

    async def _first_column(self, query: str) -> list[Any]:
        sql = await asyncpg.connect(self.dsn)
        try:
            return [row[0] for row in await sql.fetch(query)]
        finally:
            await sql.close()


def _rabbitmq(plan: RunPlan) -> RabbitMQ | RabbitMQCluster | None:
    """Start the broker of a run, unless it is in PostgreSQL."""
    if plan.broker != "rabbitmq":
        return None
    server = RabbitMQCluster(proxies=True) if plan.cluster else RabbitMQ()
    server.start()
    return server


async def _eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll until `condition` holds; errors of a server that is down count as false."""
    while True:
        with contextlib.suppress(OSError, asyncpg.PostgresError, httpx.HTTPError):
            if await condition():
                return
        await asyncio.sleep(POLL_INTERVAL)
