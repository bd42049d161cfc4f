"""Install what the tests need besides Python packages.

RabbitMQ, PostgreSQL (the one in our wheel is built without TLS), PgBouncer, Prometheus, nginx,
HAProxy, Chromium with a font, and systemd, of which only the check of units is used. They are
installed from Debian's packages if the user may do so; otherwise one sentence says what to do.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends")
PATH = "/usr/lib/rabbitmq/bin:" + os.environ["PATH"]
SYSTEM_PATH = os.environ["PATH"] + ":/usr/sbin"  # which Debian leaves out for users


def rabbitmq_server() -> str | None:
    """Return the path of rabbitmq-server, `None` if it is not installed."""
    return shutil.which("rabbitmq-server", path=PATH)


def postgres_programs() -> Path | None:
    """Return the folder of the newest installed PostgreSQL, `None` if there is none.

    Debian does not put them on the path.
    """
    newest_first = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda found: -float(found.parent.name)
    )
    path = ":".join([*map(str, newest_first), os.environ["PATH"]])
    postgres = shutil.which("postgres", path=path)
    return Path(postgres).resolve().parent if postgres else None


def prometheus() -> str | None:
    """Return the path of Prometheus, `None` unless it is installed with promtool."""
    return shutil.which("prometheus") if shutil.which("promtool") else None


def nginx() -> str | None:
    """Return the path of nginx, `None` if it is not installed."""
    return shutil.which("nginx", path=SYSTEM_PATH)


def haproxy() -> str | None:
    """Return the path of HAProxy, `None` if it is not installed."""
    return shutil.which("haproxy", path=SYSTEM_PATH)


def pgbouncer() -> str | None:
    """Return the path of PgBouncer, `None` if it is not installed."""
    return shutil.which("pgbouncer", path=SYSTEM_PATH)


def headless_chromium() -> str | None:
    """Return the path of Chromium without a user interface, which needs less processor time."""
    return shutil.which("chromium-headless-shell")


def chromium() -> str | None:
    """Return the path of the Chromium to use, `None` if none is installed."""
    return headless_chromium() or shutil.which("chromium")


def main() -> None:
    """Install what is missing, or exit with the command that does."""
    can_install = shutil.which("apt-get") is not None and os.geteuid() == 0
    found = {
        "rabbitmq-server": rabbitmq_server(),
        "postgresql": postgres_programs(),
        "pgbouncer": pgbouncer(),
        "prometheus": prometheus(),
        "nginx": nginx(),
        "haproxy": haproxy(),
        "chromium-headless-shell fonts-liberation": headless_chromium()
        if can_install
        else chromium(),
        # Only its systemd-analyze is used, by a test that is skipped elsewhere.
        "systemd": shutil.which("systemd-analyze") if can_install else "",
    }
    missing = [each for names, place in found.items() if place is None for each in names.split()]
    if not missing:
        return
    if not can_install:
        sys.exit(
            "The tests need RabbitMQ 3.10, PostgreSQL 14 with TLS, PgBouncer 1.18, Prometheus 2.42,"
            " nginx 1.22, HAProxy 2.6, or newer, and Chromium; install them (on Debian, as root:"
            f" apt-get install {' '.join(missing)}) and try again."
        )
    sys.stdout.write(f"Installing {' and '.join(missing)} for the tests ...\n")
    sys.stdout.flush()
    # RUNLEVEL=1 prevents the packages from starting their servers.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (("apt-get", "update", "--quiet"), (*INSTALL, *missing)):
        finished = subprocess.run(  # noqa: S603 - fixed commands
            command, env=environment, capture_output=True, text=True, check=False
        )
        if finished.returncode != 0:
            sys.exit(f"`{' '.join(command)}` failed:\n{finished.stdout}{finished.stderr}")


if __name__ == "__main__":
    main()
