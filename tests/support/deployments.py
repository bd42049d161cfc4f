"""Run the services as separate processes on the test's PostgreSQL and RabbitMQ."""

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
    """Queries the database from a synchronous test."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._connection: UnpooledConnection | None = None

    def query(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Run a query; reconnect once if the connection is lost."""
        try:
            return self._runner.run(self._fetch(query, *arguments))
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
            self._connection = None
            return self._runner.run(self._fetch(query, *arguments))

    def close(self) -> None:
        """Close the connection to the database."""
        if self._connection is not None:
            self._connection.terminate()
        self._runner.close()

    async def _fetch(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        if self._connection is None:
            self._connection = await asyncpg.connect(self._dsn)
        return [dict(row) for row in await self._connection.fetch(query, *arguments)]


class Deployment:
    """Starts services, sends requests to them and queries their database.

    What is started is awaited by `ready`, so that several may start at once.
    """

    def __init__(self, processes: Processes, database: DatabaseClient) -> None:
        self.started: list[Process] = []
        self._processes = processes
        self._database = database
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
        """Start the all-in-one app, which serves tracking on the port of the order service."""
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
        """Start a durable notification subscriber."""
        return self.start(
            *("notification-subscriber", "--name", name),
            until=lambda process: process.logged("subscribed"),
        )

    def start(
        self, *command: str, until: Callable[[Process], bool] | None = None, **environment: str
    ) -> Process:
        """Start a command; `wait_until_ready` waits until the condition holds for its process."""
        process = self._processes.start(*command, **environment)
        self.started.append(process)
        if until is not None:
            self._awaited.append((process, lambda: until(process)))
        return process

    def wait_until_ready(self) -> None:
        """Wait until all started processes are ready."""
        while self._awaited:
            process, is_ready = self._awaited.pop()
            wait_until(
                lambda: not process.running or is_ready(),  # noqa: B023 - called at once
                seconds=60,
                doing="for a service to be ready",
            )
            assert process.running, process.stdout + process.stderr

    def stop_all(self) -> list[int]:
        """Stop all started processes with SIGTERM, and return their exit codes."""
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
        """Query the database."""
        return self._database.query(query, *arguments)

    def get_order(self, number: str) -> dict[str, Any]:
        """Return the row of an order."""
        return self.query("SELECT * FROM orders WHERE number = $1", number)[0]

    def history(self, number: str) -> list[tuple[str, str]]:
        """Return each status of an order with `changed_by`, oldest first."""
        rows = self.query(
            "SELECT log.status, log.changed_by FROM order_status_log AS log"
            " JOIN orders ON orders.id = log.order_id WHERE number = $1 ORDER BY log.id",
            number,
        )
        return [(row["status"], row["changed_by"]) for row in rows]

    def wait_for_status(self, number: str, status: str, *, seconds: float = 60) -> None:
        """Wait until an order has a status."""
        wait_until(
            lambda: self.get_order(number)["status"] == status,
            seconds=seconds,
            doing=f"for {number} to be {status}",
        )

    def wait_until_outbox_is_empty(self) -> None:
        """Wait until every message has left the outbox."""
        wait_until(
            lambda: not self.query("SELECT id FROM outbox"), seconds=30, doing="for an empty outbox"
        )

    def worker_status(self, name: str) -> str:
        """Return the status of a worker: online or offline."""
        status: str = self.query("SELECT status FROM workers WHERE name = $1", name)[0]["status"]
        return status


@contextlib.contextmanager
def running(dsn: str, amqp_url: str | None = None, **variables: str) -> Iterator[Deployment]:
    """Run a deployment on PostgreSQL and, if it has a URL, RabbitMQ."""
    with (
        contextlib.closing(DatabaseClient(dsn)) as database,
        processes({**environment(dsn, amqp_url), **variables}) as started,
    ):
        deployment = Deployment(started, database)
        with deployment.orders, deployment.tracking:
            yield deployment


def environment(dsn: str | None, amqp_url: str | None) -> Mapping[str, str]:
    """Return the environment variables for these servers, with short intervals."""
    servers = {"RESTAURANT_DATABASE__URL": dsn, "RESTAURANT_RABBITMQ__URL": amqp_url}
    return {**QUICK_SETTINGS, **{name: url for name, url in servers.items() if url is not None}}


def error_message(process: Process) -> str:
    """Return what a process printed on stderr, without its log lines."""
    return "".join(
        line for line in process.stderr.splitlines(keepends=True) if not line.startswith("{")
    )


def _client(port: int) -> httpx.Client:
    """Return a client that keeps no connection open: an idle one delays a stop by a second."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        timeout=30,
        verify=False,  # noqa: S501 - there is no TLS
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False
