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

from restaurant_system.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    QueueTableUnavailable,
    Unavailable,
)
from restaurant_system.logger import configure, get_logger, request_id
from tests.support import logs

NAME = "Jane Roe"
TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")


class Terminal(io.StringIO):
    """What a person looks at."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with logs.restored():
        yield


def opened(
    stream: io.StringIO | None = None,
    style: Literal["auto", "json", "console"] = "json",
    level: str = "DEBUG",
) -> io.StringIO:
    """Log into `stream` from now on."""
    stream = stream or io.StringIO()
    configure(service="kitchen-worker", level=level, style=style, stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Read what was logged, one object a line."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def cut_off() -> None:
    """Fail."""
    raise OSError(errno.ECONNRESET, "Connection reset by peer")


def test_fields() -> None:
    """A line has the contract's fields; whatever else was said is in the details."""
    stream = opened()

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


def test_time_taken() -> None:
    """Where something was timed, its duration is a field of its own."""
    stream = opened()

    get_logger().debug("request_received", message="GET / answered 200.", duration_ms=1.5)

    (line,) = lines(stream)
    assert line["duration_ms"] == 1.5
    assert line["details"] == {}


def test_levels() -> None:
    """The four levels go by their names."""
    stream = opened()
    log = get_logger()

    log.debug("heartbeat_sent", message="Here.")
    log.info("order_received", message="Received.")
    log.warning("retry_attempted", message="Again.")
    log.error("db_query_failed", message="Failed.")

    assert [line["level"] for line in lines(stream)] == ["DEBUG", "INFO", "WARNING", "ERROR"]


def test_level_asked_for() -> None:
    """What is below the level asked for is not logged."""
    stream = opened(level="WARNING")
    log = get_logger()

    log.info("order_received", message="Received.")
    log.warning("retry_attempted", message="Again.")

    assert [line["action"] for line in lines(stream)] == ["retry_attempted"]


def test_service_of_a_logger() -> None:
    """In a process of several services a logger can carry its own."""
    stream = opened()

    get_logger("order-service").info("order_received", message="Received.")

    (line,) = lines(stream)
    assert line["service"] == "order-service"
    assert line["details"] == {}


def test_error_with_its_stack() -> None:
    """An error has what the system calls it and its stack, on the one line."""
    stream = opened()

    try:
        cut_off()
    except OSError:
        get_logger().exception("message_processing_failed", message="An order failed.")

    (line,) = lines(stream)
    assert line["level"] == "ERROR"
    assert line["message"] == "An order failed."
    assert line["error"]["msg"] == "ConnectionResetError: Connection reset by peer"
    assert "Traceback" in line["error"]["stack"]
    assert "in cut_off" in line["error"]["stack"]


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (DatabaseUnavailable("Connection refused."), "db_connection_failed"),
        (BrokerUnavailable("Connection refused"), "rabbitmq_connection_failed"),
        (QueueTableUnavailable("Connection refused"), "db_connection_failed"),
    ],
)
def test_retry_is_logged_with_its_reason_and_its_pause(error: Unavailable, action: str) -> None:
    """The broker in PostgreSQL is unavailable with the database, and is no RabbitMQ."""
    stream = opened()

    for attempt in stamina.retry_context(on=Unavailable, attempts=2, wait_initial=0, wait_max=0):
        with attempt:
            if attempt.num == 1:
                raise error

    (line,) = lines(stream)
    assert line["action"] == action
    assert line["message"] == "Connection refused; retrying in 0.0 s."


def test_error_that_was_handed_in() -> None:
    """An error that is not being handled right now is described all the same."""
    stream = opened()

    get_logger().error("request_failed", message="A request failed.", exc_info=KeyError("soup"))

    (line,) = lines(stream)
    assert line["error"]["msg"] == "KeyError"
    assert "KeyError" in line["error"]["stack"]
    assert line["details"] == {}


def test_text_of_an_error_that_is_not_ours_is_left_out_with_all_that_led_to_it() -> None:
    """It may quote a customer's data; types, frames and our own sentences are told."""
    stream = opened()
    error = DatabaseUnavailable("The database does not answer.")
    error.__cause__ = ValueError(NAME)
    group = ExceptionGroup(NAME, [error, KeyError(NAME)])
    group.add_note(NAME)

    get_logger().error("request_failed", message="A request failed.", exc_info=group)

    assert "Jane" not in stream.getvalue()
    (line,) = lines(stream)
    stack = line["error"]["stack"]
    told = ["ExceptionGroup", "ValueError\n", "DatabaseUnavailable: The database", "KeyError"]
    assert all(words in stack for words in told)
    assert line["error"]["msg"] == "ExceptionGroup"


def test_error_of_postgresql_is_told_by_sqlstate_and_constraint() -> None:
    """Its message, its detail and its arguments may quote a row."""
    stream = opened()
    error = asyncpg.CheckViolationError(f'row "{NAME}" violates a constraint')
    error.detail = f"Failing row contains ({NAME})."
    error.constraint_name = "table_is_for_dine_in"

    get_logger().error("request_failed", message="A request failed.", exc_info=error)

    assert "Jane" not in stream.getvalue()
    (line,) = lines(stream)
    assert line["error"]["msg"] == "CheckViolationError (23514, table_is_for_dine_in)"


def test_chain_of_errors_that_never_ends_is_cut() -> None:
    """An error that led to itself is described all the same."""
    stream = opened()
    error = KeyError("soup")
    group = ExceptionGroup("many", [error, ExceptionGroup("more", [error])])
    error.__context__ = group

    get_logger().error("request_failed", message="A request failed.", exc_info=error)

    stack = lines(stream)[0]["error"]["stack"]
    assert (stack.count("KeyError\n"), stack.count("ExceptionGroup\n")) == (1, 2)


def test_error_without_exception() -> None:
    """A line at ERROR always has an error, also where nothing was raised."""
    stream = opened()

    get_logger().error("worker_registration_failed", message="The name is taken.")

    (line,) = lines(stream)
    assert line["error"] == {"msg": "The name is taken.", "stack": ""}


def test_no_error_below_error() -> None:
    """No line below ERROR has an error."""
    stream = opened()

    get_logger().warning("db_connection_failed", message="Away.")

    assert "error" not in lines(stream)[0]


def test_request_id() -> None:
    """Inside a request each line carries its id, and outside none does."""
    stream = opened()
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


@pytest.mark.parametrize("identity", ["Jane Roe", "\x1b[2J", "\u202e", "x" * 129])
def test_request_id_that_is_none_is_not_logged(identity: str) -> None:
    """A third party's message may carry anything in its place."""
    stream = opened()

    with request_id(identity):
        get_logger().info("order_received", message="Received.")

    assert lines(stream)[0]["request_id"] == ""


@pytest.mark.parametrize("char", ["\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u2028", "\ud800"])
@pytest.mark.parametrize("style", ["json", "console"])
def test_character_that_a_terminal_may_obey_is_escaped(
    char: str, style: Literal["json", "console"]
) -> None:
    """In the sentence, in a value and in a stack, whichever way lines are shown."""
    stream = opened(style=style)
    error = DatabaseUnavailable(f"a{char}b")

    get_logger().error("request_failed", message=f"a{char}b", worker_name=char, exc_info=error)

    shown = re.sub(r"\x1b\[\d*m", "", stream.getvalue())
    assert char not in shown
    if style == "json":
        (line,) = lines(stream)
        assert (line["message"], line["details"]) == (f"a{char}b", {"worker_name": char})


def test_one_line_whatever_is_said() -> None:
    """Line breaks, quotes and letters of any script stay within their one line, readable."""
    stream = opened()

    get_logger().info("order_received", message='Crème\n"brûlée" 李', note="a\r\nb")

    assert stream.getvalue().count("\n") == 1
    assert "Crème" in stream.getvalue()
    (line,) = lines(stream)
    assert line["message"] == 'Crème\n"brûlée" 李'


def test_libraries() -> None:
    """What a library logs comes as a line like any other, its stack with it."""
    stream = opened()

    try:
        cut_off()
    except OSError:
        logging.getLogger("uvicorn").exception("Socket %s is lost", NAME)

    (line,) = lines(stream)
    assert line["action"] == "library_message"
    assert line["message"] == "Socket %s is lost"
    assert line["details"] == {"logger": "uvicorn"}
    assert line["error"]["msg"] == "ConnectionResetError: Connection reset by peer"


async def test_objects_that_asyncio_shows_are_left_out() -> None:
    """A callback's arguments are the bytes of a request; a task's error may quote them."""
    stream = opened()

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


def test_libraries_that_repeat_us() -> None:
    """What the broker's client reports of a lost connection is ours to say."""
    stream = opened()

    logging.getLogger("aiormq.connection").warning("Connection lost")

    assert lines(stream) == []


def test_console_on_a_terminal() -> None:
    """A terminal shows a line short and in colour: time, service, sentence."""
    stream = opened(Terminal(), "auto")

    get_logger("order-service").info("order_received", message="Order received.", priority=1)

    shown = stream.getvalue()
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[\d*m", "", shown)
    assert re.fullmatch(r"\d\d:\d\d:\d\d order-service +Order received\.\n", plain)


def test_json_elsewhere() -> None:
    """Where nobody looks, `auto` is JSON."""
    stream = opened(io.StringIO(), "auto")

    get_logger().info("service_started", message="Started.")

    assert lines(stream)[0]["action"] == "service_started"


def test_what_was_asked_for() -> None:
    """What was asked for decides, terminal or not."""
    console, terminal = io.StringIO(), Terminal()

    opened(console, "console")
    get_logger().info("service_started", message="Started.")
    opened(terminal, "json")
    get_logger().info("service_started", message="Started.")

    assert not console.getvalue().startswith("{")
    assert lines(terminal)[0]["action"] == "service_started"


def test_stack_on_the_console() -> None:
    """A person sees the stack of an error too."""
    stream = opened(Terminal(), "auto")

    get_logger().error("request_failed", message="Failed.", exc_info=KeyError("soup"))

    assert "KeyError" in stream.getvalue()
