"""Run a RabbitMQ server for tests, on free loopback ports, in a temporary directory."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.support.certificates import CertificateAuthority
from tests.support.prerequisites import rabbitmq_server
from tests.support.processes import free_port
from tests.support.waiting import wait_until

RABBITMQ_SERVER = rabbitmq_server()
USED_PLUGINS = ("management", "management_agent", "prelaunch", "web_dispatch")


class RabbitMQ:
    """A private RabbitMQ node with a virtual host for each test.

    On `tls_port` it proves to be localhost, and has clients prove who they are if they say so.
    """

    plugins = "[rabbitmq_management]."

    def __init__(self) -> None:
        if RABBITMQ_SERVER is None:
            raise RuntimeError(
                "rabbitmq-server is not installed; run `make test`, which installs it"
            )
        self._folder = Path(tempfile.mkdtemp(prefix="restaurant-mq-"))
        self._vhosts = (f"test_{number}" for number in itertools.count(1))
        self.port, self.tls_port, self._distribution, self._epmd, self._management = (
            free_port() for _ in range(5)
        )
        self.authority = CertificateAuthority(self._folder)
        (self._folder / "plugins").write_text(self.plugins)
        self._link_plugins()
        (self._folder / "rabbitmq.conf").write_text(self._settings())
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def running(self) -> bool:
        """Return whether the node was started and not killed since."""
        return self._process is not None

    @property
    def api(self) -> httpx.Client:
        """A client of the management API, without TLS: loading certificates takes long."""
        return httpx.Client(
            base_url=f"{self.management}/api",
            auth=("guest", "guest"),
            timeout=10,
            verify=False,  # noqa: S501 - there is no TLS here
        )

    @property
    def management(self) -> str:
        """The address of the management API."""
        return f"http://127.0.0.1:{self._management}"

    def start(self) -> None:
        """Start the node on the same ports and with the same data as before."""
        assert RABBITMQ_SERVER is not None
        self._process = subprocess.Popen(  # noqa: S603 - the path was looked up above
            [RABBITMQ_SERVER],
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._answers, seconds=60, doing="for RabbitMQ to start")

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",  # lets `close` kill epmd early
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_PLUGINS_DIR": str(self._folder / "available"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq"),
            "RABBITMQ_LOGS": str(self._folder / "node.log"),
            "HOME": str(self._folder),
        }

    def _link_plugins(self) -> None:
        """Link the libraries and the used plugins.

        The node reads all that it finds, which takes a quarter of the processor time of its start.
        """
        assert RABBITMQ_SERVER is not None
        available = self._folder / "available"
        available.mkdir()
        for found in Path(RABBITMQ_SERVER).resolve().parents[1].glob("plugins/*"):
            name = found.name.partition("-")[0]
            if name.startswith("rabbitmq_") and name.removeprefix("rabbitmq_") not in USED_PLUGINS:
                continue
            (available / found.name).symlink_to(found)

    def kill(self) -> None:
        """Kill the node with SIGKILL; confirmed messages are on its disk."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Pause the node with SIGSTOP: connections hang."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the RabbitMQ node after `pause`."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def wipe(self) -> None:
        """Delete the data of the node, which must not be running."""
        shutil.rmtree(self._folder / "data")

    @contextlib.contextmanager
    def short_of_memory(self) -> Iterator[None]:
        """Trigger the memory alarm, which blocks publishers."""
        self._set_memory("0.000001")
        try:
            yield
        finally:
            self._set_memory("0.6")

    def _set_memory(self, share: str) -> None:
        assert RABBITMQ_SERVER is not None
        subprocess.run(  # noqa: S603 - the node's own tool
            [Path(RABBITMQ_SERVER).with_name("rabbitmqctl"), "set_vm_memory_high_watermark", share],
            env=self._environment(),
            capture_output=True,
            check=True,
        )

    def close(self) -> None:
        """Kill the RabbitMQ node and epmd, and delete their folder."""
        self.kill()
        subprocess.run(  # noqa: S603 - a name server of our own, on our own port
            ["epmd", "-port", str(self._epmd), "-kill"],  # noqa: S607
            capture_output=True,
            check=False,
        )
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_vhost(self) -> str:
        """Create a virtual host, and return its name."""
        name = next(self._vhosts)
        with self.api as api:
            api.put(f"/vhosts/{name}").raise_for_status()
        return name

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host: each costs the node time for as long as it exists."""
        with self.api as api:
            api.delete(f"/vhosts/{name}").raise_for_status()

    def url(self, vhost: str) -> str:
        """Return the URL of a virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost}"

    def _settings(self) -> str:
        identity = self.authority.server("localhost")
        settings = {
            "management.tcp.port": self._management,
            "management.tcp.ip": "127.0.0.1",
            "collect_statistics_interval": 1000,
            "listeners.ssl.default": f"127.0.0.1:{self.tls_port}",
            "ssl_options.cacertfile": self.authority.certificate,
            "ssl_options.certfile": identity.certificate,
            "ssl_options.keyfile": identity.key,
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
        }
        return "".join(f"{name} = {value}\n" for name, value in settings.items())

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError, OSError):
            with self.api as api:
                listeners = api.get("/overview").raise_for_status().json()["listeners"]
            return any(each["protocol"] == "amqp" for each in listeners)
        return False


@contextlib.contextmanager
def running_rabbitmq() -> Iterator[RabbitMQ]:
    """Run a RabbitMQ node for the block."""
    with contextlib.closing(RabbitMQ()) as server:
        yield server
