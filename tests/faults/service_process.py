"""Run a service of the product, and restart it whenever it ends."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from io import BufferedWriter
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from restaurant_system import cli
from tests.faults.journal import Journal
from tests.faults.mutations import MUTATIONS
from tests.support.forkserver import FORKSERVER, become

NOTIFICATION = re.compile(
    r"Notification for order (?P<number>\S+): Status changed from '(?P<old_status>\w+)'"
    r" to '(?P<new_status>\w+)' by .*\."
)
NAME_IS_LEASED = "is online; stop it, or choose another --worker-name"
RESTART_DELAY = 0.3  # s
STOP_TIMEOUT = 30.0  # s
BUSY_TIMEOUT = 15.0  # s


class ServiceProcess:
    """One process; its output goes to a file, and the notifications in it to the journal.

    The process has started once it has logged `started_action`, and is busy once it has logged
    `busy_action`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        mutation: str | None,
        started_action: str,
        busy_action: str,
        environments: Iterator[Mapping[str, str]],
        folder: Path,
        journal: Journal,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = command
        self._mutation = mutation
        self._started_action, self._busy_action = (
            f'"action":"{action}"'.encode() for action in (started_action, busy_action)
        )
        self._environments = environments  # the next one for each start
        self._folder = folder
        self._journal = journal
        self._process: ForkServerProcess | None = None
        self._ended = asyncio.Event()
        self._stopping = asyncio.Event()
        self._started = asyncio.Event()
        self._is_busy = asyncio.Event()

    async def run(self) -> None:
        """Keep the process running until `stop`."""
        while not self._stopping.is_set():
            code = await self._run_once()
            if (
                not self._stopping.is_set()
                and code != -signal.SIGKILL
                and not self._name_is_leased()
            ):
                self._journal.write("unclean_exit", what=f"{self.name} ended by itself: {code}")
            await asyncio.sleep(RESTART_DELAY)

    async def wait_until_started(self) -> None:
        """Wait until the process has started."""
        await self._started.wait()

    async def wait_until_busy(self) -> None:
        """Wait until the process is busy, or for `BUSY_TIMEOUT`: there may be nothing to do."""
        await self.wait_until_started()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BUSY_TIMEOUT):
                await self._is_busy.wait()

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._started.clear()
        self._is_busy.clear()
        self._signal(signal.SIGKILL)

    async def pause(self, seconds: float) -> None:
        """Stop the process with SIGSTOP for a while."""
        self._signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        """Stop the process with SIGTERM once it has started; record an unclean exit."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                await self.wait_until_started()
        self._stopping.set()
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._ended.wait()
        except TimeoutError:
            self.kill()
            await self._ended.wait()
        if process.exitcode != 0:
            self._journal.write("unclean_exit", what=f"{self.name} was stopped: {process.exitcode}")

    async def _run_once(self) -> int | None:
        output, inherited = FORKSERVER.Pipe(duplex=False)
        self._process = process = FORKSERVER.Process(
            target=_run,
            args=(
                self._mutation,
                self._command,
                {**os.environ, **next(self._environments)},
                self._folder,
                inherited,
            ),
        )
        self._ended.clear()
        process.start()
        inherited.close()
        with self.log.open("ab") as log, output:
            async for line in _lines(output):
                self._record(line, log)
            await asyncio.to_thread(process.join)
        self._ended.set()
        return process.exitcode

    def _record(self, line: bytes, log: BufferedWriter) -> None:
        notification = NOTIFICATION.fullmatch(line.decode().strip())
        if notification is not None:
            self._journal.write("notification", subscriber=self.name, **notification.groupdict())
        if self._started_action in line:
            self._started.set()
        if self._busy_action in line:
            self._is_busy.set()
        log.write(line)
        log.flush()

    def _name_is_leased(self) -> bool:
        last = self.log.read_text(encoding="utf-8").splitlines()[-1:]
        return any(NAME_IS_LEASED in line for line in last)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.exitcode is None:
            assert self._process.pid is not None
            os.kill(self._process.pid, number)


async def _lines(output: Connection) -> AsyncIterator[bytes]:
    """Yield the lines that come out of a pipe, until its other end is closed."""
    reader = asyncio.StreamReader()
    with os.fdopen(output.fileno(), "rb", buffering=0, closefd=False) as pipe:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            async for line in reader:
                yield line
        finally:
            transport.close()


def _run(
    mutation: str | None,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    output: Connection,
) -> None:
    """Run a command of the product, mutated if a mutation is named."""
    become(environment, folder, stdout=output.fileno(), stderr=output.fileno())
    if mutation is not None:
        MUTATIONS[mutation]()
    sys.argv = ["restaurant-system", *arguments]
    cli.main()
