"""Carry out the Dockerfile without a container engine, in a folder of this machine.

The steps of its first stage are executed as they are written. Of the second stage, only the health
check is used.
"""

import contextlib
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pip

ROOT = Path(__file__).parents[2]
INSTALLED = "/opt/restaurant-system"  # in the image
UNPRIVILEGED = 65534  # the user without rights of every Linux
DEBIAN_PYTHON = "/usr/bin/python3"
PROBE = "import ssl, sys, venv; assert sys.version_info >= (3, 11)"


def instructions(stage: int) -> list[tuple[str, str]]:
    """Return keyword and arguments of each instruction of a stage of the Dockerfile."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1] != "#"]
    logical = "\n".join(lines).replace("\\\n", " ").splitlines()
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, logical)):
        keyword, arguments = line.split(maxsplit=1)
        if keyword == "FROM":
            stages.append([])
        stages[-1].append((keyword, arguments))
    return stages[stage]


def health_check() -> list[str]:
    """Return the command that tells whether a service is healthy."""
    (arguments,) = [text for keyword, text in instructions(1) if keyword == "HEALTHCHECK"]
    command: list[str] = json.loads(arguments.split("CMD", 1)[1])
    return command


def user() -> dict[str, Any]:
    """Return an unprivileged user for `subprocess`; nothing unless this process is root.

    PostgreSQL needs a user that exists; the Dockerfile creates one, of which this takes the place.
    """
    if os.geteuid() != 0:
        return {}
    group = pwd.getpwuid(UNPRIVILEGED).pw_gid
    return {"user": UNPRIVILEGED, "group": group, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class Image:
    """What the first stage has installed in `folder`."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        """Return a command of the image with the path of its program on this machine."""
        return [str(self.folder / "bin" / arguments[0]), *arguments[1:]]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as an unprivileged user."""
        return subprocess.run(  # noqa: S603 - commands of the image
            self.command(*arguments),
            env=self.environment(environment),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **user(),
        )

    def start(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command of the product as an unprivileged user, with its output in files."""
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            return subprocess.Popen(  # noqa: S603 - our own command
                self.command("restaurant-system", *arguments),
                env=self.environment(environment),
                cwd="/",
                stdout=stdout,
                stderr=stderr,
                **user(),
            )

    @staticmethod
    def environment(variables: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a container: nothing of this process but the product's own."""
        own = {name: text for name, text in variables.items() if name.isupper()}
        kept = {name: text for name, text in own.items() if name.startswith(("RESTAURANT_", "HEA"))}
        return {"HOME": "/nonexistent", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **kept}


@contextlib.contextmanager
def built() -> Iterator[Image]:
    """Execute the first stage of the Dockerfile in a new folder; delete that at the end."""
    folder = Path(tempfile.mkdtemp(prefix="restaurant-image-"))
    folder.chmod(0o755)
    try:
        _make_base(folder / "base")
        for keyword, arguments in instructions(0):
            if keyword == "COPY":
                _copy(arguments, folder / "source")
            elif keyword == "RUN":
                _run(arguments, folder)
        yield Image(folder / "opt")
    finally:
        shutil.rmtree(folder)


def _make_base(base: Path) -> None:
    """Make an environment that stands for the Python and the pip of the base image."""
    _execute([_python(), "-m", "venv", "--without-pip", str(base)], Path("/"))
    (packages,) = base.glob("lib/python3*/site-packages")
    shutil.copytree(Path(pip.__file__).parent, packages / "pip")  # ensurepip takes 5 s
    script = base / "bin" / "pip"
    script.write_text(f'#!/bin/sh\nexec {base}/bin/python -m pip "$@"\n')
    script.chmod(0o755)


def _python() -> str:
    """Return a Python that an unprivileged user can execute, too."""
    candidates = (str(Path(sys.base_prefix) / "bin" / "python3"), DEBIAN_PYTHON)
    for python in candidates:
        with contextlib.suppress(PermissionError):
            probe = subprocess.run(  # noqa: S603 - Python
                [python, "-c", PROBE], cwd="/", capture_output=True, check=False, **user()
            )
            if probe.returncode == 0:
                return python
    raise AssertionError(f"No Python 3.11 with venv that every user can execute: {candidates}.")


def _copy(arguments: str, source: Path) -> None:
    """Copy files and folders of the project into the folder of the source."""
    *names, target = shlex.split(arguments)
    for name in names:
        copy = source / target / name if target == "./" else source / target
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)


def _run(command: str, folder: Path) -> None:
    script = re.sub(rf"{INSTALLED}\b", str(folder / "opt"), command)
    _execute(["/bin/sh", "-e", "-c", script], folder / "source", folder / "base" / "bin")


def _execute(command: list[str], folder: Path, *programs: Path) -> None:
    path = ":".join([*map(str, programs), os.environ["PATH"]])
    finished = subprocess.run(  # noqa: S603 - the Dockerfile's own
        command,
        env={**os.environ, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, f"{command}: {finished.stdout}{finished.stderr}"
