"""nginx and HAProxy in front of two of each service: a rolling restart as clients see it."""

import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import uuid4

import httpx
import pytest

from tests.support import deployments
from tests.support.deployments import JSON, Deployment
from tests.support.load_balancers import running_haproxy, running_nginx
from tests.support.orders import make_order_body
from tests.support.processes import Process, free_port
from tests.support.waiting import wait_until

SERVICES = {3000: "order-service", 3001: "kitchen-display", 3002: "tracking-service"}
DRAIN_SECONDS = 1.5  # HAProxy notices within 1 s here
PAUSE = 0.02  # s between two requests of a client
STATION = "/kitchen/stations/grill"


@pytest.fixture
def deployment(dsn: str) -> Iterator[Deployment]:
    """Open a deployment whose services trust a proxy on this machine."""
    with deployments.running(
        dsn,
        RESTAURANT_HTTP__DRAIN_SECONDS=str(DRAIN_SECONDS),
        RESTAURANT_SECURITY__OPEN="true",
        RESTAURANT_SECURITY__TRUSTED_PROXIES='["127.0.0.1"]',
        RESTAURANT_KITCHEN_DISPLAY__HOST="127.0.0.1",
    ) as deployment:
        yield deployment


class Load:
    """Clients of one load balancer that send requests until `stop` is set."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        self.numbers: list[str] = []
        self.failures: list[str] = []
        self.reads = 0
        self.streams = 0
        self._url = f"http://127.0.0.1:{port}"
        self._stop = stop

    def tasks(self, *, has_checks: bool) -> list[Callable[[], None]]:
        """Return what the clients do, each to be run in a thread.

        Orders without an Idempotency-Key, which cannot be sent twice, need a load balancer that
        checks whether servers are ready.
        """
        return [
            lambda: self._order(has_key=True),
            lambda: self._order(has_key=not has_checks),
            lambda: self._read("/orders?limit=5"),
            lambda: self._read("/menu"),
            self._tap_station,
            lambda: self._watch("/live/board"),
        ]

    def _order(self, *, has_key: bool) -> None:
        with self._client() as client:
            while not self._stop.wait(PAUSE):
                key = {"Idempotency-Key": str(uuid4())} if has_key else {}
                response = self._send(client, "POST", "/orders", {**JSON, **key})
                if response is not None:
                    self.numbers.append(response.json()["order_number"])

    def _read(self, path: str) -> None:
        with self._client() as client:
            while not self._stop.wait(PAUSE):
                self.reads += self._send(client, "GET", path) is not None

    def _tap_station(self) -> None:
        """Open a station again and again, as its screens do, and list its tickets."""
        with self._client() as client:
            while not self._stop.wait(PAUSE):
                self._send(client, "POST", STATION, {**JSON, "Idempotency-Key": str(uuid4())})
                self._send(client, "GET", f"{STATION}/bumped")

    def _watch(self, path: str) -> None:
        """Read a live view; connect again at once when it ends."""
        with self._client() as client:
            while not self._stop.is_set():
                with contextlib.suppress(httpx.RemoteProtocolError):  # cut off in a chunk
                    with client.stream("GET", path) as response:
                        if response.status_code != httpx.codes.OK:
                            self.failures.append(f"GET {path}: {response.status_code}")
                        for _ in itertools.takewhile(
                            lambda _: not self._stop.is_set(), response.iter_raw()
                        ):
                            pass
                    self.streams += 1

    def _send(
        self, client: httpx.Client, method: str, path: str, headers: dict[str, str] | None = None
    ) -> httpx.Response | None:
        """Send a request; return its response, or record the failure."""
        body = None
        if method == "POST":
            body = b"{}" if path == STATION else make_order_body()
        try:
            response = client.request(method, path, content=body, headers=headers)
        except httpx.TransportError as error:
            self.failures.append(f"{method} {path}: {error!r}")
            return None
        if not response.is_success:
            self.failures.append(f"{method} {path}: {response.status_code} {response.text}")
            return None
        return response

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, timeout=30, verify=False)  # noqa: S501 - no TLS


def test_rolling_restart_under_load_fails_no_request(deployment: Deployment) -> None:
    """Each service has two servers; both servers are restarted, one after the other.

    nginx repeats requests. HAProxy repeats none here: it notices in time what is not ready. Every
    order is stored once, and live views connect to another server.
    """
    servers = {documented: (free_port(), free_port()) for documented in SERVICES}
    started = [start(deployment, servers, number) for number in (0, 1)]
    deployment.wait_until_ready()
    stop = threading.Event()
    with (
        running_nginx(servers) as nginx,
        running_haproxy(servers, repeats=False) as haproxy,
        ThreadPoolExecutor(16) as threads,
    ):
        loads = [Load(nginx, stop), Load(haproxy, stop)]
        wait_until_haproxy_is_ready(haproxy)
        running = [
            threads.submit(task)
            for load, has_checks in zip(loads, (False, True), strict=True)
            for task in load.tasks(has_checks=has_checks)
        ]
        try:
            wait_until(
                lambda: all(len(load.numbers) > 5 for load in loads),
                seconds=20,
                doing="for orders before the restart",
            )
            for number, processes in enumerate(started):
                for process in processes:
                    process.signal(signal.SIGTERM)
                wait_until(
                    lambda: all(code_of(ports[number]) == 503 for ports in servers.values()),  # noqa: B023 - called at once
                    seconds=DRAIN_SECONDS,
                    doing="for draining services to report that they are not ready",
                )
                assert [process.wait() for process in processes] == [0, 0, 0]
                start(deployment, servers, number)
                deployment.wait_until_ready()
                time.sleep(DRAIN_SECONDS)  # until HAProxy has noticed
        finally:
            stop.set()
        for each in running:
            each.result()

    assert [load.failures for load in loads] == [[], []]
    placed = [number for load in loads for number in load.numbers]
    stored = [row["number"] for row in deployment.query("SELECT number FROM orders")]
    assert sorted(stored) == sorted(placed)
    assert all(load.reads > 20 and load.streams >= 2 for load in loads)


def start(
    deployment: Deployment, servers: dict[int, tuple[int, int]], number: int
) -> list[Process]:
    """Start one server of each service."""
    return [
        deployment.start(
            *(service, "--port", str(servers[documented][number])),
            until=partial(is_ready, servers[documented][number]),
        )
        for documented, service in SERVICES.items()
    ]


def is_ready(port: int, _: Process) -> bool:
    """Tell whether a service is ready for requests."""
    try:
        return code_of(port) == httpx.codes.OK
    except httpx.TransportError:
        return False


def code_of(port: int) -> int:
    """Return the status code of `/health/ready`."""
    return httpx.get(f"http://127.0.0.1:{port}/health/ready", verify=False).status_code  # noqa: S501 - no TLS


def wait_until_haproxy_is_ready(port: int) -> None:
    """Wait until every service answers through HAProxy."""
    paths = ("/menu", "/orders?limit=1", "/kitchen/stations/grill/bumped")
    wait_until(
        lambda: all(httpx.get(f"http://127.0.0.1:{port}{path}").is_success for path in paths),
        seconds=10,
        doing="for HAProxy to find its servers ready",
    )
