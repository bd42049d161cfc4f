"""Run Debian's nginx and HAProxy with the project's own configurations."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.prerequisites import haproxy, nginx
from tests.support.processes import free_port
from tests.support.waiting import wait_until

FILES = Path(__file__).parents[2] / "deploy"
HOSTS = ("10.0.0.11", "10.0.0.12")
CHECK_INTERVAL = "500ms"  # in place of 1 s

# The ports of both processes of a service, by the port in the configurations.
Servers = Mapping[int, Sequence[int]]

# What Debian's nginx.conf has around the included file, for a user without rights.
NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/log;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    include {folder}/restaurant.conf;
}}
"""


@contextlib.contextmanager
def running_nginx(servers: Servers) -> Iterator[int]:
    """Run nginx in front of these servers; yield its port."""
    program, port = nginx(), free_port()
    assert program is not None, "run tests/support/prerequisites.py"
    with _folder() as folder:
        text = _with_servers((FILES / "nginx" / "restaurant.conf").read_text("utf-8"), servers)
        (folder / "restaurant.conf").write_text(_replace(text, "listen 80;", f"listen {port};"))
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
        command = [program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]
        with _running(command, port, folder):
            yield port


@contextlib.contextmanager
def running_haproxy(servers: Servers, *, repeats: bool = True) -> Iterator[int]:
    """Run HAProxy in front of these servers; yield its port.

    If it repeats no requests, a server that is not ready must not get any.
    """
    program, port = haproxy(), free_port()
    assert program is not None, "run tests/support/prerequisites.py"
    with _folder() as folder:
        text = _with_servers((FILES / "haproxy" / "haproxy.cfg").read_text("utf-8"), servers)
        text = _replace(text, "bind :80\n", f"bind 127.0.0.1:{port}\n")
        text = _replace(text, "inter 1s", f"inter {CHECK_INTERVAL}")
        if not repeats:
            text = _replace(text, "    retries 3\n    option redispatch 1\n", "    retries 0\n")
        (folder / "haproxy.cfg").write_text(text)
        with _running([program, "-db", "-f", str(folder / "haproxy.cfg")], port, folder):
            yield port


def _with_servers(configuration: str, servers: Servers) -> str:
    for documented, ports in servers.items():
        for host, port in zip(HOSTS, ports, strict=True):
            address = f"{host}:{documented}"
            assert address in configuration
            configuration = configuration.replace(address, f"127.0.0.1:{port}")
    return configuration


def _replace(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} must be in the configuration once"
    return text.replace(old, new)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="restaurant-balancer-"))
    folder.chmod(0o755)  # nginx changes its user when root starts it
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(command: Sequence[str], port: int, folder: Path) -> Iterator[None]:
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603 - our own command
    try:
        wait_until(
            lambda: process.poll() is not None or _listens(port),
            seconds=10,
            doing=f"for {command[0]} to listen",
        )
        assert process.poll() is None, (folder / "output").read_text("utf-8")
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
