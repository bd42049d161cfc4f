"""Logging is the process's own; a test that sets it up puts it back."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import structlog


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Put back whatever `logger.configure` changes inside."""
    configuration = structlog.get_config()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        structlog.configure(**configuration)
        root.handlers[:] = handlers
        root.setLevel(level)


async def logged(lines: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Tell whether an action is among captured log lines."""
    return any(line["event"] == action for line in lines)
