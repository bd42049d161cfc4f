"""Restore the logging configuration after a test, and search captured log lines."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import structlog

from restaurant_system import logger


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Restore what `logger.configure` changes within the block."""
    configuration, stream = structlog.get_config(), logger.output.stream
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        structlog.configure(**configuration)
        logger.output.stream = stream
        root.handlers[:] = handlers
        root.setLevel(level)


async def logged(lines: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Return whether an action is among captured log lines."""
    return any(line["event"] == action for line in lines)
