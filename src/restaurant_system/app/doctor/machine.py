"""Check this machine: free disk space of the data directory, and the limit of open files."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from restaurant_system.app.doctor.findings import Check, Finding, error, ok, skipped, warning
from restaurant_system.config import Settings
from restaurant_system.database import data_directory
from restaurant_system.web import file_descriptors

GIB = 1024**3
LEAST_SPACE, LOW_SPACE = GIB // 4, 2 * GIB  # PostgreSQL's write-ahead log alone may take 1 GiB
LEAST_FILES, LOW_FILES = 512, 4096
RAISE_FILES = "raise the limit of open files (ulimit -Hn; LimitNOFILE= in a systemd unit)"

FreeSpace = Callable[[Path], int]


def free_space(folder: Path) -> int:
    """Return the number of free bytes on the disk of a folder."""
    return shutil.disk_usage(folder).free


def checks(settings: Settings, free_space: FreeSpace = free_space) -> list[Check]:
    """Return the checks of this machine."""

    async def check_disk() -> Sequence[Finding]:
        if settings.database is not None:
            return [skipped("the disk of your PostgreSQL cannot be seen from here")]
        with data_directory.report_os_errors(settings.data_dir):
            return [check_space(settings.data_dir.absolute(), free_space)]

    async def check_files() -> Sequence[Finding]:
        file_descriptors.raise_limit()  # as each service does, for its own process
        return [check_open_files(file_descriptors.limit())]

    return [
        Check("machine.disk", check_disk, "choose another data_dir"),
        Check("machine.open_files", check_files, RAISE_FILES),
    ]


def check_space(data_dir: Path, free_space: FreeSpace) -> Finding:
    """Check the disk on which the data directory is, or would be created."""
    folder = next(each for each in (data_dir, *data_dir.parents) if each.exists())
    if not folder.is_dir():
        return error(f"{folder} is not a folder", "set data_dir to a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        return error(
            f"this user may not write into {folder}", "start as another user, or set data_dir"
        )
    free = free_space(folder)
    message = f"{free / GIB:.1f} GiB free for {data_dir}"
    cure = "free some space, or set data_dir to a folder on another disk"
    if free < LEAST_SPACE:
        return error(message, cure)
    return warning(message, cure) if free < LOW_SPACE else ok(message)


def check_open_files(limit: int) -> Finding:
    """Check how many files, connections included, a process may have open."""
    message = f"a process may open {limit} files"
    if limit < LEAST_FILES:
        return error(f"{message}, and needs {LEAST_FILES}", RAISE_FILES)
    if limit < LOW_FILES:
        return warning(
            f"{message}, one for each connection and open page; {LOW_FILES} are advised",
            RAISE_FILES,
        )
    return ok(message)
