"""Start commands of the product as processes, watch their output and send them signals."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from restaurant_system import cli
from restaurant_system.messaging import relay, resilient_consumer
from restaurant_system.services.order import reconciliation
from restaurant_system.worker import lifecycle, retries
from tests.support.forkserver import FORKSERVER, become
from tests.support.waiting import wait_until

PORTS = range(20_000, 32_000)
OUTPUT = ("stdout", "stderr")


def free_port() -> int:
    """Return a free TCP port of the loopback interface.

    It is outside the ephemeral range, from which the system could give it to a client while the
    server is down.
    """
    while True:
        port = random.choice(PORTS)  # noqa: S311 - to be free, not to be secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Handle(Protocol):
    """Control a running process, as `subprocess.Popen` does."""

    @property
    def pid(self) -> int:
        """Return the process id."""

    def poll(self) -> int | None:
        """Return the exit code, or `None` while the process runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit code, or raise `subprocess.TimeoutExpired`."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""


Launch = Callable[[tuple[str, ...], Mapping[str, str], Path], Handle]


def execute(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> Handle:
    """Run ``python -m restaurant_system ARGUMENTS`` in a folder that holds no config.yaml."""
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "restaurant_system", *arguments],
            env=environment,
            cwd=folder,
            stdout=stdout,
            stderr=stderr,
        )


def fork(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> Handle:
    """Run `restaurant-system ARGUMENTS` in a process forked with the product's modules imported."""
    return ForkedProcess(arguments, environment, folder)


class ForkedProcess:
    """Control a process that was forked from the server, with the calls of `subprocess.Popen`."""

    def __init__(self, *command: object) -> None:
        self._process = FORKSERVER.Process(target=_run, args=command)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or `None` while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit code, or raise `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self._process.kill()


def _run(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> None:
    """Run the command in the forked process, as `execute` would in a new one."""
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        become(environment, folder, stdout=stdout.fileno(), stderr=stderr.fileno())
    _shorten_delays()
    sys.argv = ["restaurant-system", *arguments]
    cli.main()


def _shorten_delays() -> None:
    """Shorten delays that are no settings: a server that a test stops is back within seconds."""
    for module in (relay, lifecycle, retries):
        vars(module)["MAX_RETRY_DELAY"] = 1.0
    resilient_consumer.MAX_RECONNECT_DELAY = 1.0
    reconciliation.RESUBSCRIBE_DELAY = timedelta(seconds=5)


class _LogFile:
    """The log lines in the output of a process, each of which is read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size_read = 0
        self._entries: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """Return all entries; a line that is not complete yet is left for the next call."""
        with self._path.open("rb") as file:
            file.seek(self._size_read)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._size_read += len(complete + newline)
        self._entries += [json.loads(line) for line in complete.splitlines() if line[:1] == b"{"]
        return self._entries


class Process:
    """A running command; its output is collected in files."""

    def __init__(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], launch: Launch
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="restaurant-process-"))
        self._arguments = arguments
        for name in OUTPUT:
            (self._folder / name).touch()  # the process may open them later than a test reads them
        self._log_files = [_LogFile(self._folder / name) for name in OUTPUT]
        self._process = launch(arguments, {**os.environ, **environment}, self._folder)

    @property
    def stdout(self) -> str:
        """The output on stdout so far."""
        return (self._folder / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """The output on stderr so far."""
        return (self._folder / "stderr").read_text(encoding="utf-8")

    @property
    def logs(self) -> list[dict[str, Any]]:
        """The log lines on stdout and stderr."""
        return [entry for file in self._log_files for entry in file.read()]

    @property
    def running(self) -> bool:
        """Return whether the process still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def memory(self) -> float:
        """The resident memory in MB."""
        return self._megabytes("VmRSS")

    @property
    def peak_memory(self) -> float:
        """The peak resident memory in MB."""
        return self._megabytes("VmHWM")

    def logged(self, action: str, **details: object) -> bool:
        """Return whether an action was logged with these details."""
        return any(
            line["action"] == action and details.items() <= line["details"].items()
            for line in self.logs
        )

    def wait_for(self, action: str, seconds: float = 30, **details: object) -> None:
        """Wait until an action is logged."""

        def seen() -> bool:
            if not self.running and not self.logged(action, **details):
                raise AssertionError(f"{self._arguments} ended: {self.stdout}{self.stderr}")
            return self.logged(action, **details)

        wait_until(seen, seconds=seconds, doing=f"for {self._arguments} to log {action} {details}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Wait until the process ends, and return its exit code."""
        return self._process.wait(seconds)

    def stop(self, seconds: float = 30) -> int:
        """Stop the process with SIGTERM, and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def _megabytes(self, name: str) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith(name)]
        return int(kilobytes) / 1024

    def clear(self) -> None:
        """Kill the process if it still runs, and delete its output."""
        self.kill()
        shutil.rmtree(self._folder)


class Processes:
    """Starts commands with a common environment, and kills them at the end."""

    def __init__(self, environment: Mapping[str, str], launch: Launch = fork) -> None:
        self.environment = dict(environment)
        self._launch = launch
        self._started: list[Process] = []

    def start(self, *arguments: str, **environment: str) -> Process:
        """Start ``restaurant-system ARGUMENTS``."""
        process = Process(arguments, {**self.environment, **environment}, self._launch)
        self._started.append(process)
        return process

    def clear(self) -> None:
        """Kill all processes that still run, and delete their output."""
        for process in self._started:
            process.clear()


@contextlib.contextmanager
def processes(environment: Mapping[str, str], launch: Launch = fork) -> Iterator[Processes]:
    """Start commands within the block; kill them at its end."""
    started = Processes(environment, launch)
    try:
        yield started
    finally:
        started.clear()
