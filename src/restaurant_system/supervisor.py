"""Serves one port with several processes of the same command.

The supervisor lets every line in and hands it to the next process in turn: the lines are shared
evenly, none waits at a process that has died, and one place knows when the door is closed (what was
weighed stands in decision 4). Requests do not pass through it.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from asyncio.subprocess import Process

from restaurant_system.config import OrderServiceSettings, TrackingServiceSettings
from restaurant_system.errors import ConfigurationError
from restaurant_system.logger import get_logger
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import door, file_descriptors
from restaurant_system.web.door import Handover
from restaurant_system.web.reception import Reception

log = get_logger()

STEADY = 60  # s after which a process that ends has nothing to do with the one before it
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30  # s
INSIST = 0.1  # s between two signals to a process, of which the first is still polite


async def supervise(
    where: OrderServiceSettings | TrackingServiceSettings, shutdown: Shutdown
) -> int:
    """Serve until asked to stop; return the exit code of a process that could not start, else 0.

    Raises `StartupError` when the port is taken.
    """
    if sys.platform == "win32":
        raise ConfigurationError("Several processes share a port on Linux and macOS only.")
    file_descriptors.raise_limit()
    with contextlib.closing(door.bind(where.host, where.port)) as listening:
        return await Supervisor(listening, where.processes, shutdown).run()


def pause_after(deaths: int) -> float:
    """Return the seconds until a process is started again that has died so often in a row."""
    if deaths <= 1:
        return 0
    doublings = min(deaths - 2, 10)
    return min(SHORTEST_PAUSE * (1 << doublings), LONGEST_PAUSE)


class Supervisor:
    """Keeps several processes running until asked to stop."""

    def __init__(self, listening: socket.socket, processes: int, shutdown: Shutdown) -> None:
        self._shutdown = shutdown
        self._reception = Reception(listening)
        self._places = [_Place(self._reception) for _ in range(processes)]
        self._keeping: list[asyncio.Task[int]] = []
        self._code = 0

    async def run(self) -> int:
        """Return 0 when asked to stop, or the exit code of a process that could not start."""
        self._shutdown.stop_cancelling()
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(self._open(group))
            await self._shutdown.requested.wait()
            log.info("graceful_shutdown", message="Taking no more requests.")
            opening.cancel()
            pressing = group.create_task(self._press())
            await self._reception.close()
            for place in self._places:
                place.end()
            await asyncio.gather(*self._keeping)
            pressing.cancel()
        return self._code

    async def _open(self, group: asyncio.TaskGroup) -> None:
        """Start one after the other, so that what keeps all from starting is said once.

        While the first one waits for its database it answers every request with 503. Between its
        start and that of the last one, connections wait: else all would be the first one's.
        """
        self._reception.open()
        for place in self._places:
            keeping = group.create_task(place.keep())
            self._keeping.append(keeping)
            tried = group.create_task(place.tried.wait())
            await asyncio.wait({keeping, tried}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done() and not self._shutdown.requested.is_set():
                tried.cancel()
                self._code = keeping.result()
                self._shutdown.request_stop()
                return
            self._reception.pause()
        self._reception.open()

    async def _press(self) -> None:
        """Asked again, let the processes end at once."""
        await self._shutdown.forced.wait()
        while True:
            for place in self._places:
                place.press()
            await asyncio.sleep(INSIST)


class _Place:
    """One of the processes, and whoever comes after it."""

    def __init__(self, reception: Reception) -> None:
        self.tried = asyncio.Event()  # its first process has started, or has ended
        self._reception = reception
        self._over = asyncio.Event()
        self._handover: Handover | None = None
        self._process: Process | None = None

    async def keep(self) -> int:
        """Run a process, and another whenever one ends, until `end`; then return 0.

        Returns the exit code of the very first if that says why it cannot start. One that comes
        later and cannot is tried again: the others are serving.
        """
        deaths = 0
        clock = asyncio.get_running_loop().time
        while not self._over.is_set():
            began = clock()
            code = await self._run()
            if self._over.is_set():
                break
            if code > 0 and not self.tried.is_set():
                return code
            self.tried.set()
            deaths = 1 if clock() - began > STEADY else deaths + 1
            await self._pause(pause_after(deaths), code)
        return 0

    def end(self) -> None:
        """Hand over no more lines: the process answers who is in, and ends."""
        self._over.set()
        self.tried.set()
        if self._handover is not None:
            self._handover.end()

    def press(self) -> None:
        """Let the process end at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def _run(self) -> int:
        """Run a process to its end, and return its exit code, or the signal as a negative one."""
        handover = self._handover = Handover()
        handover.when_signed(lambda: self._accept(handover), lambda: self._enter(handover))
        try:
            self._process = await _start(handover.descriptor)
            log.info("process_started", message="Process started.", pid=self._process.pid)
            return await self._process.wait()
        except OSError as error:  # no memory is left, say
            log.exception("process_start_failed", message=f"No process starts: {error.strerror}.")
            return 1
        finally:
            self._process = self._handover = None
            self._reception.leave(handover)

    def _accept(self, handover: Handover) -> None:
        """Let a process that is starting answer with 503 if no other can answer at all."""
        if not self._reception.has_takers:
            self._reception.enter(handover)

    def _enter(self, handover: Handover) -> None:
        self.tried.set()
        self._reception.enter(handover)

    async def _pause(self, seconds: float, code: int) -> None:
        end = f"with exit code {code}" if code >= 0 else f"by signal {-code}"
        log.warning(
            "process_restarted",
            message=f"A process ended {end}; another starts in {seconds:g} s.",
            exit_code=code,
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)


async def _start(descriptor: int) -> Process:
    """Run the command that we were started with, out of reach of the terminal's Ctrl-C."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *sys.orig_argv[1:],
        env={**os.environ, door.VARIABLE: str(descriptor)},
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
