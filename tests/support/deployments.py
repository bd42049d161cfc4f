"""A restaurant whose services are processes of their own, on servers that are ours."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import asyncpg
import httpx

from restaurant_system.database.connection_factory import UnpooledConnection
from tests.support.orders import make_order_body
from tests.support.processes import Process, Processes, free_port, processes
from tests.support.waiting import wait_until

QUICK_SETTINGS = {
    "RESTAURANT_OUTBOX__SWEEP_INTERVAL": "0.5",
    "RESTAURANT_OUTBOX__SWEEP_AFTER": "1",
    "RESTAURANT_DELIVERY__RETRY_DELAYS": "[0.2, 0.5]",
    "RESTAURANT_ORDER_SERVICE__HOST": "127.0.0.1",
    "RESTAURANT_TRACKING_SERVICE__HOST": "127.0.0.1",
}
JSON = {"Content-Type": "application/json"}


class DatabaseClient:
    """A line to the restaurant's database for a test that is not asynchronous itself."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._line: UnpooledConnection | None = None

    def query(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Run a query, on a new line if the old one has broken."""
        try:
            return self._runner.run(self._fetch(query, *arguments))
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
            self._line = None
            return self._runner.run(self._fetch(query, *arguments))

    def close(self) -> None:
        """Hang up."""
        if self._line is not None:
            self._line.terminate()
        self._runner.close()

    async def _fetch(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        if self._line is None:
            self._line = await asyncpg.connect(self._dsn)
        return [dict(row) for row in await self._line.fetch(query, *arguments)]


class Deployment:
    """Starts services; orders, asks and looks into the database as people outside would.

    What is started is awaited by `ready`, so that several may start at once.
    """

    def __init__(self, processes: Processes, book: DatabaseClient) -> None:
        self.started: list[Process] = []
        self._processes = processes
        self._book = book
        self._awaited: list[tuple[Process, Callable[[], bool]]] = []
        self._order_port, self._tracking_port = free_port(), free_port()
        self.orders = _client(self._order_port)
        self.tracking = _client(self._tracking_port)

    def start_order_service(self, *options: str, **environment: str) -> Process:
        """Start an order service."""
        command = ("order-service", "--port", str(self._order_port), *options)
        return self.start(*command, until=lambda _: _answers(self.orders), **environment)

    def start_tracking_service(self) -> Process:
        """Start a tracking service."""
        command = ("tracking-service", "--port", str(self._tracking_port))
        return self.start(*command, until=lambda _: _answers(self.tracking))

    def start_all_in_one(self, *options: str) -> Process:
        """Start everything in one process, which tracks orders where it takes them."""
        self.tracking.base_url = self.orders.base_url
        command = ("up", "--port", str(self._order_port), "--cooking-time-scale", "0.02", *options)
        return self.start(*command, until=lambda _: _answers(self.orders))

    def start_worker(self, name: str, *options: str, scale: float = 0) -> Process:
        """Start a kitchen worker; at scale 0.1 a takeout order takes a second."""
        speed = ("--cooking-time-scale", str(scale))
        return self.start(
            *("kitchen-worker", "--worker-name", name, *speed, *options),
            until=lambda process: process.logged("worker_registered"),
        )

    def start_subscriber(self, name: str) -> Process:
        """Start a notification subscriber that keeps what it misses."""
        return self.start(
            *("notification-subscriber", "--name", name),
            until=lambda process: process.logged("subscribed"),
        )

    def start(
        self, *command: str, until: Callable[[Process], bool] | None = None, **environment: str
    ) -> Process:
        """Start a command, to be awaited until it is what it should be."""
        process = self._processes.start(*command, **environment)
        self.started.append(process)
        if until is not None:
            self._awaited.append((process, lambda: until(process)))
        return process

    def wait_until_ready(self) -> None:
        """Wait for everything that was started."""
        while self._awaited:
            process, is_ready = self._awaited.pop()
            wait_until(
                lambda: not process.running or is_ready(),  # noqa: B023 - called at once
                seconds=60,
                doing="for a service to be ready",
            )
            assert process.running, process.stdout + process.stderr

    def stop_all(self) -> list[int]:
        """Ask everything that was started to stop, and return the exit codes."""
        for process in self.started:
            process.signal(signal.SIGTERM)
        return [process.wait() for process in self.started]

    def post_order(self, body: bytes, **headers: str) -> httpx.Response:
        """Post an order."""
        return self.orders.post("/orders", content=body, headers={**JSON, **headers})

    def place_order(self, **changes: object) -> str:
        """Place an order, and return its number."""
        response = self.post_order(make_order_body(**changes))
        assert response.status_code == 201, response.text
        number: str = response.json()["order_number"]
        return number

    def query(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Look into the database."""
        return self._book.query(query, *arguments)

    def get_order(self, number: str) -> dict[str, Any]:
        """Return an order as it stands in the database."""
        return self.query("SELECT * FROM orders WHERE number = $1", number)[0]

    def history(self, number: str) -> list[tuple[str, str]]:
        """Return each status that an order had, and who brought it there."""
        rows = self.query(
            "SELECT log.status, log.changed_by FROM order_status_log AS log"
            " JOIN orders ON orders.id = log.order_id WHERE number = $1 ORDER BY log.id",
            number,
        )
        return [(row["status"], row["changed_by"]) for row in rows]

    def wait_for_status(self, number: str, status: str, *, seconds: float = 60) -> None:
        """Wait until an order stands there."""
        wait_until(
            lambda: self.get_order(number)["status"] == status,
            seconds=seconds,
            doing=f"for {number} to be {status}",
        )

    def wait_until_outbox_is_empty(self) -> None:
        """Wait until every message has left the outbox."""
        wait_until(
            lambda: not self.query("SELECT id FROM outbox"), seconds=30, doing="for the outbox"
        )

    def worker_status(self, name: str) -> str:
        """Return what the kitchen's book says about a cook: online or offline."""
        status: str = self.query("SELECT status FROM workers WHERE name = $1", name)[0]["status"]
        return status


@contextlib.contextmanager
def running(dsn: str, amqp_url: str | None = None, **variables: str) -> Iterator[Deployment]:
    """Have a restaurant on our PostgreSQL and, if there is one, our RabbitMQ, for a while."""
    with (
        contextlib.closing(DatabaseClient(dsn)) as book,
        processes({**environment(dsn, amqp_url), **variables}) as started,
    ):
        deployment = Deployment(started, book)
        with deployment.orders, deployment.tracking:
            yield deployment


def environment(dsn: str | None, amqp_url: str | None) -> Mapping[str, str]:
    """Name our servers as an operator does, in variables; patience is short, for tests."""
    servers = {"RESTAURANT_DATABASE__URL": dsn, "RESTAURANT_RABBITMQ__URL": amqp_url}
    return {**QUICK_SETTINGS, **{name: url for name, url in servers.items() if url is not None}}


def error_message(process: Process) -> str:
    """Return what a process says on stderr to a person, its log lines apart."""
    return "".join(
        line for line in process.stderr.splitlines(keepends=True) if not line.startswith("{")
    )


def _client(port: int) -> httpx.Client:
    address = f"http://127.0.0.1:{port}"
    return httpx.Client(base_url=address, timeout=30, verify=False)  # noqa: S501 - there is no TLS


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False
