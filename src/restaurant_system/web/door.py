"""Where lines come in: a port, or a supervisor that has let them in there for several processes.

A line that is handed over travels as a file descriptor on a pair of sockets, one pair for each
process. The end of that pair is the end of the lines: the supervisor has closed the door, or has
died.
"""

import array
import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator

from restaurant_system.errors import StartupError
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.file_descriptors import ThrottledLog

BACKLOG = 2048
VARIABLE = "_RESTAURANT_SUPERVISOR"  # tells a process on which descriptor it is handed its lines
UNTAKEN = 4096  # bytes of room for lines on their way: who does not take them gets few
LAST_LINES = 0.2  # s for the supervisor to close the door, where all processes are signalled
SIGN = b"\n"  # goes with each line; back, it says that the process accepts, then that it started
HALF_OPEN = 0.05  # s for lines to be open whose opening has begun

# What the kernel is told of each packet that comes to a door (the kernel's own documentation,
# networking/filter.rst): to drop those that begin to open a line, and to take all others.
SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python has no name for it
BEGIN_NOTHING = (
    (0x30, 0, 0, 13),  # load the byte of the TCP header with the flags
    (0x45, 0, 1, 0x02),  # go on if SYN is among them (what a door gets is never an answer to one)
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # take
)


def bind(host: str, port: int) -> socket.socket:
    """Take a port before anything is started for it; raises `StartupError` when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason, *_ = str(error.strerror).split(" (while ")  # which names the address once more
        raise StartupError(
            f"Cannot listen on {host}:{port} ({reason}); stop what uses it, or choose"
            " another with --port."
        ) from error
    # Accepted connections inherit it: a response that the kernel holds back would be lost when the
    # connection is closed before all that the client has sent is read.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


async def last_lines(listening: socket.socket) -> list[socket.socket]:
    """Take the lines that nobody has accepted yet, and have the kernel open no more.

    A door that is just closed cuts off who came in since somebody last looked. Who comes while this
    is awaited is heard a second later, when TCP repeats itself, by whoever listens then. (Still cut
    off is whose line takes longer than `HALF_OPEN` to open.)
    """
    _bar(listening)
    await asyncio.sleep(HALF_OPEN)
    return list(_waiting_at(listening))


def _bar(listening: socket.socket) -> None:
    """Have a door begin to open no more lines, where the kernel can be told so: on Linux."""
    if sys.platform != "linux":
        return
    program = array.array("B", b"".join(struct.pack("HBBI", *each) for each in BEGIN_NOTHING))
    address, _ = program.buffer_info()
    filtering = struct.pack("HP", len(BEGIN_NOTHING), address)
    with contextlib.suppress(OSError):  # a sandbox may not know it
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filtering)


def _waiting_at(listening: socket.socket) -> Iterator[socket.socket]:
    listening.setblocking(False)  # noqa: FBT003 - the standard library's own
    while True:
        try:
            line, _ = listening.accept()
        except ConnectionError:  # hung up at the door
            continue
        except OSError:  # nobody is left, or no descriptor
            return
        yield line


class Handover:
    """A supervisor's way of handing lines to one of its processes."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)  # noqa: FBT003 - the standard library's own
        self._theirs.setblocking(False)  # noqa: FBT003 - likewise
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNTAKEN)

    @property
    def descriptor(self) -> int:
        """The process's end, which it inherits."""
        return self._theirs.fileno()

    def when_signed(self, *calls: Callable[[], None]) -> None:
        """Call each in turn: when the process accepts connections, and when it has started."""
        loop = asyncio.get_running_loop()
        due = list(calls)

        def receive() -> None:
            signs = self._ours.recv(len(due))
            called, due[:] = due[: len(signs)], due[len(signs) :]
            if not (signs and due):
                loop.remove_reader(self._ours)
            for call in called:
                call()

        loop.add_reader(self._ours, receive)

    def hand_over(self, line: socket.socket) -> bool:
        """Hand over a line; return whether the process has room for it and does not leave."""
        try:
            socket.send_fds(self._ours, [SIGN], [line.fileno()])
        except OSError:
            return False
        line.close()
        return True

    def end(self) -> None:
        """Say that no more lines come."""
        self._ours.shutdown(socket.SHUT_WR)

    def close(self) -> list[socket.socket]:
        """Return, after the process has ended, the lines that it has not taken."""
        asyncio.get_running_loop().remove_reader(self._ours)
        untaken: list[socket.socket] = []
        _take(self._theirs, untaken.append)
        self._ours.close()
        self._theirs.close()
        return untaken


class HandedLines:
    """The lines that a supervisor hands to this process."""

    def __init__(self, descriptor: int) -> None:
        self._end = socket.socket(fileno=descriptor)
        self._end.setblocking(False)  # noqa: FBT003 - the standard library's own
        self._over = asyncio.Event()
        self._let_in: Callable[[socket.socket], None] = socket.socket.close

    @contextlib.contextmanager
    def watched(self, shutdown: Shutdown) -> Iterator[None]:
        """Wind up, while the block lasts, when the supervisor hands over no more."""
        loop = asyncio.get_running_loop()

        def take() -> None:
            if not _take(self._end, self._let_in):
                loop.remove_reader(self._end)
                self._over.set()
                shutdown.wind_up()

        loop.add_reader(self._end, take)
        try:
            yield
        finally:
            loop.remove_reader(self._end)
            self._end.close()

    def open(self, let_in: Callable[[socket.socket], None]) -> None:
        """Tell the supervisor that this process accepts; call `let_in` with each connection."""
        self._let_in = let_in
        self._sign()

    def report_started(self) -> None:
        """Tell the supervisor that this process has started and no longer answers with 503."""
        self._sign()

    def _sign(self) -> None:
        with contextlib.suppress(OSError):  # that the supervisor has died is seen by `watched`
            self._end.send(SIGN)

    async def close(self) -> None:
        """Take the supervisor's last lines; what comes later is for others."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), LAST_LINES)
        asyncio.get_running_loop().remove_reader(self._end)
        self._end.shutdown(socket.SHUT_RD)  # what has been sent before can still be read
        _take(self._end, self._let_in)


def handed() -> HandedLines | None:
    """Return the lines that a supervisor hands to this process, if it is one of several."""
    descriptor = os.environ.pop(
        VARIABLE, None
    )  # so that nothing that we start takes it for its own
    return None if descriptor is None else HandedLines(int(descriptor))


_losses = ThrottledLog(
    "line_lost", "Connections were lost: raise the limit of open files (ulimit -n)."
)


def _take(end: socket.socket, let_in: Callable[[socket.socket], None]) -> bool:
    """Take the lines that are on their way; return whether more may come."""
    while True:
        try:
            sign, descriptors, flags, _ = socket.recv_fds(end, len(SIGN), 1)
        except BlockingIOError:
            return True
        except ConnectionError:  # the supervisor has died before it heard that we are ready
            return False
        if not sign:
            return False
        if flags & socket.MSG_CTRUNC:
            _losses.warn()
        for descriptor in descriptors:
            let_in(socket.socket(fileno=descriptor))
