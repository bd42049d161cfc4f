"""Run a RabbitMQ server for tests, on free loopback ports, in a temporary directory."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.certificates import CertificateAuthority
from tests.support.processes import free_port
from tests.support.rabbitmq_installation import RabbitMQInstallation, find_installation
from tests.support.waiting import wait_until

# Schedulers without work would wait in a loop, which takes processor time from other processes.
NO_BUSY_WAIT = "+sbwt none +sbwtdcpu none +sbwtdio none"
USED_PLUGINS = ("management", "management_agent", "prelaunch", "web_dispatch")


@dataclass(frozen=True, slots=True)
class Membership:
    """What a node of a cluster is configured with.

    The nodes share the port of the first one, and the cookie. Each has an epmd of its own, which
    runs already, and names the ports at which the node reaches the others.
    """

    first: int
    cookie: str
    distribution: int
    epmd: int


class RabbitMQ:
    """A private RabbitMQ node with a virtual host for each test; `start` starts it.

    On `tls_port` it proves to be localhost, and has clients prove who they are if they say so.
    A node with a `membership` joins the first node of its cluster.
    """

    plugins = "[rabbitmq_management]."

    def __init__(self, port: int | None = None, membership: Membership | None = None) -> None:
        self._installation = find_installation()
        self._folder = Path(tempfile.mkdtemp(prefix="restaurant-mq-"))
        self._vhosts = (f"test_{number}" for number in itertools.count(1))
        self.port = port or free_port()
        self.name = node_name(self.port)
        self.tls_port, self._management = free_port(), free_port()
        self._distribution = membership.distribution if membership else free_port()
        self._epmd = membership.epmd if membership else free_port()
        if membership is not None:
            cookie = self._folder / ".erlang.cookie"
            cookie.write_text(membership.cookie)
            cookie.chmod(0o400)
        self.authority = CertificateAuthority(self._folder)
        (self._folder / "plugins").write_text(self.plugins)
        self._link_plugins()
        (self._folder / "rabbitmq.conf").write_text(self._settings(membership))
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def running(self) -> bool:
        """Return whether the node was started and not killed since."""
        return self._process is not None

    @property
    def answers(self) -> bool:
        """Return whether the node was started, and neither killed nor paused since."""
        return self.running and not self._paused

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
        self.launch()
        self.wait_until_started()

    def launch(self) -> None:
        """Start the node, and do not wait for it."""
        self._process = subprocess.Popen(  # noqa: S603 - the path was looked up above
            self._installation.command("rabbitmq-server"),
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_until_started(self) -> None:
        """Wait until the node accepts connections."""
        wait_until(self._answers, seconds=90, doing="for RabbitMQ to start")

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-kernel inet_dist_use_interface {{127,0,0,1}} {NO_BUSY_WAIT}"
            ),
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
        available = self._folder / "available"
        available.mkdir()
        for found in self._installation.plugins(USED_PLUGINS):
            (available / found.name).symlink_to(found)

    def kill(self) -> None:
        """Kill the node with SIGKILL; confirmed messages are on its disk."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            self._paused = False

    def stop(self) -> None:
        """Stop the node as an administrator does."""
        self.control("stop")
        self.kill()

    def upgrade(self, installation: RabbitMQInstallation) -> None:
        """Use another version from the next start on; the node must not be running."""
        self._installation = installation
        shutil.rmtree(self._folder / "available")
        self._link_plugins()

    def pause(self) -> None:
        """Pause the node with SIGSTOP: connections hang."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Resume the RabbitMQ node after `pause`."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)
        self._paused = False

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
        self.control("set_vm_memory_high_watermark", share)

    def control(self, *arguments: str) -> None:
        """Run rabbitmqctl."""
        subprocess.run(  # noqa: S603 - the node's own tool
            self._installation.command("rabbitmqctl", *arguments),
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

    def _settings(self, membership: Membership | None) -> str:
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
        if membership is not None:
            settings["cluster_formation.peer_discovery_backend"] = "classic_config"
            settings["cluster_partition_handling"] = "pause_minority"
            # The first node, which starts alone, would wait for others that it knew.
            for port in {membership.first, self.port}:
                settings[f"cluster_formation.classic_config.nodes.{port}"] = node_name(port)
        return "".join(f"{name} = {value}\n" for name, value in settings.items())

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError, OSError):
            with self.api as api:
                listeners = api.get("/overview").raise_for_status().json()["listeners"]
            return any(each["protocol"] == "amqp" for each in listeners)
        return False


def node_name(port: int) -> str:
    """Return the name of the node that accepts clients on this port."""
    return f"test{port}@localhost"


@contextlib.contextmanager
def running_rabbitmq() -> Iterator[RabbitMQ]:
    """Run a RabbitMQ node for the block."""
    with contextlib.closing(RabbitMQ()) as server:
        server.start()
        yield server
