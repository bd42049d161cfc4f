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
REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
OUTPUT_TAIL = 3000  # characters of the output of a failed process

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "RESTAURANT_ORDER_SERVICE__HOST": "127.0.0.1",
    "RESTAURANT_TRACKING_SERVICE__HOST": "127.0.0.1",
}


class Failed(Exception):
    """A measured process has ended, or its result is wrong: the benchmark run has no results."""


class Command:
    """A running ``python -m MODULE ARGUMENTS`` in its own session; its output goes to a file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, *command: str, folder: Path, environment: Mapping[str, str]) -> "Command":
        """Start ``python -m COMMAND`` in a folder without a config.yaml."""
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

    async def wait_until_serving(self, port: int) -> None:
        """Wait for an HTTP response other than 503; raise `Failed` after a timeout."""
        await self._wait_until(lambda: _responds(port))

    async def wait_for_log(self, action: str) -> None:
        """Wait until an action is logged; raise `Failed` after a timeout."""
        wanted = f'"action":"{action}"'

        async def logged() -> bool:
            return wanted in self._output()

        await self._wait_until(logged)

    def memory(self) -> float:
        """Return the resident memory of the process and its children in MB."""
        return self._megabytes("VmRSS")

    def peak_memory(self) -> float:
        """Return the peak resident memory of the process and its children in MB."""
        return self._megabytes("VmHWM")

    def check(self) -> None:
        """Raise `Failed` if the process has ended."""
        if self._process.returncode is not None:
            raise Failed(f"{self.name} ended: {self._output()[-OUTPUT_TAIL:]}")

    async def stop(self) -> None:
        """Stop the process with SIGTERM; raise `Failed` if it does not exit cleanly."""
        self.check()
        self._process.terminate()
        await self.wait_until_ended()

    async def wait_until_ended(self) -> None:
        """Wait until the process ends; raise `Failed` if its exit code is not 0."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                code = await self._process.wait()
        except TimeoutError:
            raise Failed(f"{self.name} has not ended in time") from None
        if code != 0:
            raise Failed(f"{self.name} ended with {code}: {self._output()[-OUTPUT_TAIL:]}")

    async def kill(self) -> None:
        """Kill the process and its children, unless they have ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()

    async def _wait_until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await condition():
                    self.check()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise Failed(f"{self.name} is not ready in time: {self._output()}") from None

    def _output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _megabytes(self, name: str) -> float:
        return sum(_kilobytes(each, name) for each in session_of(self.pid)) / 1024


async def _responds(port: int) -> bool:
    """Return whether a service responds, and not with 503, which it does while it starts."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(REQUEST)
            response = await reader.readline()
            return response.startswith(b"HTTP/1.1 ") and b" 503 " not in response
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
    process = await Command.start(*command, folder=folder, environment=environment)
    try:
        yield process
    finally:
        await process.kill()


async def output_of(*command: str, core: int | None = None) -> str:
    """Run ``python -m COMMAND`` to its end; return its output, or raise `Failed`."""
    async with output_lines(*command, core=core) as lines:
        return "".join([line async for line in lines])


@contextlib.asynccontextmanager
async def output_lines(*command: str, core: int | None = None) -> AsyncIterator[AsyncIterator[str]]:
    """Run ``python -m COMMAND`` for the block, on one core if given; yield its lines of output.

    The iterator raises `Failed` at the end if the exit code is not 0.
    """
    with tempfile.TemporaryFile() as errors:  # a full pipe would block the process
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command),
            env=ENVIRONMENT,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        if core is not None:
            pin(process.pid, [core])
        try:
            yield _lines(process, command[0], errors)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _lines(
    process: asyncio.subprocess.Process, name: str, errors: IO[bytes]
) -> AsyncIterator[str]:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    async for line in process.stdout:
        yield line.decode()
    if await process.wait() != 0:
        errors.seek(0)
        raise Failed(f"{name} failed: {errors.read().decode()[-OUTPUT_TAIL:]}")
