import io
import json
import logging
import re
import socket
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from restaurant_system.logger import configure, get_logger, request_id
from tests.support import logs

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


def cut_off(reason: str) -> None:
    """Fail."""
    raise OSError(reason)


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
    """An error has its text and its stack, on the one line."""
    stream = opened()

    try:
        cut_off("no more tomatoes")
    except OSError:
        get_logger().exception("message_processing_failed", message="An order failed.")

    (line,) = lines(stream)
    assert line["level"] == "ERROR"
    assert line["message"] == "An order failed."
    assert line["error"]["msg"] == "no more tomatoes"
    assert "Traceback" in line["error"]["stack"]
    assert "in cut_off" in line["error"]["stack"]


def test_error_that_was_handed_in() -> None:
    """An error that is not being handled right now is described all the same."""
    stream = opened()

    get_logger().error("request_failed", message="A request failed.", exc_info=KeyError("soup"))

    (line,) = lines(stream)
    assert line["error"]["msg"] == "'soup'"
    assert "KeyError" in line["error"]["stack"]
    assert line["details"] == {}


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
        cut_off("no line")
    except OSError:
        logging.getLogger("uvicorn").exception("Socket %s", "lost")

    (line,) = lines(stream)
    assert line["action"] == "library_message"
    assert line["message"] == "Socket lost"
    assert line["details"] == {"logger": "uvicorn"}
    assert line["error"]["msg"] == "no line"


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

    assert "KeyError: 'soup'" in stream.getvalue()
