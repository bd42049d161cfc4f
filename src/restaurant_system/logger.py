"""Structured logs as in section 10 of the contract: a JSON object per line, or coloured text.

    log = get_logger("order-service")
    log.info("order_received", message="Order ORD_20241216_001 received.", priority=1)

The event name is the action. Keys that are not fields of the contract go into `details`. Inside
`with request_id(...)`, each line has that request id.

A line contains no personal data and no secrets. Callers log only known names and numbers. The text
of a third-party exception may quote a row, a message or a value, so `error_text` leaves it out.
Invalid request ids are left out as well.
"""

import contextlib
import json
import logging
import re
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, cast

import structlog
from pydantic_core import PydanticSerializationError, to_json
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from restaurant_system.errors import RestaurantError, Unavailable
from restaurant_system.models.text import escape_nonprintable, is_request_id

TOP_LEVEL = frozenset({"request_id", "duration_ms", "service", "message"})
HOSTNAME = socket.gethostname()

_current_request: ContextVar[str] = ContextVar("current_request", default="")
_current_trace_id: Callable[[], str] | None = None  # while requests are traced

# It logs each lost connection; we log these ourselves.
SILENCED_LIBRARY = "aiormq"

# Objects that asyncio and uvloop print after the first words of a message.
PRINTED_OBJECTS = re.compile(r"\n.*|(?<=Exception in callback).*", re.DOTALL)

# Of lines that are written together. Several processes may share a pipe, and what they write to it
# is interleaved if it is longer (PIPE_BUF of Linux; POSIX guarantees 512).
MAX_WRITE = 4096  # bytes

MAX_CHAIN_LENGTH = 20  # causes and contexts of an exception that a stack shows

Event = MutableMapping[str, Any]


def configure(
    *, service: str, level: str, style: Literal["auto", "json", "console"], stream: TextIO
) -> None:
    """Write log lines to `stream`; `auto` means `console` on a terminal, else `json`."""
    output.stream = stream
    console = style == "console" or (style == "auto" and stream.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _ContractFields(service),
            _console_line if console else _json_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", output)),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_LibraryHandler()], level=logging.WARNING, force=True)
    logging.getLogger(SILENCED_LIBRARY).setLevel(logging.CRITICAL)
    set_on_retry_hooks([_log_retry])


def get_logger(service: str | None = None) -> structlog.typing.FilteringBoundLogger:
    """Return a logger whose lines have `service`, by default the one given to `configure`."""
    bound: dict[str, str] = {} if service is None else {"service": service}
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**bound)
    return logger


class Output:
    """What structlog writes to: the stream, with one system call for lines that are joined.

    They are joined here, because Python does not buffer its output if `PYTHONUNBUFFERED` is set, as
    it often is in containers.
    """

    def __init__(self) -> None:
        self.stream: TextIO = sys.stdout
        self._is_joining = False
        self._held: list[str] = []
        self._size = 0  # bytes that are held

    def write(self, line: str) -> None:
        """Hold a line, after what would exceed `MAX_WRITE` together with it is sent."""
        size = len(line.encode(errors="surrogatepass"))
        if self._size + size > MAX_WRITE:
            self._flush()
        self._held.append(line)
        self._size += size

    def flush(self) -> None:
        """Send what was written, unless lines are being joined."""
        if not self._is_joining:
            self._flush()

    @contextlib.contextmanager
    def joining(self) -> Iterator[None]:
        """Send what is written in the block at its end."""
        self._is_joining = True
        try:
            yield
        finally:
            self._is_joining = False
            self._flush()

    def _flush(self) -> None:
        held = "".join(self._held)
        self._held.clear()
        self._size = 0
        self.stream.write(held)
        self.stream.flush()


output = Output()


def joined_lines() -> contextlib.AbstractContextManager[None]:
    """Write the lines that are logged in the block together at its end; it must not await."""
    return output.joining()


def set_trace_id_source(current_trace_id: Callable[[], str] | None) -> None:
    """Add the id of the current trace, if there is one, to the details of each further line."""
    global _current_trace_id  # noqa: PLW0603 - of the process, like the rest of the configuration
    _current_trace_id = current_trace_id


class request_id:  # noqa: N801 - used like a function
    """Context manager that adds a request id to each line logged within it."""

    __slots__ = ("_token", "_value")

    def __init__(self, value: str) -> None:
        self._value = value

    def __enter__(self) -> None:
        self._token = _current_request.set(self._value)

    def __exit__(self, *_: object) -> None:
        _current_request.reset(self._token)


class _ContractFields:
    """Processor that arranges an event into the fields of the contract, in its order."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: object, _method: str, event: Event) -> Mapping[str, Any]:
        error = event.pop("exc_info", None)
        action, level = event.pop("event"), event.pop("level").upper()
        current_id = event.get("request_id") or _current_request.get()
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields: dict[str, Any] = {
            "timestamp": now,
            "level": level,
            "service": event.get("service", self._service),
            "action": action,
            "message": event.get("message", action),
            "hostname": HOSTNAME,
            "request_id": current_id if is_request_id(current_id) else "",
            "details": {key: value for key, value in event.items() if key not in TOP_LEVEL},
        }
        if _current_trace_id is not None and (trace_id := _current_trace_id()):
            fields["details"]["trace_id"] = trace_id
        if "duration_ms" in event:
            fields["duration_ms"] = event["duration_ms"]
        if level == "ERROR":
            fields["error"] = _describe(error, fields["message"])
        return fields


def _describe(error: object, message: str) -> dict[str, str]:
    """Return the text and stack of an error; `error` is structlog's `exc_info`."""
    if error is True:
        error = sys.exc_info()[1]
    if not isinstance(error, BaseException):
        return {"msg": message, "stack": ""}
    return {"msg": error_text(error), "stack": "".join(_stack(error, set()))}


def error_text(error: BaseException) -> str:
    """Describe an error without text that may contain personal data or secrets.

    Returns the text of a `RestaurantError`. Of other errors returns the type, of an `OSError` with
    the system's message, of a PostgreSQL error with SQLSTATE and constraint.
    """
    kind = type(error).__name__
    if isinstance(error, RestaurantError):
        return str(error) or kind
    if isinstance(error, OSError) and error.strerror and error.errno:
        return f"{kind}: {error.strerror}"
    facts = (getattr(error, name, None) for name in ("sqlstate", "constraint_name"))
    description = ", ".join(str(fact) for fact in facts if fact)
    return f"{kind} ({description})" if description else kind


def _stack(error: BaseException, seen: set[int]) -> Iterator[str]:
    """Format a traceback with causes, contexts and groups, with `error_text` for each message.

    `seen` has the ids of the errors that are already formatted, because chains may be circular.
    """
    for link, each in _chain(error, seen):
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(each.__traceback__)
        kind, text = type(each).__name__, error_text(each)
        yield f"{text}\n" if text.startswith(kind) else f"{kind}: {text}\n"
        inner = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        for one in inner:
            if id(one) not in seen:
                yield "\nIn this group:\n\n"
                yield from _stack(one, seen)
        yield link


def _chain(error: BaseException, seen: set[int]) -> list[tuple[str, BaseException]]:
    """Return the causes of an error and the error, oldest first, each with the text after it."""
    chain: list[tuple[str, BaseException]] = []
    link: str = ""
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(chain) < MAX_CHAIN_LENGTH:
        seen.add(id(current))
        chain.append((link, current))
        link, current = _cause_of(current)
    return chain[::-1]


def _cause_of(error: BaseException) -> tuple[str, BaseException | None]:
    if error.__cause__ is not None or error.__suppress_context__:
        return (
            "\nThe above exception was the direct cause of the following exception:\n\n",
            error.__cause__,
        )
    return (
        "\nDuring handling of the above exception, another exception occurred:\n\n",
        error.__context__,
    )


COLOURS = {"DEBUG": "\x1b[2m", "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}
RESET, DIM = "\x1b[0m", "\x1b[2m"


def _console_line(_logger: object, _method: str, event: Mapping[str, Any]) -> str:
    """Format an event as time, service and message, in the colour of its level."""
    clock, service = event["timestamp"][11:19], f"{event['service']:<23}"
    message = escape_nonprintable(str(event["message"]))
    line = f"{DIM}{clock}{RESET} {COLOURS[event['level']]}{service}{RESET} {message}"
    stack = event.get("error", {}).get("stack", "")
    return "\n".join([line, *map(escape_nonprintable, stack.splitlines())])


def _json_line(_logger: object, _method: str, event: Mapping[str, Any]) -> str:
    """Format an event as one JSON object, with `repr` of values that JSON cannot represent.

    Control and format characters are escaped, because a terminal would interpret them.
    """
    try:
        line = to_json(event, fallback=repr).decode()
    except PydanticSerializationError:  # a lone surrogate, e.g. in a command-line argument
        line = json.dumps(event, ensure_ascii=False, default=repr, separators=(",", ":"))
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def _log_retry(details: RetryDetails) -> None:
    """Log a failed attempt and the delay until the next one."""
    error = details.caused_by
    get_logger().warning(
        error.action if isinstance(error, Unavailable) else Unavailable.action,
        message=f"{reason(error)}; retrying in {details.wait_for:.1f} s.",
        retry=details.retry_num,
    )


def reason(error: Exception) -> str:
    """Return an error's text without its full stop, to begin a sentence with."""
    return str(error).rstrip(". ") or type(error).__name__


class _LibraryHandler(logging.Handler):
    """Logs what libraries log with `logging`, without the arguments of their messages.

    These may contain personal data: asyncio prints the bytes that were passed to a callback.
    """

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger().bind(logger=record.name)
        error = record.exc_info[1] if record.exc_info else None
        method = log.error if record.levelno >= logging.ERROR else log.warning
        text = error_text(record.msg) if isinstance(record.msg, Exception) else str(record.msg)
        method("library_message", message=PRINTED_OBJECTS.sub("", text), exc_info=error)
