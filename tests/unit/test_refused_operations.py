"""What stays recorded as refused while statements are tested; the server is a fake."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from restaurant_system.database.refused_operations import RefusedOperations
from restaurant_system.errors import DatabaseRefuses


def record_refusal(refused: RefusedOperations) -> None:
    """Record that the server refused a statement."""
    refused.record_statement(DatabaseRefuses("The disk of PostgreSQL is full", "no space left"))


class FakeServer:
    """Accepts a connection and executes statements once a test says so."""

    def __init__(self) -> None:
        self.connecting = asyncio.Event()
        self.executing = asyncio.Event()
        self.accepts = asyncio.Event()
        self.executes = asyncio.Event()
        self.refused = RefusedOperations(self._connect, self._acquire, must_write=False, timeout=1)

    async def execute(self, *_: object, **__: object) -> None:
        """Execute a statement."""
        self.executing.set()
        await self.executes.wait()

    async def close(self, **_: object) -> None:
        """Close the connection."""

    async def _connect(self) -> Any:  # noqa: ANN401 - a fake
        self.connecting.set()
        await self.accepts.wait()
        return self

    def _acquire(self) -> Any:  # noqa: ANN401 - a fake
        return contextlib.nullcontext(self)


@pytest.fixture
def server() -> FakeServer:
    """Return a server."""
    return FakeServer()


@pytest.mark.parametrize(
    "record", [RefusedOperations.suspect_statements, record_refusal], ids=["suspected", "refused"]
)
async def test_statement_that_fails_during_a_retry_is_retried(
    server: FakeServer, record: Callable[[RefusedOperations], None]
) -> None:
    record(server.refused)
    server.accepts.set()
    retrying = asyncio.create_task(server.refused.retry())
    await server.executing.wait()

    record(server.refused)
    server.executes.set()

    assert await retrying
    assert await server.refused.retry()
    assert server.refused.statement is None
    assert not await server.refused.retry()


async def test_connection_that_is_refused_during_a_retry_is_retried(server: FakeServer) -> None:
    refusal = DatabaseRefuses("PostgreSQL has no connection free", "too many clients")
    server.refused.record_connection(refusal)
    retrying = asyncio.create_task(server.refused.retry())
    await server.connecting.wait()

    again = DatabaseRefuses("PostgreSQL has no connection free", "too many clients")
    server.refused.record_connection(again)
    server.accepts.set()

    await retrying
    assert server.refused.connection is again
    await server.refused.retry()
    assert server.refused.connection is None
