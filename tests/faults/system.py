"""The house of an evening: two servers, four services, and the lines between them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests.faults.customers import Services
from tests.faults.journal import Journal
from tests.faults.plan import SERVICES, Part, RunPlan
from tests.faults.service_process import ServiceProcess
from tests.support.postgres_server import Postgres
from tests.support.processes import free_port
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.tcp_proxy import TcpProxy, proxy

ROOT = Path(__file__).parents[2]
COOKS = {"anna": "dine_in,takeout,delivery", "bert": "dine_in,takeout", "carla": "delivery"}
SUBSCRIBERS = ("east", "west")
UP_WHEN = {Part.KITCHEN_WORKER: "worker_registered", Part.SUBSCRIBER: "subscribed"}
BUSY_WHEN = {Part.KITCHEN_WORKER: "order_processing_started"}
START_PATIENCE = 60.0  # s
LAST_WORDS = 1.5  # s for what RabbitMQ's figures, which are late, did not show yet
LOOK = 0.25  # s between two looks
MARKER = "reconciliation_marker"
DEAD_LETTERS = "kitchen_dead_letter_queue"

# Patience to fit an evening of a minute.
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

# Reconciliation is there for a lost disk. Where none is lost it stays out of the house, so that it
# hides no other loss.
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
    """Everything that runs in an evening: two servers, four services, and their lines."""

    def __init__(self, evening: RunPlan, folder: Path, journal: Journal) -> None:
        self._evening = evening
        self._folder = folder
        self._journal = journal
        self._order_ports, self._tracking_port = [free_port(), free_port()], free_port()
        self.postgres = Postgres(fsync=True)
        self.rabbitmq = RabbitMQ() if evening.broker == "rabbitmq" else None
        self.lines: dict[Part, list[TcpProxy]] = {}
        self.services: dict[Part, list[ServiceProcess]] = {}

    @property
    def dsn(self) -> str:
        """The database, on a line of its own."""
        return self.postgres.dsn("postgres")

    @property
    def addresses(self) -> Services:
        """Where customers find the services."""
        orders, tracking = (f"http://127.0.0.1:{p}" for p in self._order_ports), self._tracking_port
        return Services(tuple(orders), f"http://127.0.0.1:{tracking}")

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Have everything run for as long as the block lasts; wait until it does."""
        async with contextlib.AsyncExitStack() as stack:
            for part in SERVICES:
                servers = [server for server in (self.postgres, self.rabbitmq) if server]
                self.lines[part] = [
                    await stack.enter_async_context(proxy(server.port)) for server in servers
                ]
            self._furnish()
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(service.run()) for service in self._everyone()]
                try:
                    async with asyncio.timeout(START_PATIENCE):
                        await asyncio.gather(*(service.up() for service in self._everyone()))
                        await _eventually(self._ready)
                    yield
                finally:
                    for service in self._everyone():
                        service.kill()
                    for task in running:
                        task.cancel()

    def close(self) -> None:
        """Stop the servers and remove what they stored."""
        self.postgres.close()
        if self.rabbitmq is not None:
            self.rabbitmq.close()

    async def settled(self) -> None:
        """Wait until nothing is on its way any more; not for ever, the checker counts the rest."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._evening.patience):
                await _eventually(self._nothing_moves)
                if self.rabbitmq is not None:
                    await asyncio.sleep(LAST_WORDS)

    async def stop(self) -> None:
        """Ask every service to stop, and wait until it has."""
        await asyncio.gather(*(service.stop() for service in self._everyone()))

    # --- what runs --------------------------------------------------------------------------------

    def _furnish(self) -> None:
        """Say what is to run, and by which lines."""
        self._journal.write("evening", orders=self._evening.orders, subscribers=len(SUBSCRIBERS))
        for port in self._order_ports:
            self._add(Part.ORDER_SERVICE, f"order-service-{port}", "--port", str(port))
        for name, kinds in COOKS.items():
            options = ("--worker-name", name, "--order-types", kinds)
            self._add(Part.KITCHEN_WORKER, name, *options)
        for name in SUBSCRIBERS:
            self._journal.write("subscriber", name=name)
            self._add(Part.SUBSCRIBER, name, "--name", name)
        self._add(Part.TRACKING_SERVICE, "tracking", "--port", str(self._tracking_port))

    def _add(self, part: Part, name: str, *options: str) -> None:
        sabotage = self._evening.sabotage
        program = (
            ["restaurant_system"] if sabotage is None else ["tests.faults.mutations", sabotage]
        )
        service = ServiceProcess(
            name,
            [*program, part, *options],
            up_when=UP_WHEN.get(part, "service_started"),
            busy_when=BUSY_WHEN.get(part, "service_started"),
            environment=self._environment(part),
            folder=self._folder,
            journal=self._journal,
        )
        self.services.setdefault(part, []).append(service)

    def _environment(self, part: Part) -> Mapping[str, str]:
        database, *broker = self.lines[part]
        servers = {
            "RESTAURANT_DATABASE__URL": f"postgresql://postgres@127.0.0.1:{database.port}/postgres"
        }
        for line in broker:
            url = f"amqp://guest:guest@127.0.0.1:{line.port}/%2F"
            servers |= {"RESTAURANT_RABBITMQ__URL": url, "RESTAURANT_RABBITMQ__HEARTBEAT": "5"}
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        reconciliation = RECONCILIATION if self._evening.wipes else NO_RECONCILIATION
        return {**SETTINGS, **reconciliation, **servers, "PYTHONPATH": path}

    def _everyone(self) -> list[ServiceProcess]:
        return [service for part in self.services.values() for service in part]

    async def _ready(self) -> bool:
        """Tell whether requests are answered."""
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - there is no TLS here
            addresses = self.addresses
            for address in (*addresses.order_services, addresses.tracking):
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{address}/health")).is_success:
                        continue
                return False
        return True

    async def _nothing_moves(self) -> bool:
        if (await self._column(UNSETTLED))[0]:
            return False
        if self.rabbitmq is None:
            return True
        with self.rabbitmq.api as api:
            queues = api.get("/queues/%2F").raise_for_status().json()
        if self._evening.wipes and MARKER not in {queue["name"] for queue in queues}:
            return False  # what subscribers may have missed is yet to be told again
        return not any(q.get("messages") for q in queues if q["name"] != DEAD_LETTERS)

    async def _column(self, query: str) -> list[Any]:
        sql = await asyncpg.connect(self.dsn)
        try:
            return [row[0] for row in await sql.fetch(query)]
        finally:
            await sql.close()


async def _eventually(what: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as `what` comes true; a server that is away for the moment is no answer."""
    while True:
        with contextlib.suppress(OSError, asyncpg.PostgresError, httpx.HTTPError):
            if await what():
                return
        await asyncio.sleep(LOOK)
