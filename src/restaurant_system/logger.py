"""Logs as section 10 of the contract wants them: one JSON object a line, or colours for a person.

    log = get_logger("order-service")
    log.info("order_received", message="Order ORD_20241216_001 received.", priority=1)

The event is the action. What is not one of the contract's own fields goes into `details`. The
request id is bound to the task with `request_id`, and follows every line logged from there.
"""

import json
import logging
import socket
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import structlog
from pydantic_core import PydanticSerializationError, to_json
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from restaurant_system.errors import BrokerUnavailable

TOP_LEVEL = frozenset({"request_id", "duration_ms", "service", "message"})
HOSTNAME = socket.gethostname()

_current_request: ContextVar[str] = ContextVar("current_request", default="")

# It reports each lost connection on its own; ours is the line that counts.
NOISY = "aiormq"

Event = MutableMapping[str, Any]


def configure(
    *, service: str, level: str, style: Literal["auto", "json", "console"], stream: TextIO
) -> None:
    """Send the process's log lines to `stream`; `auto` is `console` on a terminal."""
    console = style == "console" or (style == "auto" and stream.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _Shape(service),
            _console_line if console else _json_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)
    logging.getLogger(NOISY).setLevel(logging.CRITICAL)
    set_on_retry_hooks([_log_pause])


def get_logger(service: str | None = None) -> structlog.typing.FilteringBoundLogger:
    """Return a logger; without `service` its lines carry the process's."""
    bound: dict[str, str] = {} if service is None else {"service": service}
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**bound)
    return logger


class request_id:  # noqa: N801 - used like a function
    """Put this request id on every line that is logged inside."""

    __slots__ = ("_before", "_value")

    def __init__(self, value: str) -> None:
        self._value = value

    def __enter__(self) -> None:
        self._before = _current_request.set(self._value)

    def __exit__(self, *_: object) -> None:
        _current_request.reset(self._before)


class _Shape:
    """Give an event the contract's fields, in the contract's order."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: object, _method: str, event: Event) -> Mapping[str, Any]:
        error = event.pop("exc_info", None)
        action, level = event.pop("event"), event.pop("level").upper()
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shaped: dict[str, Any] = {
            "timestamp": now,
            "level": level,
            "service": event.get("service", self._service),
            "action": action,
            "message": event.get("message", action),
            "hostname": HOSTNAME,
            "request_id": event.get("request_id") or _current_request.get(),
            "details": {key: value for key, value in event.items() if key not in TOP_LEVEL},
        }
        if "duration_ms" in event:
            shaped["duration_ms"] = event["duration_ms"]
        if level == "ERROR":
            shaped["error"] = _describe(error, shaped["message"])
        return shaped


def _describe(error: object, message: str) -> dict[str, str]:
    """Return an error's text and stack; `error` is what structlog calls `exc_info`."""
    if error is True:
        error = sys.exc_info()[1]
    if not isinstance(error, BaseException):
        return {"msg": message, "stack": ""}
    return {"msg": str(error) or type(error).__name__, "stack": _stack(error)}


def _stack(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


COLOURS = {"DEBUG": "\x1b[2m", "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}
RESET, DIM = "\x1b[0m", "\x1b[2m"


def _console_line(_logger: object, _method: str, event: Mapping[str, Any]) -> str:
    """Show an event short: time, service and sentence, in the colour of its level."""
    clock, service = event["timestamp"][11:19], f"{event['service']:<23}"
    line = f"{DIM}{clock}{RESET} {COLOURS[event['level']]}{service}{RESET} {event['message']}"
    if event.get("error", {}).get("stack"):
        line += "\n" + event["error"]["stack"].rstrip()
    return line


def _json_line(_logger: object, _method: str, event: Mapping[str, Any]) -> str:
    """Write an event as one JSON object; what JSON does not know, as Python shows it."""
    try:
        return to_json(event, fallback=repr).decode()
    except PydanticSerializationError:  # half a character, in a name from a command line, say
        return json.dumps(event, ensure_ascii=False, default=repr, separators=(",", ":"))


def _log_pause(details: RetryDetails) -> None:
    """Log each pause that is made because something is away."""
    broker = isinstance(details.caused_by, BrokerUnavailable)
    get_logger().warning(
        "rabbitmq_connection_failed" if broker else "db_connection_failed",
        message=f"{details.caused_by} Next try in {details.wait_for:.1f} s.",
        retry=details.retry_num,
    )


class _Forward(logging.Handler):
    """Bring what libraries log through `logging` into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger().bind(logger=record.name)
        error = record.exc_info[1] if record.exc_info else None
        method = log.error if record.levelno >= logging.ERROR else log.warning
        method("library_message", message=record.getMessage(), exc_info=error)
