"""Logs as section 10 of the contract wants them: one JSON object a line, or colours for a person.

    log = get_logger("order-service")
    log.info("order_received", message="Order ORD_20241216_001 received.", priority=1)

The event is the action. What is not one of the contract's own fields goes into `details`. The
request id is bound to the task with `request_id`, and follows every line logged from there.

Personal data and secrets must not get into a line. Callers log known names and numbers only; the
text of an error that is not ours may quote a row, a message or a value, so `error_text` leaves it
out, and an id that is no sane request id is left out as well.
"""

import json
import logging
import re
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import structlog
from pydantic_core import PydanticSerializationError, to_json
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from restaurant_system.errors import RestaurantError, Unavailable
from restaurant_system.escaping import escape_nonprintable
from restaurant_system.models.text import is_request_id

TOP_LEVEL = frozenset({"request_id", "duration_ms", "service", "message"})
HOSTNAME = socket.gethostname()

_current_request: ContextVar[str] = ContextVar("current_request", default="")

# It reports each lost connection on its own; ours is the line that counts.
NOISY = "aiormq"

# Of what a library logs: the objects that asyncio and uvloop show behind their first words.
SHOWN_OBJECTS = re.compile(r"\n.*|(?<=Exception in callback).*", re.DOTALL)

LONGEST_CHAIN = 20  # errors that led to one another, of which a stack shows the last

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
        identity = event.get("request_id") or _current_request.get()
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shaped: dict[str, Any] = {
            "timestamp": now,
            "level": level,
            "service": event.get("service", self._service),
            "action": action,
            "message": event.get("message", action),
            "hostname": HOSTNAME,
            "request_id": identity if is_request_id(identity) else "",
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
    return {"msg": error_text(error), "stack": "".join(_stack(error, set()))}


def error_text(error: BaseException) -> str:
    """Say what an error is, without what may quote a customer's data or a secret.

    Our own errors are sentences of ours. Of others only the type is told, with the system's words
    for an `OSError`, and SQLSTATE and constraint for what PostgreSQL refused.
    """
    kind = type(error).__name__
    if isinstance(error, RestaurantError):
        return str(error) or kind
    if isinstance(error, OSError) and error.strerror and error.errno:
        return f"{kind}: {error.strerror}"
    facts = (getattr(error, name, None) for name in ("sqlstate", "constraint_name"))
    stated = ", ".join(str(fact) for fact in facts if fact)
    return f"{kind} ({stated})" if stated else kind


def _stack(error: BaseException, told: set[int]) -> Iterator[str]:
    """Write an error and those that led to it as Python does, each with its `error_text`.

    `told` has the ids of errors that are written already: groups and chains may lead in circles.
    """
    for link, each in _chain(error, told):
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(each.__traceback__)
        kind, text = type(each).__name__, error_text(each)
        yield f"{text}\n" if text.startswith(kind) else f"{kind}: {text}\n"
        inner = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        for one in inner:
            if id(one) not in told:
                yield "\nWithin that group:\n\n"
                yield from _stack(one, told)
        yield link


def _chain(error: BaseException, told: set[int]) -> list[tuple[str, BaseException]]:
    """Return the errors that led to this one, and it at last, each with the words that follow."""
    chain: list[tuple[str, BaseException]] = []
    link: str = ""
    before: BaseException | None = error
    while before is not None and id(before) not in told and len(chain) < LONGEST_CHAIN:
        told.add(id(before))
        chain.append((link, before))
        link, before = _led_to(before)
    return chain[::-1]


def _led_to(error: BaseException) -> tuple[str, BaseException | None]:
    if error.__cause__ is not None or error.__suppress_context__:
        return "\nThat was the direct cause of:\n\n", error.__cause__
    return "\nWhile that was handled:\n\n", error.__context__


COLOURS = {"DEBUG": "\x1b[2m", "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}
RESET, DIM = "\x1b[0m", "\x1b[2m"


def _console_line(_logger: object, _method: str, event: Mapping[str, Any]) -> str:
    """Show an event short: time, service and sentence, in the colour of its level."""
    clock, service = event["timestamp"][11:19], f"{event['service']:<23}"
    message = escape_nonprintable(str(event["message"]))
    line = f"{DIM}{clock}{RESET} {COLOURS[event['level']]}{service}{RESET} {message}"
    stack = event.get("error", {}).get("stack", "")
    return "\n".join([line, *map(escape_nonprintable, stack.splitlines())])


def _json_line(_logger: object, _method: str, event: Mapping[str, Any]) -> str:
    """Write an event as one JSON object; what JSON does not know, as Python shows it.

    What a terminal might obey is escaped, as JSON has it.
    """
    try:
        line = to_json(event, fallback=repr).decode()
    except PydanticSerializationError:  # half a character, in a name from a command line, say
        line = json.dumps(event, ensure_ascii=False, default=repr, separators=(",", ":"))
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def _log_pause(details: RetryDetails) -> None:
    """Log each pause before a retry."""
    error = details.caused_by
    get_logger().warning(
        error.action if isinstance(error, Unavailable) else Unavailable.action,
        message=f"{reason(error)}; retrying in {details.wait_for:.1f} s.",
        retry=details.retry_num,
    )


def reason(error: Exception) -> str:
    """Return an error's text as the first part of a sentence, without a full stop."""
    return str(error).rstrip(". ") or type(error).__name__


class _Forward(logging.Handler):
    """Bring what libraries log through `logging` into the same lines.

    Their arguments are left out: asyncio, for one, shows the bytes that a callback was given.
    """

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger().bind(logger=record.name)
        error = record.exc_info[1] if record.exc_info else None
        method = log.error if record.levelno >= logging.ERROR else log.warning
        text = error_text(record.msg) if isinstance(record.msg, Exception) else str(record.msg)
        method("library_message", message=SHOWN_OBJECTS.sub("", text), exc_info=error)
