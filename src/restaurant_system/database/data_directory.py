"""Create, check and configure the data directory of the embedded PostgreSQL."""

import contextlib
import errno
import glob
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from restaurant_system.database.postgres_programs import (
    process_user,
    programs_directory,
    run,
    server_uid,
)
from restaurant_system.errors import StartupError

if sys.platform != "win32":
    import pwd

SUPERUSER = "postgres"
VERSION = "18"  # the major version in the wheel
# The server's working directory is its data directory. With this path it needs no permission for
# the directories above, and no character of their names reaches a program.
WORKING_DIRECTORY = Path("/proc/self/cwd")
MAX_MODE = 0o750  # the widest permissions that PostgreSQL accepts
NEEDED = ("PG_VERSION", "postgresql.conf", "global/pg_control", "base", "pg_wal", "pg_xact")
RESTORE = "restore it from a backup, or move it away to begin with an empty database"
# Peer authentication: the operating system identifies the user that connects.
ACCESS = "local all all peer map=restaurant\n"


def path_for_server(pgdata: Path) -> str:
    """Return the path of `pgdata` for a program whose working directory it is."""
    return str(WORKING_DIRECTORY if WORKING_DIRECTORY.exists() else pgdata)


def initialise(pgdata: Path) -> None:
    """Create an empty database cluster next to `pgdata`, then rename it in one step."""
    for leftover in pgdata.parent.glob(f"{glob.escape(pgdata.name)}.new*"):  # by killed processes
        _remove(leftover)
    # A random name, because the initdb of a killed process may still write into its own directory.
    new = pgdata.with_name(f"{pgdata.name}.new-{secrets.token_hex(4)}")
    make_private_directory(new)
    try:
        run(
            new,
            programs_directory() / "initdb",
            f"--pgdata={path_for_server(new)}",
            f"--username={SUPERUSER}",
            "--auth=peer",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        )
    except StartupError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    new.rename(pgdata)
    with _open_directory(pgdata.parent) as parent:
        os.fsync(parent)


def _remove(leftover: Path) -> None:
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        leftover.unlink()


def make_private_directory(folder: Path) -> None:
    """Create a directory that only the server's user can access; it must not exist yet."""
    folder.mkdir(mode=0o700)
    user = process_user()
    if user:
        os.chown(folder, user["user"], user["group"], follow_symlinks=False)


def check_parents(data_dir: Path) -> None:
    """Raise `StartupError` for a directory in which another user could replace files.

    Root must not follow links of other users, so root accepts only directories that root owns.
    """
    for found in (data_dir.lstat(), data_dir.stat()):
        if found.st_uid not in {0, os.geteuid()}:
            raise StartupError(
                f"{data_dir} belongs to {_name(found.st_uid)}; start as that user, or choose"
                " another directory with --data-dir."
            )
        refused = stat.S_IWOTH if found.st_gid == os.getegid() else stat.S_IWOTH | stat.S_IWGRP
        if found.st_mode & refused and not stat.S_ISLNK(found.st_mode):
            raise StartupError(
                f"Other users may write into {data_dir}; take that right away with chmod go-w, or"
                " choose another directory with --data-dir."
            )
    for above in data_dir.resolve().parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise StartupError(
                f"Every user may replace what is in {above}; take that right away with chmod o-w,"
                " or choose another directory with --data-dir."
            )


def refuse_links(*files: Path) -> None:
    """Raise `StartupError` for a symbolic link, which would create or lock a file elsewhere."""
    for file in files:
        if file.is_symlink():
            raise StartupError(f"{file} is a link; remove it.")


def check(pgdata: Path) -> None:
    """Raise `StartupError`, which says what to do, unless `pgdata` is a usable data directory."""
    if pgdata.is_symlink() or not pgdata.is_dir():
        raise StartupError(f"{pgdata} is not a directory; move it away.")
    if not (pgdata / "PG_VERSION").exists():
        raise StartupError(
            f"{pgdata} is no PostgreSQL data directory: the file PG_VERSION is missing; {RESTORE}."
        )
    found = pgdata.stat()
    if found.st_uid != server_uid():
        raise StartupError(
            f"{pgdata} belongs to {_name(found.st_uid)}, and PostgreSQL would run as"
            f" {_name(server_uid())}; start as the user who created it, or change its owner with"
            " chown -R."
        )
    if stat.S_IMODE(found.st_mode) & ~MAX_MODE:
        raise StartupError(
            f"Other users may read {pgdata}, which PostgreSQL refuses; run chmod 700 on it."
        )
    version = (pgdata / "PG_VERSION").read_text(errors="replace").strip()
    if version != VERSION and version.replace(".", "").isdecimal():
        raise StartupError(
            f"{pgdata} was created by PostgreSQL {version}, and this is PostgreSQL {VERSION};"
            f" convert it with pg_upgrade, or dump it with PostgreSQL {version} and move it away."
        )
    missing = [name for name in NEEDED if not (pgdata / name).exists()]
    if missing or version != VERSION:
        damage = f"{missing[0]} is missing" if missing else "PG_VERSION names no version"
        raise StartupError(f"{pgdata} is damaged: {damage}; {RESTORE}.")


def is_missing(pgdata: Path) -> bool:
    """Return whether `pgdata` does not exist; an empty directory is removed first."""
    with contextlib.suppress(OSError):
        pgdata.rmdir()
    return not os.path.lexists(pgdata)


def write_access_rules(pgdata: Path) -> None:
    """Allow only root and the server's user to connect, as the superuser."""
    names = dict.fromkeys(_name(user) for user in (0, server_uid()))
    replace_file(pgdata, "pg_hba.conf", ACCESS)
    replace_file(
        pgdata, "pg_ident.conf", "".join(f'restaurant "{name}" {SUPERUSER}\n' for name in names)
    )


def replace_file(pgdata: Path, name: str, text: str) -> None:
    """Replace a file in one step, without following a link of that name."""
    new = f"{name}.new"
    with _open_directory(pgdata) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(new, flags, 0o600, dir_fd=folder), "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            if server_uid() != os.geteuid():  # systemd's sandbox refuses even what changes nothing
                os.fchown(file.fileno(), server_uid(), -1)
        os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)


@contextlib.contextmanager
def report_os_errors(data_dir: Path) -> Iterator[None]:
    """Raise `StartupError` in place of an error of the file system."""
    try:
        yield
    except OSError as error:
        advice = "choose another directory with --data-dir"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            advice = "free some space, or choose another directory with --data-dir"
        raise StartupError(f"Cannot use {data_dir} ({error.strerror}); {advice}.") from error


@contextlib.contextmanager
def _open_directory(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"the user with id {user}"
