"""Declare exchanges, queues and bindings; those that exist with the same arguments stay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal, TypeAlias

from aiormq.abc import AbstractChannel, ArgumentsType

from restaurant_system.messaging import topology
from restaurant_system.messaging.rabbitmq.message_format import milliseconds
from restaurant_system.messaging.rabbitmq.partitions import UNPARTITIONED, Partitions

# The type is set on every queue, because the virtual host may have another default type.
CLASSIC: ArgumentsType = {"x-queue-type": "classic"}
# Orders that are given back count against the delivery limit, which is 20 by default from 4.0 on
# and would turn them into dead letters. A limit of -1 means none only from 4.0 on.
QUORUM: ArgumentsType = {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}
BALANCED: ArgumentsType = {"x-queue-leader-locator": "balanced"}
# A retry queue keeps a message until the queue that it returns to has confirmed it.
AT_LEAST_ONCE: ArgumentsType = {
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


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


@dataclass(frozen=True, slots=True)
class BindingDeclaration:
    """The declaration of a binding."""

    binding: topology.Binding
    arguments: ArgumentsType | None = None

    @property
    def name(self) -> str:
        """The name of the queue that is bound."""
        return self.binding.queue

    async def declare(self, channel: AbstractChannel) -> None:
        """Bind the queue to the exchange."""
        await channel.queue_bind(
            self.binding.queue,
            self.binding.exchange,
            self.binding.pattern,
            arguments=self.arguments,
        )


Declaration: TypeAlias = ExchangeDeclaration | QueueDeclaration | BindingDeclaration


def exchanges() -> list[ExchangeDeclaration]:
    """Return the declarations of all exchanges."""
    return [_exchange(exchange) for exchange in topology.EXCHANGES]


@dataclass(frozen=True, slots=True)
class Declarations:
    """The declarations of queues of one type, with a retry queue for each delay in seconds."""

    queue_type: Literal["classic", "quorum"]
    retry_delays: Sequence[float]
    partitions: Partitions = UNPARTITIONED

    def queues(self) -> list[QueueDeclaration]:
        """Return the declarations of all queues, without the marker."""
        return [
            *map(self._queue, topology.QUEUES),
            *map(self._further_partition, self.partitions.further_queues()),
            *map(self._retry_queue, self._milliseconds()),
        ]

    def marker(self) -> QueueDeclaration:
        """Return the declaration of the marker, which is not declared with the other queues."""
        return self._queue(topology.MARKER)

    def retry_queues(self) -> list[str]:
        """Return the names of the retry queues."""
        return [topology.retry_queue(delay_ms) for delay_ms in self._milliseconds()]

    def subscriber_arguments(self, name: str | None) -> ArgumentsType:
        """Return the arguments of a subscriber's queue; one without a name is not replicated.

        It is exclusive to its connection, and ends with it.
        """
        base = CLASSIC if name is None else self._base()
        return {**base, "x-single-active-consumer": True}

    def whole(self) -> Sequence[Declaration]:
        """Return the declarations of the whole topology, in this order."""
        return [
            *exchanges(),
            *self.queues(),
            *(BindingDeclaration(each) for each in topology.BINDINGS),
            *(BindingDeclaration(each) for each in self.partitions.further_bindings()),
            *(_retry_binding(delay_ms) for delay_ms in self._milliseconds()),
        ]

    async def declare(self, channel: AbstractChannel) -> None:
        """Declare the topology.

        RabbitMQ closes the channel if a queue or an exchange exists with other arguments.
        """
        for each in self.whole():
            await each.declare(channel)

    def _base(self) -> ArgumentsType:
        return QUORUM if self.queue_type == "quorum" else CLASSIC

    def _queue(self, queue: topology.Queue) -> QueueDeclaration:
        arguments = dict(self._base())
        if queue.max_priority is not None and self.queue_type == "classic":
            arguments["x-max-priority"] = queue.max_priority  # refused for quorum queues
        if queue.dead_letter_exchange is not None:
            arguments["x-dead-letter-exchange"] = queue.dead_letter_exchange
        return QueueDeclaration(queue.name, arguments)

    def _further_partition(self, queue: topology.Queue) -> QueueDeclaration:
        """Return a queue whose leader is on the node that has the fewest, if it has leaders."""
        declaration = self._queue(queue)
        if self.queue_type == "classic":
            return declaration
        return replace(declaration, arguments={**declaration.arguments, **BALANCED})

    def _retry_queue(self, delay_ms: int) -> QueueDeclaration:
        """Return a queue without consumers, in which messages wait until their time to live ends.

        Each is then dead-lettered through the default exchange to the queue named by its routing
        key.
        """
        arguments: ArgumentsType = {
            **self._base(),
            "x-message-ttl": delay_ms,
            "x-dead-letter-exchange": topology.DEFAULT.name,
        }
        if self.queue_type == "quorum":
            arguments |= AT_LEAST_ONCE
        return QueueDeclaration(topology.retry_queue(delay_ms), arguments)

    def _milliseconds(self) -> list[int]:
        return [milliseconds(timedelta(seconds=delay)) for delay in self.retry_delays]


def _retry_binding(delay_ms: int) -> BindingDeclaration:
    return BindingDeclaration(
        topology.Binding(topology.DELIVERY_RETRY.name, topology.retry_queue(delay_ms)),
        {"x-match": "all", topology.RETRY_DELAY: delay_ms},
    )


def _exchange(exchange: topology.Exchange) -> ExchangeDeclaration:
    arguments: ArgumentsType = {}
    if exchange.alternate is not None:
        arguments["alternate-exchange"] = exchange.alternate
    return ExchangeDeclaration(exchange.name, exchange.kind, arguments)
