"""Declare exchanges, queues and bindings; those that exist with the same arguments stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from aiormq.abc import AbstractChannel, ArgumentsType

from restaurant_system.messaging import topology
from restaurant_system.messaging.rabbitmq.message_format import milliseconds

# Set on every queue, because the virtual host may have another default type.
CLASSIC: ArgumentsType = {"x-queue-type": "classic"}


@dataclass(frozen=True, slots=True)
class ExchangeDeclaration:
    """The declaration of a durable exchange; RabbitMQ closes the channel if it exists otherwise."""

    name: str
    kind: str
    arguments: ArgumentsType

    async def declare(self, channel: AbstractChannel) -> None:
        """Declare the exchange."""
        await channel.exchange_declare(
            self.name, exchange_type=self.kind, durable=True, arguments=self.arguments
        )

    async def declare_passively(self, channel: AbstractChannel) -> None:
        """Raise `ChannelNotFoundEntity` if the exchange does not exist."""
        await channel.exchange_declare(self.name, passive=True)


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """The declaration of a durable queue; RabbitMQ closes the channel if it exists otherwise."""

    name: str
    arguments: ArgumentsType

    async def declare(self, channel: AbstractChannel) -> None:
        """Declare the queue."""
        await channel.queue_declare(self.name, durable=True, arguments=self.arguments)

    async def declare_passively(self, channel: AbstractChannel) -> None:
        """Raise `ChannelNotFoundEntity` if the queue does not exist."""
        await channel.queue_declare(self.name, passive=True)


def exchanges() -> list[ExchangeDeclaration]:
    """Return the declarations of all exchanges."""
    return [_exchange(exchange) for exchange in topology.EXCHANGES]


def queues(retry_delays: Sequence[float]) -> list[QueueDeclaration]:
    """Return the declarations of all queues, with a retry queue for each delay in seconds."""
    return [
        *map(_queue, topology.QUEUES),
        *map(_retry_queue, _milliseconds(retry_delays)),
    ]


def marker() -> QueueDeclaration:
    """Return the declaration of the marker, which is not declared with the other queues."""
    return QueueDeclaration(topology.MARKER.name, CLASSIC)


async def declare(channel: AbstractChannel, retry_delays: Sequence[float]) -> None:
    """Declare the topology, with a retry queue for each delay in seconds.

    RabbitMQ closes the channel if a queue or an exchange exists with other arguments.
    """
    for exchange in exchanges():
        await exchange.declare(channel)
    for queue in queues(retry_delays):
        await queue.declare(channel)
    for binding in topology.BINDINGS:
        await channel.queue_bind(binding.queue, binding.exchange, binding.pattern)
    for delay_ms in _milliseconds(retry_delays):
        await channel.queue_bind(
            topology.retry_queue(delay_ms),
            topology.DELIVERY_RETRY.name,
            arguments={"x-match": "all", topology.RETRY_DELAY: delay_ms},
        )


def retry_queues(retry_delays: Sequence[float]) -> list[str]:
    """Return the names of the retry queues."""
    return [topology.retry_queue(delay_ms) for delay_ms in _milliseconds(retry_delays)]


def _milliseconds(delays: Sequence[float]) -> list[int]:
    return [milliseconds(timedelta(seconds=delay)) for delay in delays]


def _exchange(exchange: topology.Exchange) -> ExchangeDeclaration:
    arguments: ArgumentsType = {}
    if exchange.alternate is not None:
        arguments["alternate-exchange"] = exchange.alternate
    return ExchangeDeclaration(exchange.name, exchange.kind, arguments)


def _queue(queue: topology.Queue) -> QueueDeclaration:
    arguments = dict(CLASSIC)
    if queue.max_priority is not None:
        arguments["x-max-priority"] = queue.max_priority
    if queue.dead_letter_exchange is not None:
        arguments["x-dead-letter-exchange"] = queue.dead_letter_exchange
    return QueueDeclaration(queue.name, arguments)


def _retry_queue(delay_ms: int) -> QueueDeclaration:
    """Return a queue without consumers, in which messages wait until their time to live elapses.

    Each is then dead-lettered through the default exchange to the queue named by its routing key.
    """
    arguments: ArgumentsType = {
        **CLASSIC,
        "x-message-ttl": delay_ms,
        "x-dead-letter-exchange": topology.DEFAULT.name,
    }
    return QueueDeclaration(topology.retry_queue(delay_ms), arguments)
