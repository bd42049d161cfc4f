"""Repeat tasks, and keep an unexpected error of one from ending the service that accepts orders."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

from restaurant_system.errors import Unavailable
from restaurant_system.logger import get_logger
from restaurant_system.services.order.service import NAME

log = get_logger(NAME)


@contextlib.contextmanager
def log_failed_pass(action: str, message: str) -> Iterator[None]:
    """Log an error that ends the block, which is repeated at the next interval.

    Nothing is logged while a server is unavailable: the loss of the connection was logged.
    """
    try:
        yield
    except Unavailable:
        pass
    except Exception:
        log.exception(action, message=message)


async def process_in_batches(
    process_batch: Callable[[], Awaitable[int]],
    *,
    batch_size: int,
    interval: float,
    failure: tuple[str, str],
) -> None:
    """Process batches until one is not full, at intervals in seconds, until cancelled.

    `process_batch` returns how many it has processed. `failure` is the action and the message that
    are logged after an unexpected error.
    """
    while True:
        with log_failed_pass(*failure):
            while await process_batch() >= batch_size:
                pass
        await asyncio.sleep(interval)
