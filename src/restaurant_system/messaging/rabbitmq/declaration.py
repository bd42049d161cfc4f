"""Declare exchanges, queues and bindings; those that exist with the same arguments stay."""

from collections.abc import Sequence
from datetime import timedelta

from aiormq.abc import AbstractChannel, ArgumentsType

from restaurant_system.messaging import topology
from restaurant_system.messaging.rabbitmq.message_format import milliseconds

# Set on every queue, because the virtual host may have another default type.
CLASSIC: ArgumentsType = {"x-queue-type": "classic"}


async def declare(channel: AbstractChannel, retry_delays: Sequence[float]) -> None:
    """Declare the topology, with a retry queue for each delay in seconds.

    RabbitMQ closes the channel if a queue or an exchange exists with other arguments.
    """
    for exchange in topology.EXCHANGES:
        arguments: ArgumentsType = {}
        if exchange.alternate is not None:
            arguments["alternate-exchange"] = exchange.alternate
        await channel.exchange_declare(
            exchange.name, exchange_type=exchange.kind, durable=True, arguments=arguments
        )
    for queue in topology.QUEUES:
        arguments = dict(CLASSIC)
        if queue.max_priority is not None:
            arguments["x-max-priority"] = queue.max_priority
        if queue.dead_letter_exchange is not None:
            arguments["x-dead-letter-exchange"] = queue.dead_letter_exchange
        await channel.queue_declare(queue.name, durable=True, arguments=arguments)
    for binding in topology.BINDINGS:
        await channel.queue_bind(binding.queue, binding.exchange, binding.pattern)
    for delay_ms in _milliseconds(retry_delays):
        await _declare_retry_queue(channel, delay_ms)


def retry_queues(retry_delays: Sequence[float]) -> list[str]:
    """Return the names of the retry queues."""
    return [topology.retry_queue(delay_ms) for delay_ms in _milliseconds(retry_delays)]


def _milliseconds(delays: Sequence[float]) -> list[int]:
    return [milliseconds(timedelta(seconds=delay)) for delay in delays]


async def _declare_retry_queue(channel: AbstractChannel, delay_ms: int) -> None:
    """Declare a queue without consumers, in which messages wait until their time to live elapses.

    Each is then dead-lettered through the default exchange to the queue named by its routing key.
    """
    name = topology.retry_queue(delay_ms)
    arguments = {**CLASSIC, "x-message-ttl": delay_ms, "x-dead-letter-exchange": ""}
    await channel.queue_declare(name, durable=True, arguments=arguments)
    await channel.queue_bind(
        name,
        topology.DELIVERY_RETRY.name,
        arguments={"x-match": "all", topology.RETRY_DELAY: delay_ms},
    )
