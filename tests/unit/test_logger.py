import asyncio
import errno
import gc
import io
import json
import logging
import re
import socket
from collections.abc import Iterator
from typing import Any, Literal

import asyncpg
import pytest
import stamina
import structlog

from restaurant_system.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    QueueTableUnavailable,
    Unavailable,
)
from restaurant_system.logger import MAX_WRITE, configure, get_logger, joined_lines, request_id
from tests.support import logs

NAME = "Jane Roe"
TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return that the stream is a terminal."""
        return True


class UnbufferedPipe(io.StringIO):
    """A stream that makes a system call for each write, and records the sizes of these."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[int] = []

    def write(self, text: str) -> int:
        """Record the number of characters."""
        if text:
            self.writes.append(len(text))
        return super().write(text)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with logs.restored():
        yield


def log_to(
    stream: io.StringIO | None = None,
    style: Literal["auto", "json", "console"] = "json",
    level: str = "DEBUG",
) -> io.StringIO:
    """Configure logging; return the stream that it writes to."""
    stream = stream or io.StringIO()
    configure(service="kitchen-worker", level=level, style=style, stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Parse the JSON lines in a stream."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail_with_connection_reset() -> None:
    """Raise an `OSError`."""
    raise OSError(errno.ECONNRESET, "Connection reset by peer")


def test_logger_that_was_used_in_a_restored_block_is_captured_after_it() -> None:
    log = get_logger()
    with logs.restored():
        log_to(level="CRITICAL")
        log.warning("within")

    with logs.capture_logs() as captured:
        log.warning("after")

    assert [line["event"] for line in captured] == ["after"]


def test_restored_block_leaves_logging_unconfigured_if_it_was() -> None:
    structlog.reset_defaults()
    with logs.restored():
        log_to()

    assert not structlog.is_configured()


def test_each_line_is_written_at_once() -> None:
    stream = UnbufferedPipe()
    log = get_logger()
    log_to(stream)
    log.info("first")
    assert stream.writes == [len(stream.getvalue())]
    log.info("second")
    assert len(stream.writes) == 2


def test_joined_lines_are_written_together_in_whole_lines_of_limited_size() -> None:
    stream = UnbufferedPipe()
    log_to(stream)
    log = get_logger()
    with joined_lines():
        for number in range(50):
            log.info("order_received", order_number=number)
    assert [line["details"]["order_number"] for line in lines(stream)] == list(range(50))
    line_size = max(map(len, stream.getvalue().splitlines(keepends=True)))
    assert all(MAX_WRITE - line_size <= size <= MAX_WRITE for size in stream.writes[:-1])
    assert sum(stream.writes) == len(stream.getvalue())
    log.info("after")
    assert sum(stream.writes) == len(stream.getvalue())


def test_joined_lines_are_written_if_the_block_fails() -> None:
    stream = UnbufferedPipe()
    log_to(stream)

    def fail_after_a_line() -> None:
        with joined_lines():
            get_logger().info("first")
            fail_with_connection_reset()

    with pytest.raises(ConnectionResetError):
        fail_after_a_line()
    assert sum(stream.writes) == len(stream.getvalue()) > 0


def test_log_line_has_the_fields_of_the_contract() -> None:
    """Keys that the contract does not name are in the details."""
    stream = log_to()

    get_logger().info("order_received", message="Order received.", order_number="N", priority=1)

    (line,) = lines(stream)
    assert TIMESTAMP.fullmatch(line.pop("timestamp"))
    assert line == {
        "level": "INFO",
        "service": "kitchen-worker",
        "action": "order_received",
        "message": "Order received.",
        "hostname": socket.gethostname(),
        "request_id": "",
        "details": {"order_number": "N", "priority": 1},
    }


def test_duration_is_a_field_of_the_log_line() -> None:
    stream = log_to()

    get_logger().debug("request_received", message="GET / answered 200.", duration_ms=1.5)

    (line,) = lines(stream)
    assert line["duration_ms"] == 1.5
    assert line["details"] == {}


def test_level_names_are_upper_case() -> None:
    stream = log_to()
    log = get_logger()

    log.debug("heartbeat_sent", message="Here.")
    log.info("order_received", message="Received.")
    log.warning("retry_attempted", message="Again.")
    log.error("db_query_failed", message="Failed.")

    assert [line["level"] for line in lines(stream)] == ["DEBUG", "INFO", "WARNING", "ERROR"]


def test_events_below_the_level_are_not_logged() -> None:
    stream = log_to(level="WARNING")
    log = get_logger()

    log.info("order_received", message="Received.")
    log.warning("retry_attempted", message="Again.")

    assert [line["action"] for line in lines(stream)] == ["retry_attempted"]


def test_logger_may_have_its_own_service() -> None:
    stream = log_to()

    get_logger("order-service").info("order_received", message="Received.")

    (line,) = lines(stream)
    assert line["service"] == "order-service"
    assert line["details"] == {}


def test_logged_error_has_message_and_stack_in_the_same_line() -> None:
    stream = log_to()

    try:
        fail_with_connection_reset()
    except OSError:
        get_logger().exception("message_processing_failed", message="An order failed.")

    (line,) = lines(stream)
    assert line["level"] == "ERROR"
    assert line["message"] == "An order failed."
    assert line["error"]["msg"] == "ConnectionResetError: Connection reset by peer"
    assert "Traceback" in line["error"]["stack"]
    assert "in fail_with_connection_reset" in line["error"]["stack"]


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (DatabaseUnavailable("Connection refused."), "db_connection_failed"),
        (BrokerUnavailable("Connection refused"), "rabbitmq_connection_failed"),
        (QueueTableUnavailable("Connection refused"), "db_connection_failed"),
    ],
)
def test_retry_is_logged_with_its_reason_and_delay(error: Unavailable, action: str) -> None:
    """An unavailable broker in PostgreSQL is logged as an outage of the database."""
    stream = log_to()

    for attempt in stamina.retry_context(on=Unavailable, attempts=2, wait_initial=0, wait_max=0):
        with attempt:
            if attempt.num == 1:
                raise error

    (line,) = lines(stream)
    assert line["action"] == action
    assert line["message"] == "Connection refused; retrying in 0.0 s."


def test_error_passed_as_exc_info_is_described() -> None:
    stream = log_to()

    get_logger().error("request_failed", message="A request failed.", exc_info=KeyError("soup"))

    (line,) = lines(stream)
    assert line["error"]["msg"] == "KeyError"
    assert "KeyError" in line["error"]["stack"]
    assert line["details"] == {}


def test_text_of_third_party_errors_is_left_out_of_the_whole_stack() -> None:
    """Texts of third-party errors may quote personal data; their types and frames are logged."""
    stream = log_to()
    error = DatabaseUnavailable("The database does not answer.")
    error.__cause__ = ValueError(NAME)
    group = ExceptionGroup(NAME, [error, KeyError(NAME)])
    group.add_note(NAME)

    get_logger().error("request_failed", message="A request failed.", exc_info=group)

    assert "Jane" not in stream.getvalue()
    (line,) = lines(stream)
    stack = line["error"]["stack"]
    expected = ["ExceptionGroup", "ValueError\n", "DatabaseUnavailable: The database", "KeyError"]
    assert all(words in stack for words in expected)
    assert line["error"]["msg"] == "ExceptionGroup"


def test_postgres_error_is_described_by_sqlstate_and_constraint() -> None:
    """PostgreSQL's message and detail may quote a row, so they are not logged."""
    stream = log_to()
    error = asyncpg.CheckViolationError(f'row "{NAME}" violates a constraint')
    error.detail = f"Failing row contains ({NAME})."
    error.constraint_name = "table_is_for_dine_in"

    get_logger().error("request_failed", message="A request failed.", exc_info=error)

    assert "Jane" not in stream.getvalue()
    (line,) = lines(stream)
    assert line["error"]["msg"] == "CheckViolationError (23514, table_is_for_dine_in)"


def test_circular_chain_of_errors_is_logged_once() -> None:
    stream = log_to()
    error = KeyError("soup")
    group = ExceptionGroup("many", [error, ExceptionGroup("more", [error])])
    error.__context__ = group

    get_logger().error("request_failed", message="A request failed.", exc_info=error)

    stack = lines(stream)[0]["error"]["stack"]
    assert (stack.count("KeyError\n"), stack.count("ExceptionGroup\n")) == (1, 2)


def test_log_line_at_error_without_exception_has_an_error() -> None:
    stream = log_to()

    get_logger().error("worker_registration_failed", message="The name is taken.")

    (line,) = lines(stream)
    assert line["error"] == {"msg": "The name is taken.", "stack": ""}


def test_log_line_below_error_has_no_error() -> None:
    stream = log_to()

    get_logger().warning("db_connection_failed", message="Away.")

    assert "error" not in lines(stream)[0]


def test_request_id_is_logged_within_its_context() -> None:
    stream = log_to()
    log = get_logger()

    with request_id("request-1"):
        log.info("order_received", message="Received.")
        with request_id("request-2"):
            log.info("order_received", message="Received.")
        log.info("order_published", message="Published.", request_id="request-3")
    log.info("service_started", message="Started.")

    assert [line["request_id"] for line in lines(stream)] == [
        "request-1",
        "request-2",
        "request-3",
        "",
    ]


@pytest.mark.parametrize("value", ["Jane Roe", "\x1b[2J", "\u202e", "x" * 129])
def test_invalid_request_id_is_not_logged(value: str) -> None:
    """A message of a third party may have any value in its place."""
    stream = log_to()

    with request_id(value):
        get_logger().info("order_received", message="Received.")

    assert lines(stream)[0]["request_id"] == ""


@pytest.mark.parametrize("char", ["\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u2028", "\ud800"])
@pytest.mark.parametrize("style", ["json", "console"])
def test_control_and_format_characters_are_escaped(
    char: str, style: Literal["json", "console"]
) -> None:
    """Control characters are escaped in the message, in values and in stacks, in both styles."""
    stream = log_to(style=style)
    error = DatabaseUnavailable(f"a{char}b")

    get_logger().error("request_failed", message=f"a{char}b", worker_name=char, exc_info=error)

    shown = re.sub(r"\x1b\[\d*m", "", stream.getvalue())
    assert char not in shown
    if style == "json":
        (line,) = lines(stream)
        assert (line["message"], line["details"]) == (f"a{char}b", {"worker_name": char})


def test_event_with_line_breaks_stays_on_one_line() -> None:
    """Line breaks are escaped; letters of any script stay readable."""
    stream = log_to()

    get_logger().info("order_received", message='Crème\n"brûlée" 李', note="a\r\nb")

    assert stream.getvalue().count("\n") == 1
    assert "Crème" in stream.getvalue()
    (line,) = lines(stream)
    assert line["message"] == 'Crème\n"brûlée" 李'


def test_library_message_is_logged_with_its_stack() -> None:
    stream = log_to()

    try:
        fail_with_connection_reset()
    except OSError:
        logging.getLogger("uvicorn").exception("Socket %s is lost", NAME)

    (line,) = lines(stream)
    assert line["action"] == "library_message"
    assert line["message"] == "Socket %s is lost"
    assert line["details"] == {"logger": "uvicorn"}
    assert line["error"]["msg"] == "ConnectionResetError: Connection reset by peer"


async def test_objects_printed_by_asyncio_are_not_logged() -> None:
    """The arguments of a callback are bytes of a request; a task's error may quote them."""
    stream = log_to()

    def fail(_: bytes) -> None:
        raise ValueError(NAME)

    async def fail_unseen() -> None:
        fail(b"")

    asyncio.get_running_loop().call_soon(fail, NAME.encode())
    task = asyncio.create_task(fail_unseen())
    await asyncio.sleep(0.01)
    del task
    gc.collect()

    assert "Jane" not in stream.getvalue()
    assert [line["message"] for line in lines(stream)] == [
        "Exception in callback",
        "Task exception was never retrieved",
    ]


def test_messages_of_the_amqp_client_are_not_logged() -> None:
    stream = log_to()

    logging.getLogger("aiormq.connection").warning("Connection lost")

    assert lines(stream) == []


def test_auto_style_on_a_terminal_is_console() -> None:
    """A console line has time, service and message, in colour."""
    stream = log_to(Terminal(), "auto")

    get_logger("order-service").info("order_received", message="Order received.", priority=1)

    shown = stream.getvalue()
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[\d*m", "", shown)
    assert re.fullmatch(r"\d\d:\d\d:\d\d order-service +Order received\.\n", plain)


def test_auto_style_without_a_terminal_is_json() -> None:
    stream = log_to(io.StringIO(), "auto")

    get_logger().info("service_started", message="Started.")

    assert lines(stream)[0]["action"] == "service_started"


def test_given_style_applies_on_terminals_and_elsewhere() -> None:
    console, terminal = io.StringIO(), Terminal()

    log_to(console, "console")
    get_logger().info("service_started", message="Started.")
    log_to(terminal, "json")
    get_logger().info("service_started", message="Started.")

    assert not console.getvalue().startswith("{")
    assert lines(terminal)[0]["action"] == "service_started"


def test_console_shows_the_stack_of_an_error() -> None:
    stream = log_to(Terminal(), "auto")

    get_logger().error("request_failed", message="Failed.", exc_info=KeyError("soup"))

    assert "KeyError" in stream.getvalue()
