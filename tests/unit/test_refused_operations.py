"""What stays recorded as refused while statements are tested; the connection is a fake."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from restaurant_system.database.refused_operations import RefusedOperations
from restaurant_system.errors import DatabaseRefuses


def record_refusal(refused: RefusedOperations) -> None:
    """Record that the server refused a statement."""
    refused.record_statement(DatabaseRefuses("The disk of PostgreSQL is full", "no space left"))


class FakeConnection:
    """A connection whose statements end once a test says so."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ends = asyncio.Event()

    async def execute(self, *_: object, **__: object) -> None:
        """Wait for the end."""
        self.started.set()
        await self.ends.wait()


@pytest.fixture
def refused() -> RefusedOperations:
    """Return what a server refuses to a reader: nothing."""
    return RefusedOperations(must_write=False, timeout=1)


@pytest.mark.parametrize(
    "record",
    [RefusedOperations.suspect_statements, record_refusal],
    ids=["suspected", "refused"],
)
async def test_statement_that_fails_during_a_test_of_statements_is_tested_again(
    refused: RefusedOperations, record: Callable[[RefusedOperations], None]
) -> None:
    connection: Any = FakeConnection()
    record(refused)
    testing = asyncio.create_task(refused.retry_statement(connection))
    await connection.started.wait()

    record(refused)
    connection.ends.set()
    assert await testing

    assert refused.needs_retry
    assert await refused.retry_statement(connection)
    assert not refused.needs_retry
