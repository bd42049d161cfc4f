"""The embedded PostgreSQL: paths, access, checks of its data directory, and shared use."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from restaurant_system.app.runtime import open_database
from restaurant_system.config import Settings
from restaurant_system.database import data_directory, embedded
from restaurant_system.database.postgres_programs import STATE, process_user, server_uid
from restaurant_system.errors import StartupError
from tests.support.postgres_server import folder_in_memory
from tests.support.waiting import wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# One os.write per line: an unbuffered print writes its line break separately, so the output of
# several processes would interleave.
STAY = """
import os, sys, time
from pathlib import Path
from restaurant_system.database import embedded
with embedded.postgres(Path(sys.argv[1])):
    os.write(1, b"ready\\n")
    time.sleep(float(sys.argv[2]))
"""
# Runs where /etc and the state of root are copies of their own.
NEW_MACHINE = """
mount --make-rprivate / && cp -a /etc "$1/etc" && mount --bind "$1/etc" /etc
mkdir -p "$2" && mount -t tmpfs tmpfs "$2"
sed -i '/^restaurant:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow
"""


@pytest.fixture(scope="module")
def empty_cluster() -> Iterator[Path]:
    """Create a database cluster that tests copy and damage."""
    folder = Path(tempfile.mkdtemp(prefix="restaurant-cluster-", dir=folder_in_memory()))
    data_directory.initialise(folder / "postgres")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Return a directory that other users cannot access."""
    folder = Path(tempfile.mkdtemp(prefix="restaurant-data-", dir=folder_in_memory()))
    yield folder
    for pid_file in folder.rglob("postmaster.pid"):
        embedded.stop(pid_file.parent)
    shutil.rmtree(folder)


@pytest.fixture
def pgdata(data_dir: Path, empty_cluster: Path) -> Path:
    """Copy a database cluster into the data directory; return its path."""
    subprocess.run(["/bin/cp", "-a", empty_cluster / "postgres", data_dir], check=True)  # noqa: S603
    return data_dir / "postgres"


def select_one(dsn: str) -> int:
    """Execute `SELECT 1` on a DSN."""
    (row,) = rows(dsn, "SELECT 1 AS number")
    number: int = row["number"]
    return number


def rows(dsn: str, query: str) -> list[asyncpg.Record]:
    """Return the rows of a query."""

    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetch(query)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_embedded_postgres_runs_on_any_path(data_dir: Path) -> None:
    """Special characters do not reach a shell, and no path is too long for the socket."""
    names = ('Tony\'s "Pizza"', "$(touch hit) `touch hit`", "-D\n李小龙 100%s,a:1", "x" * 200)
    path = data_dir.joinpath(*names)

    with embedded.postgres(path) as dsn:
        assert select_one(dsn) == 1

    assert not [path for path in data_dir.rglob("hit") if path.is_file()]
    assert not (path / "postgres" / "postmaster.pid").exists()


def test_embedded_postgres_runs_on_a_relative_path(
    pgdata: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative data directory is relative to the working directory of the command."""
    monkeypatch.chdir(pgdata.parent.parent)

    with embedded.postgres(Path(pgdata.parent.name)) as dsn:
        assert select_one(dsn) == 1


def test_embedded_postgres_changes_no_permissions_of_other_directories(pgdata: Path) -> None:
    """The server needs no permission for the directories above its data."""
    with embedded.postgres(pgdata.parent):
        pass

    assert stat.S_IMODE(pgdata.parent.stat().st_mode) == 0o700


def test_connections_are_authenticated_by_user_after_an_upgrade(pgdata: Path) -> None:
    """An earlier release trusted every connection to its socket."""
    (pgdata / "pg_hba.conf").write_text("local all all trust\n")

    with embedded.postgres(pgdata.parent) as dsn:
        rules = rows(dsn, "SELECT type, auth_method FROM pg_hba_file_rules")

    assert [tuple(rule) for rule in rules] == [("local", "peer")]


@as_root
def test_other_user_cannot_connect(pgdata: Path) -> None:
    """The server refuses other users even if directories and socket permit access."""
    with embedded.postgres(pgdata.parent):
        pgdata.parent.chmod(0o755)
        pgdata.chmod(0o755)
        (pgdata / embedded.SOCKET).chmod(0o777)
        program = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            r"b = b'\0\3\0\0user\0postgres\0\0'; s.sendall((len(b) + 4).to_bytes(4, 'big') + b);"
            "print(s.recv(500))"
        )
        answer = subprocess.run(  # noqa: S603
            ["/usr/bin/python3", "-c", program, pgdata / embedded.SOCKET],
            user="nobody",
            extra_groups=(),
            capture_output=True,
            text=True,
            check=True,
        )
        pgdata.chmod(0o700)

    assert "Peer authentication failed" in answer.stdout


def empty_version(pgdata: Path) -> None:
    """Empty the file PG_VERSION of a database cluster."""
    (pgdata / "PG_VERSION").write_text("")


def earlier_version(pgdata: Path) -> None:
    """Write an earlier major version into PG_VERSION."""
    (pgdata / "PG_VERSION").write_text("16\n")


def no_version(pgdata: Path) -> None:
    """Remove the file PG_VERSION of a database cluster."""
    (pgdata / "PG_VERSION").unlink()


def no_control_file(pgdata: Path) -> None:
    """Remove the file pg_control of a database cluster."""
    (pgdata / "global" / "pg_control").unlink()


def garbled_control_file(pgdata: Path) -> None:
    """Overwrite the file pg_control of a database cluster."""
    (pgdata / "global" / "pg_control").write_bytes(b"\0" * 8192)


def no_settings(pgdata: Path) -> None:
    """Remove the file postgresql.conf of a database cluster."""
    (pgdata / "postgresql.conf").unlink()


def broken_settings(pgdata: Path) -> None:
    """Write an invalid setting into postgresql.conf."""
    (pgdata / "postgresql.conf").write_text("no such setting\n")


def file_instead(pgdata: Path) -> None:
    """Replace the data directory by a file."""
    shutil.rmtree(pgdata)
    pgdata.write_text("")


def open_parent(pgdata: Path) -> None:
    """Let every user write into the data directory."""
    pgdata.parent.chmod(0o777)


def group_writes(pgdata: Path) -> None:
    """Let another group write into the data directory."""
    os.chown(pgdata.parent, -1, 65534)
    pgdata.parent.chmod(0o775)


def planted_link(pgdata: Path) -> None:
    """Make a lock file a link, as another user with write permission could."""
    (pgdata.parent / "up.lock").unlink(missing_ok=True)
    (pgdata.parent / "up.lock").symlink_to(pgdata.parent / "made_by_the_link")


def link_instead(pgdata: Path) -> None:
    """Replace the data directory by a symbolic link."""
    pgdata.rename(pgdata.with_name("elsewhere"))
    pgdata.symlink_to("elsewhere")


def modes_of_a_copy(pgdata: Path) -> None:
    """Let everyone read the directory, as after a copy."""
    pgdata.chmod(0o755)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (planted_link, "up.lock is a link; remove it"),
        (link_instead, "is not a directory; move it away"),
        (modes_of_a_copy, "run chmod 700 on it"),
        pytest.param(group_writes, "Other users may write into .*chmod go-w", marks=as_root),
        (empty_version, "PG_VERSION names no version"),
        (earlier_version, "PostgreSQL 16, and this is PostgreSQL 18; convert it with pg_upgrade"),
        (no_version, "PG_VERSION is missing; restore it"),
        (no_control_file, "global/pg_control is missing; restore it"),
        (garbled_control_file, "restore it from a backup"),
        (no_settings, "postgresql.conf is missing; restore it"),
        (broken_settings, "line 1.*correct that file"),
        (file_instead, "is not a directory; move it away"),
        (open_parent, "Other users may write into .*--data-dir"),
    ],
)
def test_unusable_data_directory_is_refused_with_what_to_do(
    damage: Callable[[Path], None], words: str, pgdata: Path
) -> None:
    """The error has one line, which says what to do."""
    damage(pgdata)

    with pytest.raises(StartupError, match=words) as refused, embedded.postgres(pgdata.parent):
        pass

    assert "\n" not in str(refused.value)
    assert not (pgdata.parent / "made_by_the_link").exists()
    pgdata.parent.chmod(0o700)


@as_root
@pytest.mark.parametrize("name", [".", "postgres"])
def test_directory_of_another_user_is_refused(name: str, pgdata: Path) -> None:
    """The directory's owner could replace files that root uses."""
    os.chown(pgdata.parent / name, 65534, -1)

    with pytest.raises(StartupError, match="belongs to nobody"), embedded.postgres(pgdata.parent):
        pass


def test_damage_found_by_a_connection_names_the_log_and_not_the_configuration(
    pgdata: Path,
) -> None:
    """The error names PostgreSQL's log; the embedded server has no configuration section."""
    shutil.rmtree(pgdata / "base" / "5")

    async def connect() -> None:
        async with open_database(Settings(data_dir=pgdata.parent), "test"):
            pass

    with pytest.raises(StartupError) as refused:
        asyncio.run(connect())

    assert str(embedded.log_file(pgdata.parent)) in str(refused.value)
    assert "configuration" not in str(refused.value)


@as_root
def test_link_of_another_user_is_not_followed(data_dir: Path) -> None:
    """The target of the symbolic link stays unchanged."""
    link = data_dir / "link"
    (data_dir / "target").mkdir()
    link.symlink_to(data_dir / "target")
    os.chown(link, 65534, -1, follow_symlinks=False)

    with pytest.raises(StartupError, match="belongs to nobody"), embedded.postgres(link):
        pass

    assert not list((data_dir / "target").glob("postgres*"))


def test_leftovers_of_starts_killed_during_creation_are_removed(data_dir: Path) -> None:
    """Directories, files and dangling links, with names of this and of an earlier release."""
    for name in ("postgres.new", "postgres.new-00000001"):
        (data_dir / name / "base").mkdir(parents=True)
    (data_dir / "postgres.new-00000002").write_text("")
    (data_dir / "postgres.new-00000003").symlink_to("nowhere")

    with embedded.postgres(data_dir) as dsn:
        assert select_one(dsn) == 1

    assert not list(data_dir.glob("postgres.new*"))


def test_embedded_postgres_starts_while_an_orphaned_initdb_still_writes(data_dir: Path) -> None:
    """An orphaned initdb writes into a separate directory."""
    left = data_dir / "postgres.new-0a1b2c3d"
    writer = (
        "import pathlib, sys\n"
        "for n in range(10**6):\n"
        "    pathlib.Path(sys.argv[1]).mkdir(exist_ok=True)\n"
        "    (pathlib.Path(sys.argv[1]) / str(n)).touch()\n"
    )
    with subprocess.Popen([sys.executable, "-c", writer, left]) as orphan:  # noqa: S603
        try:
            while not left.exists():
                time.sleep(0.01)
            with embedded.postgres(data_dir) as dsn:
                assert select_one(dsn) == 1
        finally:
            orphan.kill()


def test_stale_pid_file_with_the_id_of_another_program_is_ignored(pgdata: Path) -> None:
    """After a power failure another program may have the process id in the pid file."""
    other = subprocess.Popen(["/bin/sleep", "60"], **process_user())
    try:
        for lock in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (pgdata / lock).write_text(f"{other.pid}\n{pgdata}\n")

        with embedded.postgres(pgdata.parent) as dsn:
            assert select_one(dsn) == 1

        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_server_outlives_a_killed_process_and_is_reused(pgdata: Path) -> None:
    """The next process reuses the server and stops it at its end."""
    first = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", STAY, pgdata.parent, "60"], stdout=subprocess.PIPE
    )
    assert first.stdout is not None
    assert first.stdout.readline() == b"ready\n"
    server = (pgdata / "postmaster.pid").read_text().splitlines()[0]
    first.kill()
    first.wait()
    first.stdout.close()

    with embedded.postgres(pgdata.parent) as dsn:
        assert select_one(dsn) == 1
        assert (pgdata / "postmaster.pid").read_text().splitlines()[0] == server

    assert not (pgdata / "postmaster.pid").exists()


def test_killed_server_is_started_again(pgdata: Path) -> None:
    """The lock files of a killed server do not prevent a start."""
    with embedded.postgres(pgdata.parent):
        server = int((pgdata / "postmaster.pid").read_text().splitlines()[0])
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: not _exists(server), seconds=10, doing="for the end of the server")
        time.sleep(0.5)  # its other processes notice

    with embedded.postgres(pgdata.parent) as dsn:
        assert select_one(dsn) == 1


@as_root
def test_processes_that_start_concurrently_on_a_new_machine_all_work(data_dir: Path) -> None:
    """The system user of PostgreSQL does not exist yet; only one process creates it."""
    private = ["unshare", "--mount", "sh", "-e", "-c"]
    start = '"$3" -c "$4" "$1/one" 0 & "$3" -c "$4" "$1/two" 0 & "$3" -c "$4" "$1/three" 0 & wait'
    if subprocess.run([*private[:2], "true"], check=False, capture_output=True).returncode:  # noqa: S603
        pytest.skip("this machine allows no mount namespace")

    started = subprocess.run(  # noqa: S603
        [*private, NEW_MACHINE + start, "sh", data_dir, STATE, sys.executable, STAY],
        capture_output=True,
        text=True,
        check=True,
    )

    assert (started.stdout, started.stderr) == ("ready\n" * 3, "")


@as_root
def test_root_runs_a_copy_of_programs_that_the_account_cannot_access(data_dir: Path) -> None:
    """Programs below a home directory of mode 0700 are copied for the server's user."""
    program = f"""
import restaurant_system.database.postgres_programs as programs
from pathlib import Path
programs.STATE = Path({str(data_dir)!r}).with_suffix(".state")
programs._account_can_run = lambda program: programs.STATE in program.parents
{STAY}"""
    state = data_dir.with_suffix(".state")
    try:
        started = subprocess.run(  # noqa: S603
            [sys.executable, "-c", program, data_dir, "0"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (started.stdout, started.stderr) == ("ready\n", "")
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _exists(process: int) -> bool:
    return Path(f"/proc/{process}/cwd").exists()


def test_user_who_owns_the_cluster_changes_no_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systemd's sandbox refuses that call, even if it would change nothing."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.fchown", refuse)
    monkeypatch.setattr("restaurant_system.database.data_directory.server_uid", os.geteuid)

    data_directory.replace_file(tmp_path, "pg_hba.conf", "local all all peer\n")

    assert (tmp_path / "pg_hba.conf").read_text() == "local all all peer\n"


def test_cluster_belongs_to_the_user_of_the_server(pgdata: Path) -> None:
    found = pgdata.stat()

    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (server_uid(), 0o700)
