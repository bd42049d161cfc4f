"""How the configurations of nginx and HAProxy route, repeat and forward requests."""

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from restaurant_system.web.problem import TRY_AGAIN
from tests.support.load_balancers import Servers, running_haproxy, running_nginx
from tests.support.processes import free_port
from tests.support.responses import assert_problem
from tests.support.waiting import wait_until

ORDERS, KITCHEN, TRACKING = 3000, 3001, 3002
UNANSWERED, UNAVAILABLE = "/orders/unanswered", "/orders/unavailable"
READY_PATH = "/health/ready"
SERVERS = 6
FAILED_CHECKS = 2  # after which a server is not ready
REQUEST_ID = "till-7/2026"
PROBLEM = {
    "status": 503,
    "title": "Service Unavailable",
    "detail": "The database is down.",
    "code": "service_unavailable",
    "request_id": REQUEST_ID,
}


@dataclass
class Received:
    """A request as a server has received it."""

    service: int
    server: int
    method: str
    path: str
    headers: httpx.Headers


@dataclass
class Backends:
    """Two servers in place of each service, which record requests, and a client in front."""

    client: httpx.Client
    has_checks: bool
    received: list[Received] = field(default_factory=list)
    checks: Counter[int] = field(default_factory=Counter)  # by server
    outage: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def without_database(self) -> Iterator[None]:
        """Have no server ready, and each request answered with `PROBLEM`, during the block."""
        self.outage.set()
        try:
            self._wait_for_checks(FAILED_CHECKS + 1)
            yield
        finally:
            self.outage.clear()
            self._wait_for_checks(2)

    def _wait_for_checks(self, count: int) -> None:
        """Wait until each server has had `count` checks: the last may not have been evaluated."""
        if self.has_checks:
            self.checks.clear()
            wait_until(
                lambda: len(self.checks) == SERVERS and min(self.checks.values()) >= count,
                seconds=20,
                doing="for health checks",
            )

    def send(self, method: str, path: str, **headers: str) -> tuple[int, list[Received]]:
        """Send a request; return the status code, and what servers have received.

        HAProxy may close a connection that has carried other requests: that counts as 502.
        """
        self.received.clear()
        try:
            code = self.client.request(method, path, headers=headers).status_code
        except httpx.RemoteProtocolError:
            code = httpx.codes.BAD_GATEWAY
        return code, list(self.received)


@pytest.fixture(scope="module", params=[running_nginx, running_haproxy])
def backends(request: pytest.FixtureRequest) -> Iterator[Backends]:
    """Return servers behind each load balancer.

    The first request for `UNANSWERED` gets no response, the first one for `UNAVAILABLE` 503.
    """
    run: Callable[[Servers], AbstractContextManager[int]] = request.param
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(httpx.Client(timeout=10, verify=False))  # noqa: S501 - no TLS
        backends = Backends(client, has_checks=run is running_haproxy)
        servers = {
            service: [stack.enter_context(backend(service, backends)) for _ in range(2)]
            for service in (ORDERS, KITCHEN, TRACKING)
        }
        client.base_url = f"http://127.0.0.1:{stack.enter_context(run(servers))}"
        yield backends


@contextlib.contextmanager
def backend(service: int, backends: Backends) -> Iterator[int]:
    """Run a server that records requests and counts health checks; yield its port."""
    received = backends.received

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == READY_PATH:
                backends.checks[port] += 1
            else:
                headers = httpx.Headers(list(self.headers.items()))
                received.append(Received(service, port, self.command, self.path, headers))
                if self.path == UNANSWERED and len(received) == 1:
                    self.close_connection = True
                    return
            is_first = self.path == UNAVAILABLE and len(received) == 1
            is_outage = backends.outage.is_set()
            body = json.dumps(PROBLEM).encode() if is_outage else b""
            self.send_response(503 if is_first or is_outage else 200)
            if is_outage:
                self.send_header("Content-Type", "application/problem+json")
                self.send_header("Retry-After", "1")
                self.send_header("X-Request-ID", REQUEST_ID)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = handle_request  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port: int = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield port
        server.shutdown()


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("POST", "/orders", ORDERS),
        ("GET", "/orders?limit=5", TRACKING),
        ("GET", "/orders.csv?language=de", TRACKING),
        ("GET", "/orders/ORD_20261129_0001", TRACKING),
        ("GET", "/menu", ORDERS),
        ("GET", "/", ORDERS),
        ("POST", "/orders/ORD_20261129_0001/cancel", ORDERS),
        ("GET", "/kitchen", KITCHEN),
        ("POST", "/kitchen/stations/grill", KITCHEN),
        ("GET", "/live/board", TRACKING),
        ("GET", "/dashboard", TRACKING),
        ("GET", "/boards", ORDERS),
    ],
)
def test_request_reaches_its_service_unchanged(
    backends: Backends, method: str, path: str, service: int
) -> None:
    code, received = backends.send(method, path)

    assert code == 200
    assert [(each.service, each.method, each.path) for each in received] == [
        (service, method, path)
    ]


@pytest.mark.parametrize("path", ["/metrics", "/%6detrics"])
def test_metrics_are_not_routed(backends: Backends, path: str) -> None:
    assert backends.send("GET", path) == (404, [])


def test_client_cannot_forge_its_address(backends: Backends) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    _, (received,) = backends.send("GET", "/menu", **forged, Host="restaurant.example.com")

    assert received.headers.get_list("X-Forwarded-For") == ["127.0.0.1"]
    assert received.headers.get_list("X-Forwarded-Proto") == ["http"]
    assert received.headers["Host"] == "restaurant.example.com"


def test_requests_of_a_station_reach_one_server(backends: Backends) -> None:
    paths = ("", "/live", "/bumped", "/tickets/ORD_20261129_0001/bump")
    stations = [f"station{number}" for number in range(8)]
    servers = {
        station: {
            backends.send("POST", f"/kitchen/stations/{station}{path}")[1][0].server
            for path in paths
        }
        for station in stations
    }

    assert all(len(each) == 1 for each in servers.values())
    assert len(set.union(*servers.values())) == 2


@pytest.mark.parametrize(
    ("method", "headers", "is_repeated"),
    [
        ("POST", {"Idempotency-Key": "1"}, True),
        ("POST", {}, False),
        ("PATCH", {}, False),
        ("GET", {}, True),
    ],
)
@pytest.mark.parametrize(("path", "failed"), [(UNANSWERED, 502), (UNAVAILABLE, 503)])
def test_failed_request_is_repeated_only_where_that_is_safe(
    backends: Backends,
    method: str,
    headers: dict[str, str],
    path: str,
    failed: int,
    *,
    is_repeated: bool,
) -> None:
    code, received = backends.send(method, path, **headers)

    assert (code, len(received)) == ((200, 2) if is_repeated else (failed, 1))
    assert len({each.server for each in received}) == len(received)


def test_in_an_outage_of_the_database_services_answer(backends: Backends) -> None:
    """Each request is answered by its service, and those of a station by the server it had."""
    stations = [f"/kitchen/stations/station{number}" for number in range(8)]
    before = [backends.send("POST", path)[1][0].server for path in stations]
    repeated = [server for server in before for _ in range(2)]

    with backends.without_database():
        responses = [
            backends.client.request(method, path)
            for method, path in (("POST", "/orders"), ("GET", "/orders"), ("GET", "/health"))
        ]
        during = [backends.send("POST", path)[1][0].server for path in stations for _ in range(2)]

    for response in responses:
        assert_problem(response, 503)
        assert response.json() == PROBLEM
        assert response.headers["Retry-After"] == "1"
    assert during == repeated


def test_haproxy_answers_as_a_service_if_it_reaches_none() -> None:
    servers = {service: (free_port(), free_port()) for service in (ORDERS, KITCHEN, TRACKING)}
    with running_haproxy(servers, repeats=False) as port:
        url = f"http://127.0.0.1:{port}/orders"
        sent = httpx.post(url, headers={"X-Request-ID": REQUEST_ID})
        forged = httpx.get(url, headers={"X-Request-ID": '"}'})

    for response in (sent, forged):
        assert_problem(response, 503)
        assert response.headers["Retry-After"] == "1"
        assert response.json()["detail"] == TRY_AGAIN
    assert sent.headers["X-Request-ID"] == REQUEST_ID
