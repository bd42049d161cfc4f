"""Limits on clients, with several processes on one port and few file descriptors."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.acceptance.test_graceful_stop import port
from tests.acceptance.test_processes import wait_for_listeners
from tests.support import deployments
from tests.support.deployments import Deployment

PER_ADDRESS = 10
DEADLINE = 1.5  # s


def status_within(connection: socket.socket, seconds: float) -> int | None:
    """Return the status of the next response, `None` if none comes in time."""
    connection.settimeout(max(seconds, 0.001))
    try:
        return int(connection.recv(1024).split()[1])
    except TimeoutError:
        return None


@pytest.fixture
def limited_deployment(dsn: str) -> Iterator[Deployment]:
    """Run a deployment with low limits on PostgreSQL alone."""
    with deployments.running(
        dsn,
        RESTAURANT_HTTP__CONNECTIONS_PER_ADDRESS=str(PER_ADDRESS),
        RESTAURANT_HTTP__HEAD_TIMEOUT=str(DEADLINE),
    ) as deployment:
        yield deployment


def test_connection_limit_and_timeout_hold_with_several_processes(
    limited_deployment: Deployment,
) -> None:
    """Each process has its own limit on an address; a silent connection gets 408 in time."""
    deployment = limited_deployment
    with contextlib.ExitStack() as stack:
        intake = deployment.start_order_service("--processes", "2")
        deployment.wait_until_ready()
        wait_for_listeners(deployment)
        server, client = ("127.0.0.1", port(deployment.orders)), ("127.0.0.2", 0)
        began = time.monotonic()
        connections = [
            stack.enter_context(socket.create_connection(server, source_address=client))
            for _ in range(6 * PER_ADDRESS)
        ]

        time.sleep(DEADLINE / 2)
        refused = [status_within(each, 0) for each in connections]
        silent = [each for each, status in zip(connections, refused, strict=True) if not status]
        late = [status_within(each, 5) for each in silent]

        assert refused.count(429) == 4 * PER_ADDRESS
        assert late == [408] * 2 * PER_ADDRESS
        assert time.monotonic() - began < DEADLINE + 2
        assert deployment.place_order()  # from this machine
        assert intake.stop() == 0
