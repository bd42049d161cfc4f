"""What it means that RabbitMQ is away."""

import asyncio
import contextlib
from collections.abc import Iterator

import aiormq

from restaurant_system.errors import BrokerUnavailable

AWAY = (
    OSError,  # ConnectionError and TimeoutError among them
    aiormq.AMQPError,
    aiormq.ChannelInvalidStateError,
    asyncio.InvalidStateError,
)


@contextlib.contextmanager
def away_as_unavailable() -> Iterator[None]:
    """Raise `BrokerUnavailable` for every way in which the line can break."""
    try:
        yield
    except AWAY as error:
        reason = str(error) or type(error).__name__
        raise BrokerUnavailable(f"RabbitMQ does not answer: {reason}") from error
