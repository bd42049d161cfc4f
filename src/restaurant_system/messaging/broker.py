"""Define the interface of a message broker, which `rabbitmq` and `postgres` implement.

One test suite runs against both. Delivery is at least once: a message may be delivered repeatedly,
and its processing must be idempotent. A broker never loses a message that it has confirmed, and
never delivers one to two consumers of a queue at the same time.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from restaurant_system.messaging import topology
from restaurant_system.models.message import Message


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that the broker refused, with the reason; the publisher keeps it."""

    message: Message
    reason: str


def unroutable(message: Message) -> str:
    """Return the reason for refusing a message that is routed to no queue."""
    if message.exchange == topology.DEFAULT.name:
        return f"there is no queue {message.routing_key!r}"
    return f"no queue takes {message.routing_key!r} from {message.exchange}"


class Delivery(ABC):
    """An unacknowledged message; exactly one of its methods is called to settle it.

    Each method raises `BrokerUnavailable` if the connection to the broker broke; the broker then
    redelivers the message. Call none before the effects of the message are committed.

    `returns` is the number of times that consumers returned the message or were lost with it, as
    far as the broker counts that: only RabbitMQ does, in quorum queues.
    """

    def __init__(
        self, message: Message, *, queue: str, redelivered: bool, returns: int = 0
    ) -> None:
        self.message = message
        self.queue = queue
        self.redelivered = redelivered
        self.returns = returns

    @abstractmethod
    async def ack(self) -> None:
        """Acknowledge the message: the broker deletes it."""

    @abstractmethod
    async def requeue(self) -> None:
        """Return the message to its place in the queue, for immediate redelivery.

        A quorum queue returns it to its front.
        """

    @abstractmethod
    async def replace(self, successor: Message, delay: timedelta | None = None) -> None:
        """Publish `successor` and acknowledge the message.

        With a `delay`, `successor` is not published to its exchange but put into `queue` after the
        delay. A crash half-way leaves both messages rather than none.
        """


class Consumer(Protocol):
    """A stream of deliveries from one or more queues.

    Iterating raises `BrokerUnavailable` when the connection breaks, and ends after `stop`.
    """

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Yield deliveries, at most `prefetch` of them unacknowledged at once."""

    async def stop(self) -> None:
        """Stop consuming and requeue prefetched messages; yielded ones can still be settled."""


class Publisher(Protocol):
    """The part of a broker that publishes messages."""

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        """Publish messages in this order, wait for all confirms, and return the refused ones.

        A mandatory message that is routed to no queue is refused. After `BrokerUnavailable` it is
        unknown which messages were accepted: publish them again.
        """


class UpdateSource(Protocol):
    """The part of a broker that delivers status updates."""

    async def connect(self) -> None:
        """Connect to the broker and declare the topology; may be called repeatedly."""

    def subscribe(self, name: str | None = None) -> AbstractAsyncContextManager[Consumer]:
        """Consume every status update that is published from now on.

        Without a `name` the queue is deleted with the subscription. With a name the queue is
        durable and keeps the updates published meanwhile. If several subscribers use one name, one
        of them receives updates, so that these stay in order; when it disconnects, the next does.
        """


class Broker(Publisher, UpdateSource, Protocol):
    """A message broker; a call reconnects if necessary, or raises `BrokerUnavailable`."""

    name: str

    async def close(self) -> None:
        """Close all connections; unacknowledged messages are requeued."""

    async def ping(self) -> float:
        """Return the latency of the broker in milliseconds."""

    def consume(
        self, queues: Sequence[str], *, prefetch: int
    ) -> AbstractAsyncContextManager[Consumer]:
        """Consume several queues as one; no queue waits for another one to be empty.

        A queue delivers the highest priority first, of equal priority the oldest; a quorum queue
        has no or few priorities. At most `prefetch` messages of all the queues together are
        unacknowledged at once. The others stay in their queues, where other consumers find them.
        """

    def browse(
        self, queue: str, *, limit: int | None = None
    ) -> AbstractAsyncContextManager[Sequence[Delivery]]:
        """Lock all messages that are in a queue now, or the first `limit`, in the queue's order.

        Raises `DeadLettersLocked` if another process browses the queue. Messages that are not
        settled when the block ends, or the process dies, return unchanged to their places.
        """

    async def ack_all(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge several deliveries."""
        for delivery in deliveries:
            await delivery.ack()

    async def depths(self) -> dict[str, int]:
        """Return the number of ready messages in each queue of the topology."""

    async def delayed(self) -> int:
        """Return the number of messages that wait for a retry delay to elapse."""

    async def is_blank(self) -> bool:
        """Return whether the broker has no marker: it is new or has lost its disk."""

    async def mark(self) -> None:
        """Create the marker of a used broker, which exists until the broker loses its disk."""
