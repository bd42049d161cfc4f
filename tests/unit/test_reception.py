"""How lines are shared among processes; here each process is the other end of its handover."""

import asyncio
import contextlib
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest
from structlog.testing import capture_logs

from restaurant_system.errors import StartupError
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import door
from restaurant_system.web.door import HandedLines, Handover
from restaurant_system.web.reception import Reception


class Taker:
    """A process as the reception knows it, with the lines that it has taken."""

    def __init__(self) -> None:
        self.handover = Handover()
        self.handed = HandedLines(os.dup(self.handover.descriptor))
        self.shutdown = Shutdown()
        self.lines: list[socket.socket] = []


class House:
    """A reception with its door, its processes and its guests."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._listening = stack.enter_context(door.bind("127.0.0.1", 0))
        self.reception = Reception(self._listening)

    async def taker(self) -> Taker:
        """Let a process come that takes whatever it is handed."""
        taker = Taker()
        self._stack.enter_context(taker.handed.watched(taker.shutdown))
        await self._enter(taker)
        return taker

    async def idler(self) -> Taker:
        """Let a process come that takes nothing, as one that hangs."""
        idler = Taker()
        await self._enter(idler)
        return idler

    def guests(self, number: int) -> None:
        """Let guests come."""
        for _ in range(number):
            guest = socket.create_connection(self._listening.getsockname())
            self._stack.enter_context(guest)

    async def _enter(self, taker: Taker) -> None:
        entered = asyncio.Event()

        def enter() -> None:
            self.reception.enter(taker.handover)
            entered.set()

        taker.handover.when_signed(enter)
        taker.handed.open(taker.lines.append)
        await entered.wait()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Open a house in which nobody is yet."""
    with contextlib.ExitStack() as stack:
        house = House(stack)
        house.reception.open()
        yield house


async def come_to(what: Callable[[], Sequence[int]], expected: Sequence[int]) -> None:
    """Wait until it is so, and see that it stays so."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            while what() != expected:  # noqa: ASYNC110 - nobody says when it is so
                await asyncio.sleep(0.01)
    await asyncio.sleep(0.03)
    assert what() == expected


async def test_each_in_its_turn(house: House) -> None:
    """Every process gets as many lines as the next."""
    takers = [await house.taker() for _ in range(3)]

    house.guests(12)

    await come_to(lambda: [len(taker.lines) for taker in takers], [4, 4, 4])


async def test_what_a_dead_process_has_not_taken_goes_to_others(house: House) -> None:
    """A line on its way to a process that dies reaches another, and is not cut off."""
    idler, taker = await house.idler(), await house.taker()
    house.guests(8)
    await come_to(lambda: [len(taker.lines)], [4])

    house.reception.leave(idler.handover)

    await come_to(lambda: [len(taker.lines)], [8])


async def test_without_anybody_lines_wait_for_who_comes(house: House) -> None:
    """While every process is dead, guests wait at the door."""
    house.reception.leave((await house.idler()).handover)
    house.guests(3)

    taker = await house.taker()

    await come_to(lambda: [len(taker.lines)], [3])


async def test_a_process_that_hangs_gets_few(house: House) -> None:
    """Who takes nothing keeps a few lines waiting at the most; the others go to who does."""
    _, taker = await house.idler(), await house.taker()

    house.guests(100)

    await asyncio.sleep(0.1)
    assert len(taker.lines) > 80


async def test_a_process_that_leaves_gets_no_more(house: House) -> None:
    """Lines that come after a process has closed its end are for the others."""
    leaver, taker = await house.taker(), await house.taker()
    await leaver.handed.close()

    house.guests(6)

    await come_to(lambda: [len(leaver.lines), len(taker.lines)], [0, 6])


async def test_who_waits_at_the_end_is_let_in(house: House) -> None:
    """Guests who are at the door when it closes are handed over, more than fit at once too."""
    takers = [await house.taker() for _ in range(2)]
    house.guests(100)

    await house.reception.close()

    await come_to(lambda: [len(taker.lines) for taker in takers], [50, 50])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told to open no more lines")
async def test_who_comes_while_the_door_closes_finds_it_closed() -> None:
    """Nobody is let in between the last look and the closing, to be cut off by it."""
    loop = asyncio.get_running_loop()
    with door.bind("127.0.0.1", 0) as listening, socket.socket() as early, socket.socket() as late:
        late.setblocking(False)  # noqa: FBT003 - the standard library's own
        early.connect(listening.getsockname())

        closing = asyncio.create_task(door.last_lines(listening))
        await asyncio.sleep(0)
        coming = asyncio.create_task(loop.sock_connect(late, listening.getsockname()))
        (line,) = await closing
        listening.close()

        assert line.getpeername() == early.getsockname()
        line.close()
        with pytest.raises(ConnectionRefusedError):
            await coming


async def test_the_end_of_the_lines_is_a_wish_to_stop(house: House) -> None:
    """A process that will get no more winds up; a signal that comes then is still polite."""
    taker = await house.taker()

    taker.handover.end()
    await taker.shutdown.requested.wait()
    taker.shutdown.request_stop()

    assert not taker.shutdown.forced.is_set()
    taker.shutdown.request_stop()
    assert taker.shutdown.forced.is_set()


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Have no file descriptor left while the block lasts."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_lines_for_which_there_is_no_room_are_said_to_be_lost() -> None:
    """Who comes while no more files may be open is cut off, but not in silence, nor in a flood."""
    handover = Handover()
    handed = HandedLines(os.dup(handover.descriptor))
    with contextlib.ExitStack() as stack:
        for line, guest in (socket.socketpair(), socket.socketpair()):
            stack.enter_context(guest)
            handover.hand_over(line)

        with no_room(), capture_logs() as lines:
            await handed.close()

    handover.close()
    assert [line["event"] for line in lines] == ["line_lost"]


def test_a_port_that_is_taken_is_named_once() -> None:
    """Who takes a port too many is told which, why, and what to do."""
    with door.bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as refused:
            door.bind("127.0.0.1", port)

    assert str(refused.value) == (
        f"Cannot listen on 127.0.0.1:{port} (Address already in use); stop what uses it, or choose"
        " another with --port."
    )
