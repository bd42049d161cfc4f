"""Sees to it that what the tests need and pip does not bring is there: RabbitMQ.

Installs it from Debian's packages where the user may; otherwise says in one sentence what to do.
"""

import os
import shutil
import subprocess
import sys

INSTALL = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "rabbitmq-server")
PATH = "/usr/lib/rabbitmq/bin:" + os.environ["PATH"]


def main() -> None:
    """Install what is missing, or say what to install."""
    if shutil.which("rabbitmq-server", path=PATH):
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        sys.exit(
            "The tests need RabbitMQ 3.10 or newer; install it (on Debian, as root:"
            " apt-get install rabbitmq-server) and run `make test` again."
        )
    sys.stdout.write("Installing rabbitmq-server for the tests ...\n")
    sys.stdout.flush()
    # The package would start a server of its own; the tests start theirs, on ports of their own.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (("apt-get", "update", "--quiet"), INSTALL):
        finished = subprocess.run(  # noqa: S603 - fixed commands
            command, env=environment, capture_output=True, text=True, check=False
        )
        if finished.returncode != 0:
            sys.exit(f"`{' '.join(command)}` failed:\n{finished.stdout}{finished.stderr}")


if __name__ == "__main__":
    main()
