"""Restore the logging configuration after a test, and capture and search log lines."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest.mock import patch

import structlog
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks
from structlog.testing import capture_logs as capture_in_silence
from structlog.typing import EventDict

from restaurant_system import logger


def capture_logs() -> AbstractContextManager[list[EventDict]]:
    """Capture the log lines of the block; they are printed too, for the report if a test fails."""
    return capture_in_silence(processors=[_print_line])


def _print_line(_logger: object, method: str, event: EventDict) -> EventDict:
    fields = {name: value for name, value in event.items() if name != "exc_info"}
    print(method, fields)  # noqa: T201 - pytest shows it if the test fails
    return event


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Restore what `logger.configure` changes within the block.

    Loggers are not cached within the block: they would keep its configuration afterwards.
    """
    configuration, was_configured = structlog.get_config(), structlog.is_configured()
    stream, hooks = logger.output.stream, get_on_retry_hooks()
    root, silenced = logging.getLogger(), logging.getLogger(logger.SILENCED_LIBRARY)
    handlers, level, silenced_level = list(root.handlers), root.level, silenced.level
    try:
        with patch.object(
            structlog, "configure", partial(_configure_uncached, structlog.configure)
        ):
            yield
    finally:
        structlog.configure(**configuration)
        if not was_configured:
            structlog.reset_defaults()
        logger.output.stream = stream
        set_on_retry_hooks(hooks)
        root.handlers[:] = handlers
        root.setLevel(level)
        silenced.setLevel(silenced_level)


def _configure_uncached(configure: Callable[..., None], **options: object) -> None:
    configure(**options | {"cache_logger_on_first_use": False})


async def logged(lines: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Return whether an action is among captured log lines."""
    return any(line["event"] == action for line in lines)
