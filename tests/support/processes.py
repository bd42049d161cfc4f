"""Real processes of the product, started, watched and signalled as an operator would."""

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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on.

    It is none of those that the system gives to whoever connects: one of these could be taken while
    its server is down, even by somebody who tries to reach just that server.
    """
    while True:
        port = random.choice(PORTS)  # noqa: S311 - to be free, not to be secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Process:
    """A running command; its output is collected in files."""

    def __init__(self, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="restaurant-process-"))
        self._arguments = arguments
        with (
            (self._folder / "stdout").open("wb") as stdout,
            (self._folder / "stderr").open("wb") as stderr,
        ):
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "restaurant_system", *arguments],
                env={**os.environ, **environment},
                cwd=self._folder,  # where no config.yaml lies
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def stdout(self) -> str:
        """What it has printed."""
        return (self._folder / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What it has printed on stderr."""
        return (self._folder / "stderr").read_text(encoding="utf-8")

    @property
    def logs(self) -> list[dict[str, Any]]:
        """Its log lines, wherever they went."""
        lines = (self.stdout + self.stderr).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def memory(self) -> float:
        """How many MB of memory it has, as Linux counts them."""
        return self._megabytes("VmRSS")

    @property
    def peak_memory(self) -> float:
        """How many MB of memory it had at its worst."""
        return self._megabytes("VmHWM")

    def logged(self, action: str, **details: object) -> bool:
        """Tell whether it has logged an action with these details."""
        return any(
            line["action"] == action and details.items() <= line["details"].items()
            for line in self.logs
        )

    def wait_for(self, action: str, seconds: float = 30, **details: object) -> None:
        """Wait until it logs an action."""

        def seen() -> bool:
            if not self.running and not self.logged(action, **details):
                raise AssertionError(f"{self._arguments} ended: {self.stdout}{self.stderr}")
            return self.logged(action, **details)

        wait_until(seen, seconds=seconds, doing=f"for {self._arguments} to log {action} {details}")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Wait for its end, and return its exit code."""
        return self._process.wait(seconds)

    def stop(self, seconds: float = 30) -> int:
        """Ask it to stop, and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def _megabytes(self, name: str) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith(name)]
        return int(kilobytes) / 1024

    def clear(self) -> None:
        """End it if it still runs, and remove what it has printed."""
        self.kill()
        shutil.rmtree(self._folder)


class Processes:
    """Starts commands that share an environment; whatever still runs at the end is killed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._started: list[Process] = []

    def start(self, *arguments: str, **environment: str) -> Process:
        """Start ``restaurant-system ARGUMENTS``."""
        process = Process(arguments, {**self.environment, **environment})
        self._started.append(process)
        return process

    def clear(self) -> None:
        """End whatever still runs, and remove what it has printed."""
        for process in self._started:
            process.clear()


@contextlib.contextmanager
def processes(environment: Mapping[str, str]) -> Iterator[Processes]:
    """Start commands for a while."""
    started = Processes(environment)
    try:
        yield started
    finally:
        started.clear()
