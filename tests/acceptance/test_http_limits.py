"""Limits on clients, with several processes on one port and few file descriptors."""

import contextlib
import socket
import time

import pytest

from tests.acceptance.test_graceful_stop import port
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
def deployment(dsn: str) -> contextlib.AbstractContextManager[Deployment]:
    """Name a restaurant on PostgreSQL alone."""
    return deployments.running(
        dsn,
        RESTAURANT_HTTP__CONNECTIONS_PER_ADDRESS=str(PER_ADDRESS),
        RESTAURANT_HTTP__HEAD_TIMEOUT=str(DEADLINE),
    )


def test_limits_hold_with_several_processes(
    deployment: contextlib.AbstractContextManager[Deployment],
) -> None:
    """Each process keeps so many of an address, more get 429; a silent one gets 408 in time."""
    with deployment as running, contextlib.ExitStack() as stack:
        intake = running.start_order_service("--processes", "2")
        running.wait_until_ready()
        server, client = ("127.0.0.1", port(running.orders)), ("127.0.0.2", 0)
        began = time.monotonic()
        connections = [
            stack.enter_context(socket.create_connection(server, source_address=client))
            for _ in range(3 * PER_ADDRESS)
        ]

        time.sleep(DEADLINE / 2)
        refused = [status_within(each, 0) for each in connections]
        silent = [each for each, status in zip(connections, refused, strict=True) if not status]
        late = [status_within(each, 5) for each in silent]

        assert refused.count(429) == PER_ADDRESS
        assert late == [408] * 2 * PER_ADDRESS
        assert time.monotonic() - began < DEADLINE + 2
        assert running.place_order()  # this machine's own address is trusted
        assert intake.stop() == 0
