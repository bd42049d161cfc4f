"""Run PgBouncer before a PostgreSQL server, on a free loopback port."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support import prerequisites
from tests.support.postgres_server import Postgres
from tests.support.processes import free_port
from tests.support.waiting import wait_until

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {pool_size}
logfile = {folder}/log
{more}
"""


class PgBouncer:
    """A PgBouncer of which only the address is of interest."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.port = port
        self._process = process
        self._log = log

    def dsn(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def is_listening(self) -> bool:
        """Return whether it accepts connections; raise an error if it has ended."""
        if self._process.poll() is not None:
            raise AssertionError(f"PgBouncer has ended: {self._log.read_text(encoding='utf-8')}")
        return self._log.exists() and "process up" in self._log.read_text(encoding="utf-8")


@contextlib.contextmanager
def running_pgbouncer(
    server: Postgres, *, mode: str = "transaction", pool_size: int = 4, **settings: object
) -> Iterator[PgBouncer]:
    """Run PgBouncer for the block; it does not start as root."""
    program = prerequisites.pgbouncer()
    if program is None:
        raise RuntimeError("PgBouncer is not installed; run `make test`, which installs it")
    port, more = free_port(), "\n".join(f"{name} = {value}" for name, value in settings.items())
    with tempfile.TemporaryDirectory(prefix="restaurant-pgbouncer-") as folder:
        file = Path(folder) / "pgbouncer.ini"
        file.write_text(
            CONFIGURATION.format(
                server=server.port,
                port=port,
                mode=mode,
                pool_size=pool_size,
                folder=folder,
                more=more,
            ),
            encoding="utf-8",
        )
        Path(folder).chmod(0o777)
        user = ["--user", "nobody"] if os.geteuid() == 0 else []
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            [program, "--quiet", *user, str(file)]
        )
        try:
            pooler = PgBouncer(port, process, Path(folder) / "log")
            wait_until(pooler.is_listening, seconds=10, doing="for PgBouncer")
            yield pooler
        finally:
            process.terminate()
            process.wait(10)
