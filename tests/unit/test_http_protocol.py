import asyncio
import socket

import httpx
import pytest
from fastapi import APIRouter

from restaurant_system.web import api
from restaurant_system.web.api import Feature
from restaurant_system.web.fastpath.write_buffer import MAX_BUFFER_SIZE, WriteBuffer
from restaurant_system.web.http_protocol import USER_TIMEOUT, set_user_timeout
from tests.support.responses import assert_problem
from tests.support.services import serve_site


class Line(asyncio.Transport):
    """A line that remembers what was sent on it, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        self.sent.append(bytes(data))

    def close(self) -> None:
        """Hang up."""
        self.closed = True

    def is_closing(self) -> bool:
        """Tell whether somebody has hung up."""
        return self.closed


@pytest.fixture
def line() -> Line:
    """Have a line."""
    return Line()


async def test_what_is_written_in_one_turn_leaves_together(line: Line) -> None:
    """In its order; what is written in the next turn does not wait for more."""
    gathering = WriteBuffer(line, asyncio.get_running_loop())

    gathering.write(b"head ")
    gathering.write(b"body")
    await asyncio.sleep(0)
    gathering.write(b"next")
    await asyncio.sleep(0)

    assert line.sent == [b"head body", b"next"]


async def test_what_is_whole_leaves_at_once(line: Line) -> None:
    """After what is held, and without waiting for a turn of the loop."""
    gathering = WriteBuffer(line, asyncio.get_running_loop())
    gathering.write(b"the first answer")

    gathering.send(b"the second")

    assert line.sent == [b"the first answer", b"the second"]


async def test_what_is_held_leaves_before_the_end(line: Line) -> None:
    """Who hangs up after an answer has sent it."""
    gathering = WriteBuffer(line, asyncio.get_running_loop())
    gathering.write(b"goodbye")

    gathering.close()
    await asyncio.sleep(0)

    assert line.sent == [b"goodbye"]
    assert line.closed


async def test_little_is_held(line: Line) -> None:
    """A long answer leaves as it is written, so that whoever writes it feels a slow client."""
    gathering = WriteBuffer(line, asyncio.get_running_loop())

    gathering.write(b"-" * MAX_BUFFER_SIZE)
    gathering.write(b"-")
    sent_at_once = list(line.sent)
    await asyncio.sleep(0)

    assert sent_at_once == line.sent == [b"-" * (MAX_BUFFER_SIZE + 1)]


async def test_nothing_is_sent_to_who_has_gone(line: Line) -> None:
    """A client that hangs up amid its answer is no error."""
    gathering = WriteBuffer(line, asyncio.get_running_loop())
    gathering.write(b"too late")

    line.closed = True
    gathering.send(b"also this")
    await asyncio.sleep(0)

    assert line.sent == []
    assert gathering.is_closing()


async def test_what_is_no_http_is_refused_as_a_problem() -> None:
    """Also who cannot be understood is told so in the form of every refusal, with an id."""
    async with serve_site(api.build("Tavern", [Feature(APIRouter())])) as address:
        url = httpx.URL(address)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"two soups, please\r\n\r\n")
        answer = await reader.read()
        writer.close()

    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    parts = [line.partition(": ") for line in headers]
    fields = httpx.Headers([(name, value) for name, _, value in parts])
    assert status == "HTTP/1.1 400 Bad Request"
    assert_problem(httpx.Response(400, headers=fields, content=body), 400)
    assert fields["Connection"] == "close"
    assert int(fields["Content-Length"]) == len(body)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has this option")
def test_a_client_that_acknowledges_nothing_is_given_up() -> None:
    """A tablet whose battery is empty does not keep its station for a quarter of an hour."""
    with socket.socket() as tcp:
        set_user_timeout(asyncio.Transport({"socket": tcp}))

        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == USER_TIMEOUT


def test_a_line_that_is_none_of_tcp_is_left_alone() -> None:
    """Behind a proxy on this machine there may be other sockets than TCP's, or none."""
    one, other = socket.socketpair()
    with one, other:
        set_user_timeout(asyncio.Transport({"socket": one}))
    set_user_timeout(asyncio.Transport())
