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


class FakeTransport(asyncio.Transport):
    """A transport that records each call of `write`."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Record data."""
        self.written.append(bytes(data))

    def close(self) -> None:
        """Close."""
        self.closed = True

    def is_closing(self) -> bool:
        """Tell whether `close` was called."""
        return self.closed


@pytest.fixture
def transport() -> FakeTransport:
    """Return a transport."""
    return FakeTransport()


async def test_writes_of_one_loop_iteration_are_joined(transport: FakeTransport) -> None:
    buffer = WriteBuffer(transport, asyncio.get_running_loop())

    buffer.write(b"head ")
    buffer.write(b"body")
    await asyncio.sleep(0)
    buffer.write(b"next")
    await asyncio.sleep(0)

    assert transport.written == [b"head body", b"next"]


async def test_send_writes_at_once_after_what_is_held(transport: FakeTransport) -> None:
    buffer = WriteBuffer(transport, asyncio.get_running_loop())
    buffer.write(b"the first response")

    buffer.send(b"the second")

    assert transport.written == [b"the first response", b"the second"]


async def test_close_writes_what_is_held_first(transport: FakeTransport) -> None:
    buffer = WriteBuffer(transport, asyncio.get_running_loop())
    buffer.write(b"the last response")

    buffer.close()
    await asyncio.sleep(0)

    assert transport.written == [b"the last response"]
    assert transport.closed


async def test_full_buffer_is_written_at_once(transport: FakeTransport) -> None:
    """So the writer of a long response is paused while the client does not read."""
    buffer = WriteBuffer(transport, asyncio.get_running_loop())

    buffer.write(b"-" * MAX_BUFFER_SIZE)
    buffer.write(b"-")
    sent_at_once = list(transport.written)
    await asyncio.sleep(0)

    assert sent_at_once == transport.written == [b"-" * (MAX_BUFFER_SIZE + 1)]


async def test_writing_to_a_closed_transport_is_no_error(transport: FakeTransport) -> None:
    buffer = WriteBuffer(transport, asyncio.get_running_loop())
    buffer.write(b"too late")

    transport.closed = True
    buffer.send(b"also this")
    await asyncio.sleep(0)

    assert transport.written == []
    assert buffer.is_closing()


async def test_invalid_http_gets_a_problem_with_a_request_id() -> None:
    async with serve_site(api.build("Test", [Feature(APIRouter())])) as address:
        url = httpx.URL(address)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"two soups, please\r\n\r\n")
        received = await reader.read()
        writer.close()

    head, _, body = received.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    parts = [line.partition(": ") for line in headers]
    fields = httpx.Headers([(name, value) for name, _, value in parts])
    assert status == "HTTP/1.1 400 Bad Request"
    assert_problem(httpx.Response(400, headers=fields, content=body), 400)
    assert fields["Connection"] == "close"
    assert int(fields["Content-Length"]) == len(body)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has this option")
def test_user_timeout_is_set_on_tcp_sockets() -> None:
    """So a tablet whose battery is empty does not keep its station for a quarter of an hour."""
    with socket.socket() as tcp:
        set_user_timeout(asyncio.Transport({"socket": tcp}))

        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == USER_TIMEOUT


def test_user_timeout_is_not_set_on_other_sockets() -> None:
    """A proxy on this machine may connect by a Unix socket."""
    one, other = socket.socketpair()
    with one, other:
        set_user_timeout(asyncio.Transport({"socket": one}))
    set_user_timeout(asyncio.Transport())
