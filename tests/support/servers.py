"""Private servers for tests: on free loopback ports, in folders of their own, gone afterwards."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import httpx

from restaurant_system.database import cluster, programs
from restaurant_system.errors import StartupError
from tests.support.certificates import Authority

OURS = range(20_000, 32_000)
MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there has a name of its own
ROOM = 3 * 1024**3  # bytes, for the servers of three workers
STATE, PARENT = 0, 1  # places in a process's line in /proc, counted from behind its name
RABBITMQ_SERVER = shutil.which(
    "rabbitmq-server", path="/usr/lib/rabbitmq/bin:" + os.environ["PATH"]
)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on.

    It is none of those that the system gives to whoever connects: one of these could be taken while
    its server is down, even by somebody who tries to reach just that server.
    """
    while True:
        port = random.choice(OURS)  # noqa: S311 - to be free, not to be secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_until(what: Callable[[], bool], *, seconds: float, doing: str) -> None:
    """Return as soon as `what` is true; fail if it never is in time."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain: {doing}")
        time.sleep(0.05)


def _roomy_memory() -> Path | None:
    """Return a folder in memory, where a database is copied in a fifth of the time.

    `None` where there is none with room enough, as in many a container.
    """
    with contextlib.suppress(FileNotFoundError):
        if shutil.disk_usage(MEMORY).free > ROOM:
            return MEMORY
    return None


class Postgres:
    """A PostgreSQL of its own, in memory or at least without `fsync`, unless that is asked for.

    No test here pulls the plug.
    """

    copied = "STRATEGY file_copy"  # not page by page through the log, which takes six times as long

    def __init__(self, *, fsync: bool = False) -> None:
        self._fsync = "on" if fsync else "off"
        place = None if fsync else _roomy_memory()
        self._folder = Path(tempfile.mkdtemp(prefix="restaurant-pg-", dir=place))
        self._folder.chmod(0o711)  # the server of root passes through as another user
        self._pgdata = self._folder / "data"
        self._initialise()
        self._names = (f"test_{number}" for number in itertools.count(1))
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Start it, on the same port as before."""
        options = (
            f"-h 127.0.0.1 -p {self.port} -k {self._pgdata} -c fsync={self._fsync}"
            " -c max_connections=200"
        )
        log = self._pgdata / "log"
        try:
            self._control("start", "--wait", f"--log={log}", f"--options={options}")
        except StartupError as error:
            error.add_note(log.read_text(encoding="utf-8")[-2000:])
            raise

    def stop(self) -> None:
        """Stop it at once, connections or not."""
        self._control("stop", "--wait", "--mode=immediate")

    def freeze(self) -> None:
        """Have it hang, as one does whose disk does: nothing is refused, nothing answered."""
        os.kill(self._processes()[0], signal.SIGSTOP)  # first, so that it starts no others
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End all of it, as a power cut would."""
        self.freeze()
        processes = self._processes()
        self._signal(signal.SIGKILL)
        wait_until(lambda: all(map(_is_dead, processes)), seconds=10, doing="for its end")
        # Where nobody buries the dead, as in many a container, its locks look like those of one
        # that lives.
        for lock in ("postmaster.pid", f".s.PGSQL.{self.port}.lock"):
            (self._pgdata / lock).unlink()

    def close(self) -> None:
        """Stop it and remove its folder."""
        with contextlib.suppress(StartupError):
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def dsn(self, database: str) -> str:
        """Return how to reach one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    async def create_database(self, template: str = "template1") -> str:
        """Create a database as a copy of `template`, and return its name."""
        name = next(self._names)
        await self.rule(f"CREATE DATABASE {name} TEMPLATE {template} {self.copied}")
        return name

    async def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still in it.

        Hundreds that nobody needs are a burden: the server looks after each again and again.
        """
        await self.rule(f"DROP DATABASE {name} WITH (FORCE)")

    async def rule(self, statement: str) -> None:
        """Run a statement as its superuser."""
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _processes(self) -> list[int]:
        """Return its processes: that which starts the others, then these, as Linux knows them."""
        first = (self._pgdata / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]
        others = [
            int(stat.parent.name)
            for stat in Path("/proc").glob("[0-9]*/stat")
            if _field(stat, PARENT) == first
        ]
        return [int(first), *others]

    def _initialise(self) -> None:
        cluster.initialise(self._pgdata)
        cluster.replace(self._pgdata, "pg_hba.conf", "host all all 127.0.0.1/32 trust\n")

    def _control(self, action: str, *options: str) -> None:
        pg_ctl = programs.programs() / "pg_ctl"
        programs.run(self._folder, pg_ctl, action, f"--pgdata={self._pgdata}", *options)


def _is_dead(process: int) -> bool:
    """Tell whether a process holds nothing any more; it may still wait to be buried."""
    return _field(Path(f"/proc/{process}/stat"), STATE) in {None, "Z", "X"}


def _field(stat: Path, field: int) -> str | None:
    """Return a field of what Linux says about a process; `None` when there is no such process."""
    try:
        return stat.read_text(encoding="utf-8").rpartition(")")[2].split()[field]
    except (FileNotFoundError, ProcessLookupError):
        return None


class RabbitMQ:
    """A RabbitMQ node of its own, with a virtual host for each test.

    On `tls_port` it proves to be localhost, and has clients prove who they are if they say so.
    """

    plugins = "[rabbitmq_management]."  # in RabbitMQ's own words

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
        self.authority = Authority(self._folder)
        (self._folder / "plugins").write_text(self.plugins)
        (self._folder / "rabbitmq.conf").write_text(self._settings())
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def running(self) -> bool:
        """Whether it was started, and not killed since."""
        return self._process is not None

    @property
    def api(self) -> httpx.Client:
        """The management interface, without TLS, whose certificates take longer than a request."""
        return httpx.Client(
            base_url=f"{self.management}/api",
            auth=("guest", "guest"),
            timeout=10,
            verify=False,  # noqa: S501 - there is no TLS here
        )

    @property
    def management(self) -> str:
        """The address of the management interface."""
        return f"http://127.0.0.1:{self._management}"

    def start(self) -> None:
        """Start it, on the same ports and with the same data as before."""
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
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",  # lets `close` end it, whoever it still knows
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq"),
            "RABBITMQ_LOGS": str(self._folder / "node.log"),
            "HOME": str(self._folder),
        }

    def kill(self) -> None:
        """End it as a power cut would; what was confirmed is on its disk."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Have it hang: nothing is refused or answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def wipe(self) -> None:
        """Lose its disk; it must not be running."""
        shutil.rmtree(self._folder / "data")

    @contextlib.contextmanager
    def short_of_memory(self) -> Iterator[None]:
        """Have it hold off whoever publishes, for want of memory."""
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
        """Kill it, its name server too, and remove its folder."""
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
        """Delete a virtual host: the node looks after each for as long as it is there."""
        with self.api as api:
            api.delete(f"/vhosts/{name}").raise_for_status()

    def url(self, vhost: str) -> str:
        """Return how to reach one of its virtual hosts."""
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
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL for a while."""
    with contextlib.closing(Postgres()) as server:
        yield server


@contextlib.contextmanager
def rabbitmq() -> Iterator[RabbitMQ]:
    """Run a RabbitMQ for a while."""
    with contextlib.closing(RabbitMQ()) as server:
        yield server
