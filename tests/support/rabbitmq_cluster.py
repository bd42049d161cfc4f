"""Run a RabbitMQ cluster of three nodes for tests, on free loopback ports."""

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import httpx

from tests.support.processes import free_port
from tests.support.rabbitmq_links import ClusterLinks, Endpoint
from tests.support.rabbitmq_server import Membership, RabbitMQ, node_name
from tests.support.waiting import wait_until

SIZE = 3
MOVE_LEADER = """
{{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>)),
rabbit_quorum_queue:transfer_leadership(Queue, '{node}').
"""


class RabbitMQCluster:
    """Three nodes of RabbitMQ, each of which can be killed, paused and started again.

    With `proxies` between them, each can also be cut off from the others.
    """

    def __init__(self, *, proxies: bool = False) -> None:
        free = set[int]()
        while len(free) < 3 * SIZE:
            free.add(free_port())
        numbers = iter(free)
        ports = [next(numbers) for _ in range(SIZE)]
        cookie = secrets.token_hex()
        endpoints = [Endpoint(_short_name(each), next(numbers), next(numbers)) for each in ports]
        self._links = ClusterLinks(endpoints, proxies=proxies)
        self.nodes = [
            RabbitMQ(port, Membership(ports[0], cookie, each.distribution, each.epmd))
            for port, each in zip(ports, endpoints, strict=True)
        ]

    def start(self) -> None:
        """Start all nodes, and wait until they have formed the cluster.

        The others join the first one, which starts alone.
        """
        first, *others = self.nodes
        first.start()
        for node in others:
            node.launch()
        for node in others:
            node.wait_until_started()
        self.wait_until_complete()

    def wait_until_complete(self) -> None:
        """Wait until all nodes run in the cluster."""
        wait_until(self.is_complete, seconds=30, doing="for the nodes to form a cluster")

    def close(self) -> None:
        """Kill the nodes, and delete their folders."""
        for node in self.nodes:
            node.close()
        self._links.close()

    def isolate(self, node: RabbitMQ) -> None:
        """Cut a node off from the others; clients still reach it."""
        self._links.isolate(_short_name(node.port))

    def rejoin(self, node: RabbitMQ) -> None:
        """End the isolation of a node."""
        self._links.rejoin(_short_name(node.port))

    @property
    def api(self) -> httpx.Client:
        """A client of the management API of a node that answers."""
        return self.answering.api

    @property
    def management(self) -> str:
        """The address of the management API of a node that answers."""
        return self.answering.management

    def url(self, vhost: str) -> str:
        """Return the URL of a virtual host, with all nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"amqp://guest:guest@{hosts}/{vhost}"

    def leader_of(self, queue: str, vhost: str = "%2F") -> RabbitMQ:
        """Return the node with the leader of a quorum queue."""
        with self.api as api:
            name = api.get(f"/queues/{vhost}/{queue}").raise_for_status().json()["leader"]
        return next(node for node in self.nodes if node.name == name)

    def move_leader(self, queue: str, vhost: str, node: RabbitMQ) -> None:
        """Make a node the one with the leader of a quorum queue."""
        self.answering.control("eval", MOVE_LEADER.format(vhost=vhost, queue=queue, node=node.name))
        wait_until(lambda: self.leader_of(queue, vhost) is node, seconds=20, doing="for a leader")

    def version(self) -> tuple[int, ...]:
        """Return the version of RabbitMQ, such as (4, 0, 5)."""
        with self.api as api:
            overview = api.get("/overview").raise_for_status().json()
        return tuple(int(number) for number in overview["rabbitmq_version"].split("."))

    @property
    def answering(self) -> RabbitMQ:
        """A node that was neither killed nor paused."""
        return next(node for node in self.nodes if node.answers)

    def is_complete(self) -> bool:
        """Return whether all nodes run in the cluster, as the first of them sees it."""
        nodes: list[dict[str, Any]] = []
        with contextlib.suppress(httpx.HTTPError), self.api as api:  # RabbitMQ may have paused it
            nodes = api.get("/nodes").raise_for_status().json()
        return len([each for each in nodes if each.get("running")]) == SIZE


def _short_name(port: int) -> str:
    """Return the name of a node without its host."""
    return node_name(port).partition("@")[0]


@contextlib.contextmanager
def running_cluster(*, proxies: bool = False) -> Iterator[RabbitMQCluster]:
    """Run a cluster for the block."""
    with contextlib.closing(RabbitMQCluster(proxies=proxies)) as cluster:
        cluster.start()
        yield cluster
