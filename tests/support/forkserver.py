"""Fork processes of the product from a server that has imported it.

Importing the product takes half a second of CPU, which hundreds of processes need not repeat.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["tests.support.preload"])


def become(environment: Mapping[str, str], folder: Path, *, stdout: int, stderr: int) -> None:
    """Set up a forked process as `subprocess.Popen` would: session, files, environment."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - open until the process ends
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
