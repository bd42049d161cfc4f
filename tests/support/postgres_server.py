"""Run a PostgreSQL server for tests, on a free loopback port, in a temporary directory."""

import atexit
import contextlib
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg

from restaurant_system.database import data_directory, postgres_programs
from restaurant_system.errors import StartupError
from tests.support.processes import free_port
from tests.support.waiting import wait_until

MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there has a name of its own
ROOM = 4 * 1024**3  # bytes, for the servers of four workers
STATE, PARENT = 0, 1  # fields of /proc/PID/stat after the name


def folder_in_memory() -> Path | None:
    """Return a folder in memory, where copying a database takes a fifth of the time.

    `None` where there is none with room enough, as in many a container.
    """
    with contextlib.suppress(FileNotFoundError):
        if shutil.disk_usage(MEMORY).free > ROOM:
            return MEMORY
    return None


@functools.cache
def _empty_cluster() -> Path:
    """Create a database cluster to copy: creating one takes as long as many tests."""
    folder = Path(tempfile.mkdtemp(prefix="restaurant-cluster-", dir=folder_in_memory()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o711)  # as root another user creates it
    data_directory.initialise(folder / "data")
    return folder / "data"


class Postgres:
    """A private PostgreSQL server, in memory and without `fsync` unless a test requires it.

    No test here pulls the plug.
    """

    copied = "STRATEGY file_copy"  # six times as fast as the default, which logs each page

    def __init__(self, *, fsync: bool = False) -> None:
        self._fsync = "on" if fsync else "off"
        place = None if fsync else folder_in_memory()
        self._folder = Path(tempfile.mkdtemp(prefix="restaurant-pg-", dir=place))
        self._folder.chmod(0o711)  # as root the server runs as another user
        self._pgdata = self._folder / "data"
        self._initialise()
        self._names = (f"test_{number}" for number in itertools.count(1))
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Start the server on the same port as before."""
        options = (
            f"-h 127.0.0.1 -p {self.port} -k {self._pgdata} -c fsync={self._fsync}"
            " -c max_connections=200"
        )
        log = self._pgdata / "log"
        try:
            self._control("start", "--wait", f"--log={log}", f"--options={options}")
        except StartupError as error:
            error.add_note(log.read_text(encoding="utf-8")[-2000:])
            raise

    def stop(self) -> None:
        """Stop the server at once, without waiting for connections to close."""
        self._control("stop", "--wait", "--mode=immediate")

    def pause(self) -> None:
        """Pause all PostgreSQL processes with SIGSTOP: connections hang."""
        os.kill(self._processes()[0], signal.SIGSTOP)  # first, so that it starts no others
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume all PostgreSQL processes after `pause`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill all processes with SIGKILL."""
        self.pause()
        processes = self._processes()
        self._signal(signal.SIGKILL)
        wait_until(lambda: all(map(_is_dead, processes)), seconds=10, doing="for its end")
        # In a container that does not reap zombies, the locks look like those of a live server.
        for lock in ("postmaster.pid", f".s.PGSQL.{self.port}.lock"):
            (self._pgdata / lock).unlink()

    def close(self) -> None:
        """Stop the server and delete its folder."""
        with contextlib.suppress(StartupError):
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def dsn(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    async def create_database(self, template_database: str = "template1") -> str:
        """Create a database as a copy of `template`, and return its name."""
        name = next(self._names)
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template_database} {self.copied}")
        return name

    async def drop_database(self, name: str) -> None:
        """Drop a database with its connections.

        Hundreds of unused databases cost processor time: autovacuum visits each of them.
        """
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def execute(self, statement: str) -> None:
        """Run a statement as superuser."""
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    @contextlib.asynccontextmanager
    async def missing_standby(self) -> AsyncIterator[None]:
        """Have commits wait for a standby that does not exist; they may do so a moment later."""
        await self.execute("ALTER SYSTEM SET synchronous_standby_names = 'missing'")
        try:
            await self.execute("SELECT pg_reload_conf()")
            yield
        finally:
            await self.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await self.execute("SELECT pg_reload_conf()")

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _processes(self) -> list[int]:
        """Return the ids of the postmaster and its children."""
        first = (self._pgdata / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]
        others = [
            int(stat.parent.name)
            for stat in Path("/proc").glob("[0-9]*/stat")
            if _field(stat, PARENT) == first
        ]
        return [int(first), *others]

    def _initialise(self) -> None:
        subprocess.run(["/bin/cp", "-a", _empty_cluster(), self._pgdata], check=True)  # noqa: S603
        data_directory.replace_file(
            self._pgdata, "pg_hba.conf", "host all,replication all 127.0.0.1/32 trust\n"
        )

    def _control(self, action: str, *options: str) -> None:
        self._run("pg_ctl", action, f"--pgdata={self._pgdata}", *options)

    def _run(self, program: str, *arguments: str) -> None:
        path = postgres_programs.programs_directory() / program
        postgres_programs.run(self._folder, path, *arguments)


class Replica(Postgres):
    """A streaming replica of a primary server."""

    def __init__(self, primary: Postgres) -> None:
        self._primary = primary
        super().__init__()

    def promote(self) -> None:
        """Make the replica a primary server, and return once it takes writes."""
        self._control("promote", "--wait")

    def _initialise(self) -> None:
        data_directory.make_private_directory(self._pgdata)
        self._run(
            "pg_basebackup",
            f"--dbname={self._primary.dsn('postgres')}",
            f"--pgdata={self._pgdata}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        )


def _is_dead(process: int) -> bool:
    """Return whether a process has ended; it may still be a zombie."""
    return _field(Path(f"/proc/{process}/stat"), STATE) in {None, "Z", "X"}


def _field(stat: Path, field: int) -> str | None:
    """Return a field of /proc/PID/stat, `None` if there is no such process."""
    try:
        return stat.read_text(encoding="utf-8").rpartition(")")[2].split()[field]
    except (FileNotFoundError, ProcessLookupError):
        return None


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL server for the block."""
    with contextlib.closing(Postgres()) as server:
        yield server
