"""Run a PostgreSQL server from a wheel, for a machine without an installed one.

Several processes may share a data directory: each holds a shared lock on it while it runs, and the
last one stops the server. The locks are released by the operating system when a process is killed.
The server listens only on a Unix socket in its data directory.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from urllib.parse import quote

import fasteners

from restaurant_system.database import data_directory
from restaurant_system.database.data_directory import SUPERUSER
from restaurant_system.database.postgres_programs import (
    has_server_user,
    is_disk_full,
    process_user,
    programs_directory,
    summarize_errors,
)
from restaurant_system.errors import AlreadyRunning, StartupError

PORT = 5432  # only part of the socket's name; set because PGPORT would change it
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "port": PORT,
    "log_error_verbosity": "terse",  # the detail of an error quotes customers' rows
    "autovacuum_naptime": 10,  # s; the outbox gets thousands of dead rows a second
}
START_TIMEOUT = 60  # s; includes the recovery after a crash
STOP_TIMEOUT = 60  # s
POLL_INTERVAL = 0.02  # s
CONNECT_TIMEOUT = 5  # s
MAX_SOCKET_PATH = 100  # bytes; the system's limit is 104 or 108
UP_LOCK = "up.lock"
START_LOCK = "start.lock"  # held while the server is started or stopped
RUN_LOCK = "run.lock"  # shared by all processes that use the server
PID_FILE = "postmaster.pid"
SOCKET = f".s.PGSQL.{PORT}"
SIGNS_OF_DAMAGE = (
    "PANIC",
    "incompatible",
    "could not locate",
    "invalid",
    "corrupt",
    "could not open",
    "could not read",
)
STATUS_LINE = 7  # of PID_FILE, counted from 0


@contextlib.contextmanager
def lock_for_up(data_dir: Path) -> Iterator[None]:
    """Lock a data directory for one `up`; raise `AlreadyRunning` if another one has it locked."""
    with data_directory.report_os_errors(data_dir):
        _prepare(data_dir)
        lock = fasteners.InterProcessLock(data_dir / UP_LOCK)
        is_locked = lock.acquire(blocking=False)
    if not is_locked:
        raise AlreadyRunning(
            f"It is already up on {data_dir}; stop that one, or choose another directory with"
            " --data-dir."
        )
    try:
        yield
    finally:
        lock.release()


def log_file(data_dir: Path) -> Path:
    """Return the path of the embedded PostgreSQL's log."""
    return data_dir.absolute() / "postgres" / "log"


def advice(data_dir: Path) -> str:
    """Return what to do when the server does not accept a connection."""
    return f"See {log_file(data_dir)}, the log of the embedded PostgreSQL, for the reason"


@contextlib.contextmanager
def postgres(data_dir: Path) -> Iterator[str]:
    """Start a PostgreSQL on `data_dir`, or use the one that runs there; yield its DSN.

    Raises `StartupError` if it cannot start.
    """
    if sys.platform == "win32":
        raise StartupError(
            "The embedded PostgreSQL runs on Linux and macOS; name your own in config.yaml."
        )
    pgdata = data_dir.absolute() / "postgres"
    with data_directory.report_os_errors(data_dir):
        _prepare(data_dir)
        starting = fasteners.InterProcessLock(data_dir / START_LOCK)
        running = fasteners.InterProcessReaderWriterLock(data_dir / RUN_LOCK)
        with starting:
            running.acquire_read_lock()
            try:
                _start(pgdata)
            except BaseException:
                running.release_read_lock()
                raise
    try:
        with _socket_directory(pgdata) as folder:
            yield _dsn(folder)
    finally:
        with starting:
            running.release_read_lock()
            if running.acquire_write_lock(blocking=False):
                stop(pgdata)
                running.release_write_lock()


@contextlib.contextmanager
def dsn_if_running(data_dir: Path) -> Iterator[str | None]:
    """Yield the DSN of the server that runs on `data_dir`, or `None`.

    Nothing is created, started or locked; the server may stop within the block. Raises
    `StartupError` if a directory of a server is there that cannot be used.
    """
    pgdata = data_dir.absolute() / "postgres"
    dsn = None
    with contextlib.ExitStack() as stack:
        with data_directory.report_os_errors(data_dir):
            if pgdata.is_dir() and _is_running(pgdata):
                dsn = _dsn(stack.enter_context(_socket_directory(pgdata)))
            elif has_server_user() and not _is_empty(pgdata):
                data_directory.check(pgdata)
        yield dsn


def _is_empty(pgdata: Path) -> bool:
    """Return whether there is nothing at this path, or an empty directory."""
    return not os.path.lexists(pgdata) or (pgdata.is_dir() and not any(pgdata.iterdir()))


def _dsn(folder: str) -> str:
    return f"postgresql://{SUPERUSER}@/postgres?host={quote(folder)}&port={PORT}"


def stop(pgdata: Path) -> None:
    """Stop the server on `pgdata`, if one runs, and wait until it has ended."""
    if not _is_running(pgdata):
        return
    process = _process(pgdata)
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGINT)
    _wait_for_end(pgdata)


@contextlib.contextmanager
def _socket_directory(pgdata: Path) -> Iterator[str]:
    """Yield a path of the Unix socket's directory, short enough for the operating system."""
    folder = os.open(pgdata, os.O_RDONLY | os.O_DIRECTORY)
    try:
        short = f"/proc/self/fd/{folder}"
        if not Path(short).exists():
            short = str(pgdata)
        if len(os.fsencode(short)) + len(SOCKET) > MAX_SOCKET_PATH:
            raise StartupError(
                f"The path {pgdata} is too long for a socket; choose a shorter one with --data-dir."
            )
        yield short
    finally:
        os.close(folder)


def _start(pgdata: Path) -> None:
    if data_directory.is_missing(pgdata):
        data_directory.initialise(pgdata)
    data_directory.check(pgdata)
    if not _is_running(pgdata):
        _wait_for_end(pgdata)  # of a server that is stopping
        for stale in (PID_FILE, f"{SOCKET}.lock"):
            (pgdata / stale).unlink(missing_ok=True)
        data_directory.write_access_rules(pgdata)
        _launch(pgdata)


def _is_running(pgdata: Path) -> bool:
    """Return whether a server accepts connections on `pgdata`; its process id may be stale."""
    with _socket_directory(pgdata) as folder, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(CONNECT_TIMEOUT)
        try:
            client.connect(f"{folder}/{SOCKET}")
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except TimeoutError:  # it listens, but is busy
            return True
    return True


def _launch(pgdata: Path) -> None:
    """Start PostgreSQL and wait until it accepts connections; it may outlive this process."""
    where = data_directory.path_for_server(pgdata)
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    with _log(pgdata) as log:
        start_of_log = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(  # noqa: S603 - PostgreSQL's own program
            # The last -D is used; the first one shows in the process list where the data is.
            [programs_directory() / "postgres", "-D", pgdata, "-D", where, *settings],
            cwd=pgdata,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that a Ctrl-C for this process does not reach it
            **process_user(),
        )
        # Waited for, so that a server that ends does not stay in the process table.
        waiting = threading.Thread(target=process.wait, daemon=True)
        waiting.start()
        try:
            _wait(lambda: _is_ready(pgdata, process.pid) or not waiting.is_alive(), START_TIMEOUT)
        except BaseException:
            process.send_signal(signal.SIGINT)
            raise
        if waiting.is_alive():
            return
        log.seek(start_of_log)
        text = log.read().decode(errors="replace").replace(where, str(pgdata))
    raise StartupError(
        f"The embedded PostgreSQL does not start on {pgdata}: {summarize_errors(text)};"
        f" {_advice(text)}."
    )


def _advice(log: str) -> str:
    if is_disk_full(log):
        return "free some space on its disk"
    if "shared memory block" in log:
        return "wait until the processes of its last run have ended, and try again"
    if "postgresql.conf" in log or "postgresql.auto.conf" in log:
        return "correct that file"
    if any(word in log for word in SIGNS_OF_DAMAGE):
        return data_directory.RESTORE
    return "correct that, and start again"


def _is_ready(pgdata: Path, process: int) -> bool:
    lines = _pid_file(pgdata)
    return len(lines) > STATUS_LINE and lines[0] == str(process) and lines[STATUS_LINE] == "ready"


def _wait_for_end(pgdata: Path) -> None:
    """Wait until no server process runs on `pgdata`."""
    try:
        _wait(lambda: not _is_alive(pgdata), STOP_TIMEOUT)
    except StartupError as error:
        raise StartupError(
            f"The embedded PostgreSQL on {pgdata} (process {_process(pgdata)}) has not stopped"
            f" within {STOP_TIMEOUT} s; stop that process, and start again."
        ) from error


def _is_alive(pgdata: Path) -> bool:
    """Return whether the process in the pid file is a server on `pgdata`.

    After a crash the id may belong to another program, which has another working directory.
    """
    process = _process(pgdata)
    if process is None:
        return False
    try:
        os.kill(process, 0)
        if not Path("/proc/self/cwd").exists():
            return True
        return Path(f"/proc/{process}/cwd").samefile(pgdata)
    except OSError:
        return False


def _process(pgdata: Path) -> int | None:
    """Return the process id in the pid file; `None` if there is none."""
    lines = _pid_file(pgdata)
    return int(lines[0]) if lines and lines[0].isdecimal() and int(lines[0]) > 1 else None


def _pid_file(pgdata: Path) -> list[str]:
    try:
        text = (pgdata / PID_FILE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.splitlines()]


def _wait(condition: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise StartupError(
                f"The embedded PostgreSQL has not started within {timeout:g} s; try again."
            )
        time.sleep(POLL_INTERVAL)


def _log(pgdata: Path) -> FileIO:
    """Open the log of the embedded PostgreSQL, without following a symbolic link."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    return FileIO(os.open(pgdata / "log", flags, 0o600), "r+")


def _prepare(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    data_directory.check_parents(data_dir)
    data_directory.refuse_links(*(data_dir / lock for lock in (UP_LOCK, START_LOCK, RUN_LOCK)))
