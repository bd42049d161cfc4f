import asyncio

import pytest

from restaurant_system.write_buffer import MAX_BUFFER_SIZE, WriteBuffer


class FakeTransport(asyncio.Transport):
    """A transport that records each call of `write`."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Record the written data."""
        self.written.append(bytes(data))

    def close(self) -> None:
        """Record that the transport was closed."""
        self.closed = True

    def is_closing(self) -> bool:
        """Return whether the transport was closed."""
        return self.closed


@pytest.fixture
def transport() -> FakeTransport:
    """Return a fake transport."""
    return FakeTransport()


async def test_writes_of_one_loop_iteration_are_joined(transport: FakeTransport) -> None:
    buffer = WriteBuffer(transport, asyncio.get_running_loop())

    buffer.write(b"head ")
    buffer.writelines([b"bo", b"dy"])
    await asyncio.sleep(0)
    buffer.write(b"next")
    await asyncio.sleep(0)

    assert transport.written == [b"head body", b"next"]


async def test_send_writes_at_once_after_buffered_data(transport: FakeTransport) -> None:
    buffer = WriteBuffer(transport, asyncio.get_running_loop())
    buffer.write(b"the first response")

    buffer.send(b"the second")

    assert transport.written == [b"the first response", b"the second"]


async def test_close_writes_buffered_data_first(transport: FakeTransport) -> None:
    buffer = WriteBuffer(transport, asyncio.get_running_loop())
    buffer.write(b"the last response")

    buffer.close()
    await asyncio.sleep(0)

    assert transport.written == [b"the last response"]
    assert transport.closed


async def test_full_buffer_is_written_at_once(transport: FakeTransport) -> None:
    """A full buffer is written at once, so that a slow client pauses the writer."""
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
