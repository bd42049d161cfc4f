"""What it means that RabbitMQ is away."""

import asyncio
import contextlib
from collections.abc import Iterator

import aiormq

from restaurant_system import tls
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
        fault = tls.fault(error)
        if fault is not None:
            raise BrokerUnavailable(
                f"The line to RabbitMQ is not safe: {fault}; correct its TLS settings."
            ) from error
        reason = str(error) or type(error).__name__
        raise BrokerUnavailable(f"RabbitMQ does not answer: {reason}") from error


@contextlib.contextmanager
def hung_up_as_unavailable(*, encrypted: bool) -> Iterator[None]:
    """Say what it may mean that RabbitMQ hangs up, without a word, on a line that is opened."""
    try:
        yield
    except aiormq.AMQPConnectionError as error:
        if not isinstance(error.__cause__, ConnectionResetError):
            raise
        raise BrokerUnavailable(
            "RabbitMQ hangs up at once; it may not trust our certificate."
            if encrypted
            else "RabbitMQ hangs up at once; if its port is for TLS, enable rabbitmq.tls."
        ) from error
