"""Lets lines in at a port, and shares them among several processes."""

import asyncio
import contextlib
import socket
from collections import deque

from restaurant_system.web import file_descriptors
from restaurant_system.web.door import Handover, last_lines

AT_ONCE = 64  # lines let in before other things get their turn
FULL, EXHAUSTED = 0.01, 1.0  # s until lines are let in again
LAST_LINES = 1.0  # s for the processes to take who waits at the end


class Reception:
    """Lets lines in and hands them to the processes that are ready, each in its turn."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._listening.setblocking(False)  # noqa: FBT003 - the standard library's own
        self._takers: deque[Handover] = deque()
        self._held: deque[socket.socket] = deque()  # let in, and not handed over yet
        self._is_open = False

    def open(self) -> None:
        """Let lines in from now on."""
        self._is_open = True
        self._resume()

    def pause(self) -> None:
        """Leave new connections to the kernel, where they wait, until `open`."""
        self._is_open = False
        self._suspend()

    @property
    def has_takers(self) -> bool:
        """Whether any process accepts connections."""
        return bool(self._takers)

    def enter(self, taker: Handover) -> None:
        """Let a process have its share from now on, if it has none yet."""
        if taker not in self._takers:
            self._takers.append(taker)
        self._resume()

    def leave(self, taker: Handover) -> None:
        """Give to the others what a process that has ended has not taken."""
        if taker in self._takers:
            self._takers.remove(taker)
        self._held.extend(taker.close())
        if self._takers:
            self._resume()
        elif self._is_open:
            self._suspend()

    async def close(self) -> None:
        """Hand over who waits at the door, and close it before the next one comes."""
        self._is_open = False
        self._suspend()
        self._held.extend(await last_lines(self._listening))
        self._listening.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_LINES):
                while self._held and self._takers:
                    self._hand_over_held()
                    await asyncio.sleep(FULL)
        for line in self._held:
            line.close()

    def _resume(self) -> None:
        if self._is_open and self._takers:
            self._hand_over_held()
            if self._held:
                self._suspend(FULL)
            else:
                asyncio.get_running_loop().add_reader(self._listening, self._let_in)

    def _suspend(self, seconds: float | None = None) -> None:
        """Leave new lines to the kernel, which lets them wait, for this long or until `enter`."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listening)
        if seconds is not None:
            loop.call_later(seconds, self._resume)

    def _let_in(self) -> None:
        for _ in range(AT_ONCE):
            try:
                self._held.append(self._listening.accept()[0])
            except BlockingIOError:
                return
            except ConnectionError:  # hung up at the door
                continue
            except OSError:  # no descriptor is left, say
                file_descriptors.exhausted.warn()
                self._suspend(EXHAUSTED)
                return
            self._hand_over_held()
            if self._held:
                self._suspend(FULL)
                return

    def _hand_over_held(self) -> None:
        while self._held and self._taken(self._held[0]):
            self._held.popleft()

    def _taken(self, line: socket.socket) -> bool:
        """Hand a line to the next process that has room for it."""
        for taker in tuple(self._takers):
            self._takers.rotate(-1)
            if taker.hand_over(line):
                return True
        return False
