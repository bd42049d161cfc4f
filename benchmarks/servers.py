"""Run private, durable servers for benchmarks, and pin processes to cores."""

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.postgres_server import Postgres
from tests.support.rabbitmq_server import Membership, RabbitMQ

AMQP_HELLO = b"AMQP\x00\x00\x09\x01"
SESSION = 3  # fields of /proc/PID/stat after the name
PARENT = 1
CPU_TIMES = (11, 12, 13, 14)  # user and system, of the process and of children that have ended
TICKS = os.sysconf("SC_CLK_TCK")  # per second


@contextlib.contextmanager
def _closed_on_error(server: Postgres | RabbitMQ) -> Iterator[None]:
    """Close a server whose start fails or is interrupted."""
    try:
        yield
    except BaseException:
        server.close()
        raise


class DurablePostgres(Postgres):
    """PostgreSQL with its defaults: `fsync` and `synchronous_commit` are on."""

    def __init__(self) -> None:
        super().__init__(fsync=True)

    def start(self) -> None:
        """Start the server; stop it if that fails or is interrupted."""
        with _closed_on_error(self):
            super().start()

    def _initialise(self) -> None:
        with _closed_on_error(self):
            super()._initialise()

    @property
    def process(self) -> int:
        """The process id of the server."""
        lines = (self._pgdata / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return int(lines[0])


class BareRabbitMQ(RabbitMQ):
    """RabbitMQ without the management plugin, whose statistics cost its processor time."""

    plugins = "[]."

    def start(self) -> None:
        """Start the server; stop it if that fails or is interrupted."""
        with _closed_on_error(self):
            super().start()

    @property
    def process(self) -> int:
        """The process id of the server."""
        assert self._process is not None  # noqa: S101 - it is started
        return self._process.pid

    def _settings(self, _membership: Membership | None) -> str:
        return ""

    def _answers(self) -> bool:
        """Return whether the AMQP listener, which starts last, answers."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection,
        ):
            connection.sendall(AMQP_HELLO)
            return connection.recv(1) == b"\x01"  # a method frame: Connection.Start
        return False


def cores() -> tuple[int, int]:
    """Return a core for the measured process and another one for its servers."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@contextlib.contextmanager
def pinned(process: int, core: int) -> Iterator[None]:
    """Pin a process, its threads and its descendants to one core for the block."""
    all_cores = os.sched_getaffinity(0)
    pin(process, [core])
    try:
        yield
    finally:
        pin(process, all_cores)


def pin(process: int, allowed: "Sequence[int] | set[int]") -> None:
    """Pin a process, its threads and its descendants to these cores."""
    for each in [process, *descendants(process)]:
        for thread in Path(f"/proc/{each}/task").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), allowed)


def descendants(process: int) -> Iterator[int]:
    """Yield the ids of all descendants of a process."""
    parents = {each: _field(each, PARENT) for each in _all_processes()}
    generation = {process}
    while generation:
        generation = {each for each, parent in parents.items() if parent in generation}
        yield from generation


def cpu_seconds(process: int) -> float:
    """Return the processor time of a process and its descendants in s."""
    ticks = (_field(each, at) for each in [process, *descendants(process)] for at in CPU_TIMES)
    return sum(each or 0 for each in ticks) / TICKS


def written_bytes(process: int) -> int:
    """Return what a process and its living descendants have had written to disk, in bytes."""
    result = 0
    for each in [process, *descendants(process)]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{each}/io").read_text(encoding="utf-8").splitlines()
            result += sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
    return result


def session_of(leader: int) -> list[int]:
    """Return the ids of all processes in the session of this leader."""
    return [each for each in _all_processes() if _field(each, SESSION) == leader]


def _all_processes() -> list[int]:
    return [int(found.name) for found in Path("/proc").glob("[0-9]*")]


def _field(process: int, place: int) -> int | None:
    """Return a field of /proc/PID/stat, `None` if there is no such process."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[place])
