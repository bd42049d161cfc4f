"""What any broker promises.

`rabbitmq` and `postgres` keep it; one test suite holds both to it.

Delivery is at least once: a message may come twice, and whoever handles one must be able to take it
twice. A broker never loses a message that it has confirmed, and never hands one to two consumers of
a queue at the same time.
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
    """A message that the broker did not take, and why; it is still the publisher's."""

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
    """

    def __init__(self, message: Message, *, queue: str, redelivered: bool) -> None:
        self.message = message
        self.queue = queue
        self.redelivered = redelivered

    @abstractmethod
    async def ack(self) -> None:
        """Acknowledge the message: the broker deletes it."""

    @abstractmethod
    async def requeue(self) -> None:
        """Return the message to its place in the queue, for immediate redelivery."""

    @abstractmethod
    async def replace(self, successor: Message, delay: timedelta | None = None) -> None:
        """Publish `successor` and acknowledge the message.

        With a `delay`, `successor` is not published to its exchange but put into `queue` after the
        delay. A crash half-way leaves both messages rather than none.
        """


class Consumer(Protocol):
    """A line on which messages arrive.

    Iterating raises `BrokerUnavailable` when the line breaks, and ends after `stop`.
    """

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Hand out messages, never more than `prefetch` unsettled ones at once."""

    async def stop(self) -> None:
        """Take no more; what was not yet handed out goes back. What is in hand can be settled."""


class Publisher(Protocol):
    """The part of a broker that publishes."""

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        """Publish in this order; return, once the broker has confirmed, those that it refused.

        A mandatory message that reaches no queue is refused. After `BrokerUnavailable` it is
        unknown which of the messages were taken: publish them again.
        """


class UpdateSource(Protocol):
    """The part of a broker that hands out status updates."""

    async def connect(self) -> None:
        """Open the line and declare the topology; may be called again at any time."""

    def subscribe(self, name: str | None = None) -> AbstractAsyncContextManager[Consumer]:
        """Take every status update from now on.

        Without a `name` the queue goes with the subscriber. With one it stays and keeps what the
        subscriber missed. Of all who use the same name one at a time is handed updates, so that
        they stay in their order; the next one is when that one is gone.
        """


class Broker(Publisher, UpdateSource, Protocol):
    """A broker. A call that finds the line broken opens it anew, or raises `BrokerUnavailable`."""

    name: str

    async def close(self) -> None:
        """Close the line; what is in hand goes back to its queue."""

    async def ping(self) -> float:
        """Return how long the broker took to answer, in milliseconds."""

    def consume(
        self, queues: Sequence[str], *, prefetch: int
    ) -> AbstractAsyncContextManager[Consumer]:
        """Take the most urgent message first, of equals the oldest, whichever queue it is in.

        At most `prefetch` are unsettled at once, over all the queues together; the others stay in
        their queues, where another consumer finds them.
        """

    def browse(self, queue: str) -> AbstractAsyncContextManager[Sequence[Delivery]]:
        """Take everything in hand that is in a queue now, in its order.

        One at a time may do so: `DeadLettersInHand` tells the second. What is not settled when the
        block ends goes back unchanged to its old place, and so does everything when the process
        dies.
        """

    async def ack_all(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge many deliveries together; each of them is settled."""
        for delivery in deliveries:
            await delivery.ack()

    async def depths(self) -> dict[str, int]:
        """Return how many messages wait in each queue of the topology."""

    async def delayed(self) -> int:
        """Return how many messages that failed, or were deferred, wait out their delay."""

    async def is_blank(self) -> bool:
        """Tell whether the broker was never marked: it is new, or has lost its disk."""

    async def mark(self) -> None:
        """Mark the broker, so that it is not blank for as long as it keeps its disk."""
