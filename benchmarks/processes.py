"""Run commands as processes, and stop them with all their children."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO

from benchmarks.servers import pin, session_of

ROOT = Path(__file__).parents[1]
START_TIMEOUT = 60.0  # s
STOP_TIMEOUT = 40.0  # s
ASK = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
OUTPUT_TAIL = 3000  # characters of what a process that failed has printed

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "RESTAURANT_ORDER_SERVICE__HOST": "127.0.0.1",
    "RESTAURANT_TRACKING_SERVICE__HOST": "127.0.0.1",
}


class Failed(Exception):
    """A process ended or failed a condition."""


class Command:
    """A running ``python -m MODULE ARGUMENTS`` in its own session; its output goes to a file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, *command: str, folder: Path, environment: Mapping[str, str]) -> "Command":
        """Start the command in a folder without a config.yaml."""
        handle, log = tempfile.mkstemp(dir=folder, suffix=".log")
        with os.fdopen(handle, "wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *command),
                env={**ENVIRONMENT, **environment},
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(" ".join(command[1:2] or command), process, Path(log))

    async def serves(self, port: int) -> None:
        """Wait for an HTTP response other than 503; raise `Failed` after a timeout."""
        await self._until(lambda: _answers(port))

    async def logs(self, action: str) -> None:
        """Wait until an action is logged; raise `Failed` after a timeout."""
        wanted = f'"action":"{action}"'

        async def logged() -> bool:
            return wanted in self._printed()

        await self._until(logged)

    def memory(self) -> float:
        """Return the resident memory of the process and its children in MB."""
        return self._megabytes("VmRSS")

    def peak_memory(self) -> float:
        """Return the peak resident memory of the process and its children in MB."""
        return self._megabytes("VmHWM")

    def check(self) -> None:
        """Raise `Failed` if the process has ended."""
        if self._process.returncode is not None:
            raise Failed(f"{self.name} ended: {self._printed()[-OUTPUT_TAIL:]}")

    async def stop(self) -> None:
        """Stop the process with SIGTERM; raise `Failed` if it does not exit cleanly."""
        self.check()
        self._process.terminate()
        await self.ends()

    async def ends(self) -> None:
        """Wait until the process ends; raise `Failed` if its exit code is not 0."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                code = await self._process.wait()
        except TimeoutError:
            raise Failed(f"{self.name} does not end") from None
        if code != 0:
            raise Failed(f"{self.name} ended with {code}: {self._printed()[-OUTPUT_TAIL:]}")

    async def kill(self) -> None:
        """Kill the process and its children if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()

    async def _until(self, what: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await what():
                    self.check()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise Failed(f"{self.name} does not come up: {self._printed()}") from None

    def _printed(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _megabytes(self, name: str) -> float:
        return sum(_kilobytes(each, name) for each in session_of(self.pid)) / 1024


async def _answers(port: int) -> bool:
    """Return whether a service answers other than with 503, its response while it starts."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(ASK)
            answer = await reader.readline()
            return answer.startswith(b"HTTP/1.1 ") and b" 503 " not in answer
    return False


def _kilobytes(process: int, name: str) -> int:
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    (found,) = [each.split()[1] for each in status.splitlines() if each.startswith(name)]
    return int(found)


@contextlib.asynccontextmanager
async def running(
    *command: str, folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[Command]:
    """Run a command for the block; kill it at the end if it still runs."""
    started = await Command.start(*command, folder=folder, environment=environment)
    try:
        yield started
    finally:
        await started.kill()


async def printed_by(*command: str, core: int | None = None) -> str:
    """Run ``python -m COMMAND`` to its end; return its output, or raise `Failed`."""
    async with lines_of(*command, core=core) as lines:
        return "".join([line async for line in lines])


@contextlib.asynccontextmanager
async def lines_of(*command: str, core: int | None = None) -> AsyncIterator[AsyncIterator[str]]:
    """Run ``python -m COMMAND`` of ours, on one core if need be.

    Yields its lines as they come; they end with `Failed` unless it does well.
    """
    with tempfile.TemporaryFile() as complaints:  # a pipe would hold up who has much to say
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command),
            env=ENVIRONMENT,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
        if core is not None:
            pin(process.pid, [core])
        try:
            yield _lines(process, command[0], complaints)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _lines(
    process: asyncio.subprocess.Process, name: str, complaints: IO[bytes]
) -> AsyncIterator[str]:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    async for line in process.stdout:
        yield line.decode()
    if await process.wait() != 0:
        complaints.seek(0)
        raise Failed(f"{name} failed: {complaints.read().decode()[-OUTPUT_TAIL:]}")
