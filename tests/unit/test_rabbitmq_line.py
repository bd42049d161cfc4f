"""What it means that a line to RabbitMQ is closed while somebody waits for it."""

import asyncio

import pytest

from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.rabbitmq.line import RabbitMQLine


@pytest.fixture
def line() -> RabbitMQLine:
    """Have a line that is not open."""
    return RabbitMQLine(RabbitMQSettings())


async def test_what_the_library_cancels_is_an_absence(line: RabbitMQLine) -> None:
    """Who waited for what is given up with a line is told that RabbitMQ is away."""
    given_up = asyncio.get_running_loop().create_future()
    given_up.cancel()

    with pytest.raises(BrokerUnavailable, match="closed"):
        async with line.answering():
            await given_up


async def test_who_is_cancelled_himself_stays_so(line: RabbitMQLine) -> None:
    """A wish to stop is not taken for an absence."""

    async def wait() -> None:
        async with line.answering():
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_silent_line_is_an_absence(line: RabbitMQLine) -> None:
    """Who waits for too long is told so, and is not cancelled by that."""
    with pytest.raises(BrokerUnavailable):
        async with line.answering(0.01):
            await asyncio.Event().wait()
