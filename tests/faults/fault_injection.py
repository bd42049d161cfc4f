"""What goes wrong in the house, done to real processes and real lines."""

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
from tests.faults.plan import SERVICES, Fault, Kind, Part
from tests.faults.system import SystemUnderTest
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.tcp_proxy import TcpProxy

DELAY = 0.1  # s by which a slow line holds up each packet
PATIENCE = 5.0  # s that a server has to answer
PAUSE = 0.3  # s before it is tried again

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
    """Lets faults happen in a house, and writes down when each has passed."""

    def __init__(self, house: SystemUnderTest, journal: Journal) -> None:
        self._house = house
        self._journal = journal
        self._busy = {part: asyncio.Lock() for part in Part}  # one thing at a time

    async def wreak(self, faults: list[Fault]) -> None:
        """Let everything happen at its time; return when all of it has passed."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, start + fault.at - time.monotonic()))
                group.create_task(self._hit(fault))

    async def _hit(self, fault: Fault) -> None:
        self._journal.write("fault", kind=f"{fault.kind} {fault.part}")
        if fault.kind is Kind.POISON:
            await self._poison(fault)
        elif fault.part in SERVICES:
            await self._hit_service(fault)
        else:
            async with self._busy[fault.part]:
                await self._hit_server(fault)
        self._journal.write("fault_lifted", kind=f"{fault.kind} {fault.part}")

    async def _hit_service(self, fault: Fault) -> None:
        services, lines = self._house.services[fault.part], self._house.lines[fault.part]
        service = services[fault.which % len(services)]
        match fault.kind:
            case Kind.KILL:
                await service.at_work()  # one that is down or idle has nothing to lose
                service.kill()
            case Kind.FREEZE:
                await service.freeze(fault.seconds)
            case Kind.CUT:
                async with self._busy[fault.part]:
                    await _cut(lines, fault.seconds)
            case Kind.DELAY:
                async with self._busy[fault.part]:
                    await _slow_down(lines, fault.seconds)
            case Kind.RESET:
                for line in lines:
                    await line.reset()
            case _:
                raise ValueError(fault)

    async def _hit_server(self, fault: Fault) -> None:
        server = self._house.postgres if fault.part is Part.POSTGRESQL else self._house.rabbitmq
        assert server is not None
        match fault.kind:
            case Kind.KILL:
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            case Kind.WIPE if isinstance(server, RabbitMQ):
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.wipe)
                await asyncio.to_thread(server.start)
            case Kind.FREEZE:
                server.freeze()
                try:
                    await asyncio.sleep(fault.seconds)
                finally:
                    server.thaw()
            case Kind.UNBIND:
                await _until_it_works(self._unbind)
            case _:
                raise ValueError(fault)

    async def _unbind(self) -> None:
        """Take the kitchen's queues off their exchanges, so that an order reaches none."""
        async with self._channel() as channel:
            for exchange, queue, key in BINDINGS:
                await channel.queue_unbind(queue, exchange, key)

    async def _poison(self, fault: Fault) -> None:
        """Put a message into a kitchen queue that nobody can read."""
        body = f"no JSON {uuid4()}"
        queue = BINDINGS[fault.which % len(BINDINGS)][1]
        put = self._put_into_rabbitmq if self._house.rabbitmq else self._put_into_postgres
        await _until_it_works(lambda: put(queue, body))
        self._journal.write("poisoned", body=body)

    async def _put_into_rabbitmq(self, queue: str, body: str) -> None:
        async with self._channel() as channel:
            await channel.basic_publish(
                body.encode(),
                routing_key=queue,
                properties=aiormq.spec.Basic.Properties(delivery_mode=2),
                mandatory=True,
            )

    async def _put_into_postgres(self, queue: str, body: str) -> None:
        sql = await asyncpg.connect(self._house.dsn)
        try:
            await sql.execute(POISON, queue, body.encode(), uuid4(), datetime.now(UTC))
        finally:
            await sql.close()

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        assert self._house.rabbitmq is not None
        connection = await aiormq.connect(self._house.rabbitmq.url("%2F"))
        try:
            yield await connection.channel()
        finally:
            await connection.close()


async def _cut(lines: Sequence[TcpProxy], seconds: float) -> None:
    for line in lines:
        await line.refuse()
    try:
        await asyncio.sleep(seconds)
    finally:
        for line in lines:
            await line.listen()


async def _slow_down(lines: Sequence[TcpProxy], seconds: float) -> None:
    for line in lines:
        line.dawdle(DELAY)
    try:
        await asyncio.sleep(seconds)
    finally:
        for line in lines:
            line.dawdle(0)


async def _until_it_works(deed: Callable[[], Awaitable[None]]) -> None:
    """Do something to a server that may be away for the moment."""
    while True:
        try:
            async with asyncio.timeout(PATIENCE):
                return await deed()
        except (OSError, aiormq.AMQPError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await asyncio.sleep(PAUSE)
