"""Partition the queues of orders: several queues of RabbitMQ take the place of one.

A queue is a process of RabbitMQ: it uses one core, and its leader is on one node of a cluster. With
several partitions, each order type has as many queues. The first partition is the queue itself;
the name and the binding of each other one end with its number:

orders_topic ──kitchen.takeout.*──▶ kitchen_takeout_queue
    │        ─kitchen.takeout.*.1─▶ kitchen_takeout_queue.1
    │        ─kitchen.takeout.*.2─▶ kitchen_takeout_queue.2

The id of a message decides to which partition it is published. Other packages know the queue as a
whole: a received message has the name of the queue and the routing key without a number.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from restaurant_system.messaging import topology
from restaurant_system.models.message import Message

PARTITIONED = {queue.name: queue for queue in topology.SPECIALISED.values()}
WORDS = 3  # of the routing key of an order, without the number of a partition


def partition_name(queue: str, number: int) -> str:
    """Return the name of a partition of a queue."""
    return f"{queue}.{number}" if number else queue


def whole_queue(name: str) -> str:
    """Return the name of the queue of which `name` is a partition; of any other queue, its own."""
    queue, _, number = name.rpartition(".")
    return queue if queue in PARTITIONED and number.isdecimal() else name


def whole_routing_key(exchange: str, key: str) -> str:
    """Return the routing key of an order without the number of a partition."""
    words = key.split(".")
    is_partition = len(words) == WORDS + 1 and words[-1].isdecimal()
    return ".".join(words[:-1]) if exchange == topology.ORDERS_TOPIC.name and is_partition else key


@dataclass(frozen=True, slots=True)
class Partitions:
    """The partitions of each partitioned queue, `count` in all."""

    count: int = 1

    def routing_key(self, message: Message) -> str:
        """Return the routing key by which a message reaches its partition."""
        if self.count == 1 or message.exchange != topology.ORDERS_TOPIC.name:
            return message.routing_key
        number = message.message_id.int % self.count
        return f"{message.routing_key}.{number}" if number else message.routing_key

    def names(self, queue: str, numbers: Sequence[int] = ()) -> list[str]:
        """Return the names of a queue's partitions, of all or of those with these numbers.

        A queue that is not partitioned has one, with its own name.
        """
        if queue not in PARTITIONED:
            return [queue]
        return [partition_name(queue, number) for number in numbers or range(self.count)]

    def further_queues(self) -> Iterator[topology.Queue]:
        """Yield the queues of the topology that partitions add."""
        for queue in PARTITIONED.values():
            for name in self.names(queue.name)[1:]:
                yield replace(queue, name=name)

    def further_bindings(self) -> Iterator[topology.Binding]:
        """Yield the bindings of the queues that partitions add."""
        for binding in topology.BINDINGS:
            for number, name in enumerate(self.names(binding.queue)[1:], start=1):
                yield replace(binding, queue=name, pattern=f"{binding.pattern}.{number}")


UNPARTITIONED = Partitions()


def by_queue(names: Iterable[str]) -> dict[str, list[str]]:
    """Group the names of partitions by the names of their queues."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(whole_queue(name), []).append(name)
    return groups
