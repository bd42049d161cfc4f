"""Define the exchanges, queues and bindings, which both brokers use.

orders_topic ──kitchen.dine_in.*──▶ kitchen_dine_in_queue ──┐
    │        ──kitchen.takeout.*──▶ kitchen_takeout_queue ──┤
    │        ─kitchen.delivery.*──▶ kitchen_delivery_queue ─┼──▶ kitchen workers
    └─alternate─▶ orders_unrouted ─▶ kitchen_queue ─────────┘
notifications_fanout ──▶ notifications_queue.* ──▶ subscribers
delivery_retry ──▶ delivery_retry_queue.<delay> ──after the delay──▶ the queue it came from
orders_dlx ──▶ kitchen_dead_letter_queue
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from restaurant_system.models.order import OrderType

MAX_PRIORITY = 10


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange, to which messages are published.

    Messages that match no binding go to the `alternate` exchange, if there is one. Messages that
    are routed to no queue are refused if `mandatory`; a fanout exchange may have no subscriber.
    """

    name: str
    kind: Literal["topic", "fanout", "headers", "direct"]
    alternate: str | None = None
    mandatory: bool = True


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue of the topology."""

    name: str
    max_priority: int | None = None
    dead_letter_exchange: str | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding of a queue to an exchange; an empty pattern matches every routing key."""

    exchange: str
    queue: str
    pattern: str = ""

    def matches(self, routing_key: str) -> bool:
        """Return whether a routing key matches; ``*`` is one word, ``#`` any number of words."""
        return not self.pattern or _matches(self.pattern.split("."), routing_key.split("."))


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_matches(pattern[1:], words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and pattern[0] in {"*", words[0]} and _matches(pattern[1:], words[1:])


ORDERS_UNROUTED = Exchange("orders_unrouted", "fanout")
ORDERS_TOPIC = Exchange("orders_topic", "topic", alternate=ORDERS_UNROUTED.name)
NOTIFICATIONS_FANOUT = Exchange("notifications_fanout", "fanout", mandatory=False)
ORDERS_DLX = Exchange("orders_dlx", "fanout")
DELIVERY_RETRY = Exchange("delivery_retry", "headers")
# AMQP's default exchange is predeclared; the routing key is the name of the queue.
DEFAULT = Exchange("", "direct")

DEAD_LETTERS = Queue("kitchen_dead_letter_queue")
GENERAL = Queue("kitchen_queue", MAX_PRIORITY, ORDERS_DLX.name)
SPECIALISED = {
    order_type: Queue(f"kitchen_{order_type}_queue", MAX_PRIORITY, ORDERS_DLX.name)
    for order_type in OrderType
}

KITCHEN_QUEUES = (*SPECIALISED.values(), GENERAL)
EXCHANGES = (ORDERS_UNROUTED, ORDERS_TOPIC, NOTIFICATIONS_FANOUT, ORDERS_DLX, DELIVERY_RETRY)
QUEUES = (*KITCHEN_QUEUES, DEAD_LETTERS)
BINDINGS = (
    *(
        Binding(ORDERS_TOPIC.name, queue.name, f"kitchen.{order_type}.*")
        for order_type, queue in SPECIALISED.items()
    ),
    Binding(ORDERS_UNROUTED.name, GENERAL.name),
    Binding(ORDERS_DLX.name, DEAD_LETTERS.name),
)

SUBSCRIBER_QUEUE_PREFIX = "notifications_queue."

# A queue without messages. If it is missing, the broker is new or has lost its disk, so it is not
# declared with the other queues.
MARKER = Queue("reconciliation_marker")

# The header that routes a message to the retry queue of its delay. (A headers exchange ignores
# names that start with "x-".)
RETRY_DELAY = "retry-delay-ms"


def retry_queue(delay_ms: int) -> str:
    """Return the name of the queue in which messages wait this long."""
    return f"delivery_retry_queue.{delay_ms}ms"


def subscriber_queue(name: str) -> str:
    """Return the name of the queue of a subscriber to status updates."""
    return f"{SUBSCRIBER_QUEUE_PREFIX}{name}"


def lock_queue(queue: str) -> str:
    """Return the name of the queue whose only consumer may browse another queue."""
    return f"{queue}.lock"


def routing_key(order_type: OrderType, priority: int) -> str:
    """Return the routing key of an order on `orders_topic`."""
    return f"kitchen.{order_type}.{priority}"


def kitchen_queues(order_types: Sequence[OrderType]) -> tuple[str, ...]:
    """Return the queues of a worker: one for each type, and the general one for all types."""
    return (*(SPECIALISED[order_type].name for order_type in order_types), GENERAL.name)


def exchange(name: str) -> Exchange:
    """Return an exchange by name; raises `ValueError` if there is none."""
    for known in (*EXCHANGES, DEFAULT):
        if known.name == name:
            return known
    raise ValueError(f"there is no exchange {name!r}")


def route(message_exchange: str, key: str) -> Iterator[str]:
    """Yield the fixed queues that a message is routed to, also through an alternate exchange."""
    if message_exchange == DEFAULT.name:
        yield from (queue.name for queue in QUEUES if queue.name == key)
        return
    queues = [b.queue for b in BINDINGS if b.exchange == message_exchange and b.matches(key)]
    alternate = exchange(message_exchange).alternate
    if not queues and alternate is not None:
        yield from route(alternate, key)
    yield from queues
