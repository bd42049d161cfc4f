"""Commands whose standard streams are closed, or whose output is not read."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.deployments import QUICK_SETTINGS

PROGRAM = (sys.executable, "-m", "restaurant_system")
UNREACHABLE = "postgresql://postgres@127.0.0.1:1/name"
PRINTING = ("doctor", "users list", "privacy export --name Ada")


def start(
    *command: str, url: str, folder: Path, stdout: int = subprocess.PIPE
) -> "subprocess.Popen[bytes]":
    """Start a command on a database."""
    return subprocess.Popen(  # noqa: S603 - our own command
        command,
        env={**os.environ, **QUICK_SETTINGS, "RESTAURANT_DATABASE__URL": url},
        cwd=folder,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def test_closed_streams_do_not_change_what_a_command_does(tmp_path: Path) -> None:
    """No socket gets the number of a standard stream; the other streams are as ever."""
    without_stdin, without_stdout = (
        start(
            *("sh", "-c", f'exec "$@" {closed}', "sh", *PROGRAM, "doctor", "--json"),
            url=UNREACHABLE,
            folder=tmp_path,
        )
        for closed in ("<&-", ">&-")
    )

    output, errors = without_stdin.communicate()
    assert (without_stdin.returncode, errors) == (1, b"")
    assert json.loads(output)["status"] == "error"
    assert without_stdout.communicate() == (b"", b"")
    assert without_stdout.returncode == 1


def test_child_processes_inherit_the_null_device_for_closed_streams(tmp_path: Path) -> None:
    """Without it, the processes of a service with several get sockets as standard streams."""
    report = (
        "import os, pathlib; from restaurant_system.__main__ import open_closed_streams;"
        " open_closed_streams(); print('discarded');"
        " names = [os.readlink(f'/proc/self/fd/{n}') for n in range(3) if os.get_inheritable(n)];"
        " pathlib.Path('report').write_text(' '.join(names))"
    )
    process = start(
        *("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", report),
        url=UNREACHABLE,
        folder=tmp_path,
    )

    assert process.communicate() == (b"", b"")
    assert process.returncode == 0
    assert (tmp_path / "report").read_text() == " ".join(3 * [os.devnull])


def test_command_whose_output_is_not_read_ends_by_sigpipe_without_a_message(
    dsn: str, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    started = [
        start(*PROGRAM, *command.split(), url=dsn, folder=tmp_path, stdout=writer)
        for command in PRINTING
    ]
    os.close(writer)

    errors = [process.communicate()[1] for process in started]

    assert [process.returncode for process in started] == [-signal.SIGPIPE] * len(PRINTING)
    logged = [json.loads(line) for each in errors for line in each.splitlines()]
    assert {line["level"] for line in logged} <= {"INFO"}
