"""A process of the product under a supervisor, which starts it again whenever it ends."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from io import BufferedWriter
from pathlib import Path

from tests.faults.journal import Journal

NOTIFICATION = re.compile(
    r"Notification for order (?P<number>\S+): Status changed from '(?P<old_status>\w+)'"
    r" to '(?P<new_status>\w+)' by .*\."
)
NAME_IS_LEASED = "is online; stop it, or choose another --worker-name"
RESTART_PAUSE = 0.3  # s
LONGEST_GOODBYE = 30.0  # s; none here has anything to do that takes longer
LONGEST_LULL = 15.0  # s that somebody waits for one to have something to do


class ServiceProcess:
    """One process, its lines written to a file; what a subscriber prints, to the journal too.

    It is up once it has logged the action `up_when`, and at work once `busy_when`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        up_when: str,
        busy_when: str,
        environment: Mapping[str, str],
        folder: Path,
        journal: Journal,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = command
        self._up_when, self._busy_when = (
            f'"action":"{action}"'.encode() for action in (up_when, busy_when)
        )
        self._environment = {**os.environ, **environment}
        self._folder = folder
        self._journal = journal
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._up = asyncio.Event()
        self._busy = asyncio.Event()

    async def run(self) -> None:
        """Keep it running until `stop`."""
        while not self._stopping.is_set():
            code = await self._run_once()
            if (
                not self._stopping.is_set()
                and code != -signal.SIGKILL
                and not self._name_is_leased()
            ):
                self._journal.write("unclean_exit", what=f"{self.name} ended by itself: {code}")
            await asyncio.sleep(RESTART_PAUSE)

    async def up(self) -> None:
        """Wait until it is up."""
        await self._up.wait()

    async def at_work(self) -> None:
        """Wait until it is up and at work; not for ever, there may be nothing to do."""
        await self.up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_LULL):
                await self._busy.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._up.clear()
        self._busy.clear()
        self._signal(signal.SIGKILL)

    async def freeze(self, seconds: float) -> None:
        """Let it stand still for a while."""
        self._signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        """Ask it to stop once it is up, and write down if it does not do so cleanly."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_GOODBYE):
                await self.up()
        self._stopping.set()
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(LONGEST_GOODBYE):
                code = await process.wait()
        except TimeoutError:
            self.kill()
            code = await process.wait()
        if code != 0:
            self._journal.write("unclean_exit", what=f"{self.name} was stopped: {code}")

    async def _run_once(self) -> int:
        with self.log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", *self._command),
                env=self._environment,
                cwd=self._folder,  # where no config.yaml lies
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            assert process.stdout is not None
            async for line in process.stdout:
                self._take_down(line, log)
            return await process.wait()

    def _take_down(self, line: bytes, log: BufferedWriter) -> None:
        told = NOTIFICATION.fullmatch(line.decode().strip())
        if told is not None:
            self._journal.write("heard", subscriber=self.name, **told.groupdict())
        if self._up_when in line:
            self._up.set()
        if self._busy_when in line:
            self._busy.set()
        log.write(line)
        log.flush()

    def _name_is_leased(self) -> bool:
        last = self.log.read_text(encoding="utf-8").splitlines()[-1:]
        return any(NAME_IS_LEASED in line for line in last)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
