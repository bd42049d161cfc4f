"""Find the programs of RabbitMQ: this machine's own, or those in a folder with another Debian.

`make test-brokers` makes such folders, and names one in the variable RABBITMQ_ROOT. A test upgrades
to that in NEXT_RABBITMQ_ROOT.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.prerequisites import rabbitmq_server

ROOT = os.environ.get("RABBITMQ_ROOT")
NEXT_ROOT = os.environ.get("NEXT_RABBITMQ_ROOT")
SERVER_IN_ROOT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
# In mounts of its own, which end with the process; the folders of tests have the same paths there.
ENTER_ROOT = """
mount -t proc proc {root}/proc && mount --bind /tmp {root}/tmp && exec chroot {root} "$@"
"""


@dataclass(frozen=True, slots=True)
class RabbitMQInstallation:
    """The programs of one version of RabbitMQ."""

    root: Path
    server: Path  # its path within `root`

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command that runs a program of RabbitMQ."""
        inner = [str(self.server.with_name(program)), *arguments]
        if self.root == Path("/"):
            return inner
        script = ENTER_ROOT.format(root=shlex.quote(str(self.root)))
        return ["unshare", "--mount", "--", "sh", "-c", script, "sh", *inner]

    def plugins(self, used: Sequence[str]) -> Iterator[Path]:
        """Yield the paths, within `root`, of all libraries and of the used plugins."""
        server = (self.root / self.server.relative_to("/")).resolve()
        for found in server.parents[1].glob("plugins/*"):
            name = found.name.partition("-")[0]
            if not name.startswith("rabbitmq_") or name.removeprefix("rabbitmq_") in used:
                yield "/" / found.relative_to(self.root)


def find_installation(root: str | None = ROOT) -> RabbitMQInstallation:
    """Return the installation in a folder, by default the one that the tests use."""
    if root is not None:
        return RabbitMQInstallation(Path(root).resolve(), Path(SERVER_IN_ROOT))
    server = rabbitmq_server()
    if server is None:
        raise RuntimeError("rabbitmq-server is not installed; run `make test`, which installs it")
    return RabbitMQInstallation(Path("/"), Path(server))
