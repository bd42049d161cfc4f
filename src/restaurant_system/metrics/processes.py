"""Sum the metrics of several processes of one port, through files in a temporary directory.

prometheus-client counts in such files if its variable names a directory when it is imported. It
names the files after the process id, so that each process that ends would leave files behind. Here
they are named after a slot instead, which a process holds by a file lock until it ends: the process
that replaces it continues its counters.

The command locks the directory. So the next command knows that it is in use, and systemd-tmpfiles,
which deletes old files in /tmp, skips it: without the lock files, two processes would share a slot.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

from restaurant_system.errors import StartupError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "restaurant-shared-metrics-"
SLOT_LOCK = "slot-{}.lock"
MIN_AGE = 60.0  # s; a younger directory may not be locked yet

_locked: list[int] = []  # the descriptor of this process's slot, whose lock ends with the process


@contextlib.contextmanager
def shared_metrics() -> Iterator[None]:
    """Have the processes that are started in the block share their metrics.

    They must import prometheus-client themselves. Raises `StartupError` if there is no place for
    temporary files.
    """
    try:
        _delete_abandoned_directories()
        directory = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
    except OSError as error:
        raise StartupError(
            f"Several processes need a directory for temporary files ({error.strerror}); name one"
            " in the environment variable TMPDIR."
        ) from error
    before = os.environ.get(VARIABLE)
    with directory as path, _lock(Path(path)):
        os.environ[VARIABLE] = path
        try:
            yield
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def shared_directory() -> Path | None:
    """Return the directory in which this process shares its metrics; `None` if it does not."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path and _locked else None


def take_slot() -> None:
    """Take the first free slot if this process is to share metrics; call it before any is made."""
    path = os.environ.get(VARIABLE)
    if not path or values.ValueClass is values.MutexValue:
        return
    for slot in count():
        lock = _try_to_lock(Path(path, SLOT_LOCK.format(slot)), os.O_CREAT | os.O_RDWR)
        if lock is not None:
            mark_process_dead(slot, path)
            values.ValueClass = values.MultiProcessValue(partial(int, slot))
            _locked.append(lock)
            return


def delete_gauges_of_ended_processes(directory: Path) -> None:
    """Delete the gauges of slots that no process holds; counters and histograms stay."""
    for slot in range(len(list(directory.glob(SLOT_LOCK.format("*"))))):
        with _lock(directory / SLOT_LOCK.format(slot)) as is_locked:
            if is_locked:
                mark_process_dead(slot, str(directory))


def _delete_abandoned_directories() -> None:
    """Delete the directories of commands that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another command deletes it
            if time.time() - path.stat().st_mtime > MIN_AGE:
                with _lock(path) as is_locked:
                    if is_locked:
                        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Lock a file or directory within the block, unless another process has; return whether."""
    lock = _try_to_lock(path)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def _try_to_lock(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """Lock a file or directory; return its descriptor, or `None` if another process holds it."""
    import fcntl  # noqa: PLC0415 - where several processes can share a port

    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
