"""Run a RabbitMQ cluster of three nodes for tests, on free loopback ports."""

import contextlib
import secrets
from collections.abc import Iterator

import httpx

from tests.support.processes import free_port
from tests.support.rabbitmq_server import Membership, RabbitMQ
from tests.support.waiting import wait_until

SIZE = 3


class RabbitMQCluster:
    """Three nodes of RabbitMQ, each of which can be killed, paused and started again."""

    def __init__(self) -> None:
        ports = tuple(free_port() for _ in range(SIZE))
        membership = Membership(ports[0], epmd=free_port(), cookie=secrets.token_hex())
        self.nodes = [RabbitMQ(port, membership) for port in ports]

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
        wait_until(self._is_complete, seconds=30, doing="for the nodes to form a cluster")

    def close(self) -> None:
        """Kill the nodes, and delete their folders."""
        for node in self.nodes:
            node.close()

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

    @property
    def answering(self) -> RabbitMQ:
        """A node that was neither killed nor paused."""
        return next(node for node in self.nodes if node.answers)

    def _is_complete(self) -> bool:
        with self.api as api:
            nodes = api.get("/nodes").raise_for_status().json()
        return len([each for each in nodes if each.get("running")]) == SIZE


@contextlib.contextmanager
def running_cluster() -> Iterator[RabbitMQCluster]:
    """Run a cluster for the block."""
    with contextlib.closing(RabbitMQCluster()) as cluster:
        cluster.start()
        yield cluster
