"""Inspect a RabbitMQ server for `doctor`, without declaring or consuming anything of ours.

The rights of a user are found by requests that RabbitMQ refuses in any case, after it has checked
the right: a declaration or a consumption with an invalid argument, and the removal of a binding
that does not exist. RabbitMQ logs the refusals.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import aiormq
from aiormq.abc import DeliveredMessage

from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerRefuses, BrokerUnavailable
from restaurant_system.messaging import topology
from restaurant_system.messaging.doctor_message import make_test_message
from restaurant_system.messaging.rabbitmq.connection import RabbitMQConnection
from restaurant_system.messaging.rabbitmq.declaration import (
    CLASSIC,
    Declarations,
    ExchangeDeclaration,
    QueueDeclaration,
    exchanges,
)
from restaurant_system.messaging.rabbitmq.error_translation import (
    explain_missing_confirms,
    is_missing,
)
from restaurant_system.messaging.rabbitmq.partitions import Partitions
from restaurant_system.messaging.rabbitmq.publishing import Publisher

CONFIRM_TIMEOUT = 3.0  # s
POLL_INTERVAL = 0.02  # s
NEVER_BOUND = "doctor-never-bound"

Request = Callable[[aiormq.Channel], Awaitable[object]]


@dataclass(slots=True)
class Differences:
    """What cannot be declared, because it exists with other arguments, and how much is absent."""

    refused: list[BrokerRefuses] = field(default_factory=list)
    absent: int = 0


class RabbitMQInspection:
    """Inspects one virtual host; each method opens the connection if there is none.

    Raises `BrokerUnavailable`, or `BrokerRefuses` if RabbitMQ answers and refuses.
    """

    def __init__(self, settings: RabbitMQSettings, retry_delays: Sequence[float]) -> None:
        self._connection = RabbitMQConnection(settings)
        self._nodes = settings.nodes()
        self._partitions = Partitions(settings.partitions)
        self._declarations = Declarations(settings.queue_type, retry_delays, self._partitions)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def nodes_away(self) -> dict[str, BrokerUnavailable]:
        """Return the nodes of a cluster to which no connection is possible, each with its error.

        Raises the error of a node if there is no connection to any.
        """
        errors = await asyncio.gather(*map(_connection_error, self._nodes))
        if all(errors):
            raise next(filter(None, errors))
        names = [each.address() for each in self._nodes]
        return {name: error for name, error in zip(names, errors, strict=True) if error}

    async def version(self) -> str:
        """Return the server's version, such as 4.0.5; it is empty if the server does not say."""
        properties = await self._connection.server_properties()
        return str(properties.get("version", ""))

    async def peer_certificate(self) -> bytes | None:
        """Return the server's certificate (DER); `None` if the connection is not encrypted."""
        return await self._connection.peer_certificate()

    async def lacking_rights(self) -> dict[str, list[str]]:
        """Return the rights that the user lacks, by the name of the exchange or queue."""
        requests = {each.name: _exchange_requests(each.name) for each in exchanges()}
        for queue in (*self._declarations.queues(), self._declarations.marker()):
            requests[queue.name] = _queue_requests(queue.name)
        if self._declarations.queue_type == "quorum":
            lock = topology.lock_queue(topology.DEAD_LETTERS.name)
            requests[lock] = _lock_requests(lock)
        lacking = await asyncio.gather(*map(self._lacking, requests.values()))
        return {name: rights for name, rights in zip(requests, lacking, strict=True) if rights}

    async def differences(self) -> Differences:
        """Compare what exists with our declarations."""
        declarations: list[ExchangeDeclaration | QueueDeclaration] = [
            *exchanges(),
            *self._declarations.queues(),
        ]
        found = Differences()
        await asyncio.gather(*(self._compare(each, found) for each in declarations))
        return found

    async def depths(self) -> dict[str, int]:
        """Return the number of ready messages in each queue of the topology that exists."""
        depths: dict[str, int] = {}
        for queue in topology.QUEUES:
            for name in self._partitions.names(queue.name):
                async with self._channel() as channel:
                    with contextlib.suppress(aiormq.ChannelNotFoundEntity):
                        declared = await channel.queue_declare(name, passive=True)
                        count = declared.message_count or 0
                        depths[queue.name] = depths.get(queue.name, 0) + count
        return depths

    async def round_trip(self) -> float:
        """Send a message through a temporary queue, and return the milliseconds until it is back.

        The queue is exclusive to this connection and deleted at the end. It has a name such as a
        subscriber's, which the user must be allowed to use anyway.
        """
        name = topology.subscriber_queue(f"doctor-{uuid.uuid4().hex}")
        channel = await self._connection.publishing_channel()
        try:
            async with self._connection.timeout(channel):
                await channel.queue_declare(
                    name, exclusive=True, auto_delete=True, arguments=CLASSIC
                )
            message = make_test_message(name)
            start = time.perf_counter()
            with explain_missing_confirms(CONFIRM_TIMEOUT):
                async with self._connection.timeout(channel, CONFIRM_TIMEOUT):
                    refused = await Publisher(channel).publish([message])
            if refused:
                raise BrokerUnavailable(f"RabbitMQ refused a message: {refused[0].reason}")
            async with self._connection.timeout(channel):
                received = await _get(channel, name)
                elapsed = time.perf_counter() - start
                await channel.queue_delete(name)
        finally:
            await self._close_channel(channel)
        if received != message.body:
            raise BrokerUnavailable("RabbitMQ returned another message than the one that was sent")
        return elapsed * 1000

    async def _compare(
        self, declaration: ExchangeDeclaration | QueueDeclaration, found: Differences
    ) -> None:
        """Add to `found` what distinguishes an existing exchange or queue from its declaration."""
        try:
            if not await self._exists(declaration):
                found.absent += 1
                return
            # Changes nothing, as it exists. Should it have been deleted meanwhile, this declares
            # what each service would declare.
            async with self._channel() as channel:
                await declaration.declare(channel)
        except BrokerRefuses as refusal:
            found.refused.append(refusal)

    async def _exists(self, declaration: ExchangeDeclaration | QueueDeclaration) -> bool:
        """Return whether it exists; raises `BrokerRefuses` if its node is down."""
        async with self._channel() as channel:
            try:
                await declaration.declare_passively(channel)
            except aiormq.ChannelNotFoundEntity as error:
                if not is_missing(error):
                    raise
                return False
        return True

    async def _lacking(self, requests: dict[str, Request]) -> list[str]:
        return [right for right, request in requests.items() if not await self._may(request)]

    async def _may(self, request: Request) -> bool:
        """Return whether the user may do what this request would do with valid arguments."""
        async with self._channel() as channel:
            try:
                await request(channel)
            except aiormq.ChannelAccessRefused:
                return False
            except (
                aiormq.ChannelPreconditionFailed,
                aiormq.ChannelNotFoundEntity,
                aiormq.ChannelLockedResource,  # dead letters are being browsed
            ):
                return True
        return True

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[aiormq.Channel]:
        channel = await self._connection.plain_channel()
        try:
            async with self._connection.timeout(channel):
                yield channel
        finally:
            await self._close_channel(channel)

    async def _close_channel(self, channel: aiormq.Channel) -> None:
        if not channel.is_closed:
            with contextlib.suppress(BrokerUnavailable):
                async with self._connection.timeout(channel):
                    await channel.close()


async def _connection_error(node: RabbitMQSettings) -> BrokerUnavailable | None:
    """Return the error of a connection to a node, `None` if it is possible."""
    connection = RabbitMQConnection(node)
    try:
        await connection.server_properties()
    except BrokerUnavailable as error:
        return error
    finally:
        await connection.close()
    return None


def _exchange_requests(name: str) -> dict[str, Request]:
    """Return for each right on an exchange a request that needs it and changes nothing."""
    return {
        "configure": lambda channel: channel.exchange_declare(
            name, exchange_type="fanout", durable=True, arguments={"alternate-exchange": 0}
        ),
        "write or read": lambda channel: channel.exchange_unbind(name, name, NEVER_BOUND),
    }


def _queue_requests(name: str) -> dict[str, Request]:
    """Return for each right on a queue a request that needs it and changes nothing."""

    async def consume(channel: aiormq.Channel) -> None:
        # Should a server accept the invalid priority, it delivers one message and takes it back.
        await channel.basic_qos(prefetch_count=1)
        await channel.basic_consume(name, _ignore, arguments={"x-priority": "invalid"})

    return {
        "configure": lambda channel: channel.queue_declare(
            name, durable=True, arguments={**CLASSIC, "x-expires": 0}
        ),
        "write": lambda channel: channel.queue_unbind(
            name, topology.NOTIFICATIONS_FANOUT.name, NEVER_BOUND
        ),
        "read": consume,
    }


def _lock_requests(name: str) -> dict[str, Request]:
    """Return the requests for the rights on a queue that is a lock; it is never published to."""
    requests = _queue_requests(name)
    del requests["write"]
    return requests


async def _ignore(_: DeliveredMessage) -> None:
    """Leave a message unacknowledged, so that it returns to its queue."""


async def _get(channel: aiormq.Channel, queue: str) -> bytes:
    """Get the message of a queue, which may become available shortly after its confirm."""
    while True:
        received = await channel.basic_get(queue, no_ack=True)
        if isinstance(received.delivery, aiormq.spec.Basic.GetOk):
            return bytes(received.body)
        await asyncio.sleep(POLL_INTERVAL)
