"""Serve one port with several processes.

uvicorn's supervisor starts the processes, replaces one that has died or hangs, and stops them. Each
has a listening socket of its own at the port (`SO_REUSEPORT`), among which the kernel distributes
new connections: see decision 4.
"""

import asyncio
import contextlib
import functools
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import NoReturn, cast

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from restaurant_system import logger
from restaurant_system.app import http_service
from restaurant_system.cancellation import cancel
from restaurant_system.config import OrderServiceSettings, Settings, TrackingServiceSettings
from restaurant_system.errors import (
    ConfigurationError,
    RestaurantError,
    StartupError,
    primary_error,
)
from restaurant_system.logger import get_logger
from restaurant_system.metrics.processes import shared_metrics
from restaurant_system.shutdown import STOP_SIGNALS, Shutdown
from restaurant_system.web import file_descriptors, server
from restaurant_system.web.pages import starting_page
from restaurant_system.web.server import Application, Service

log = get_logger()

DRAIN_SIGNAL = signal.SIGUSR1  # from the supervisor to its processes
HEALTHCHECK_TIMEOUT = 10  # s for a process to answer the supervisor, its imports included
QUIET_START = 2.0  # s that a process does not listen while its service starts
EXIT_CODE_OF_FAILURE = 1


def serve(
    create_service: Callable[[], Service],
    name: str,
    address: OrderServiceSettings | TrackingServiceSettings,
    settings: Settings,
) -> None:
    """Serve with `address.processes` processes until a stop is requested.

    `create_service` is pickled. Raises `ConfigurationError` when it does so here, and
    `StartupError` when the port is taken or no process can start.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigurationError("Several processes share a port on Linux and macOS only.")
    create_service()  # refuses a wrong configuration once, and not in each process
    spawn = multiprocessing.get_context("spawn")
    failure, report = spawn.Pipe(duplex=False)
    process = ServiceProcess(create_service, name, address, settings, spawn.Event(), report)
    config = server.uvicorn_config(
        process,
        factory=True,
        lifespan="on",
        workers=address.processes,
        timeout_worker_healthcheck=HEALTHCHECK_TIMEOUT,
    )
    with (
        shared_metrics(),
        contextlib.closing(SharedPort(address.host, address.port)) as port,
    ):
        _Supervisor(config, [cast("socket.socket", port)], process).run()
    if failure.poll():
        raise StartupError(failure.recv())


class SharedPort:
    """A port for several processes: each that unpickles it gets a listening socket of its own.

    Until `close` the port is reserved: other programs cannot bind it.
    """

    def __init__(self, host: str, port: int) -> None:
        with server.listen(host, port) as exclusive:  # refused if the port is taken
            host, port, *_ = exclusive.getsockname()
        self._bind = functools.partial(server.bind, host, port, is_shared=True)
        self._reserved = self._bind()

    def __reduce__(self) -> tuple[Callable[[], socket.socket], tuple[()]]:
        return self._bind, ()

    def close(self) -> None:
        """Release the port."""
        self._reserved.close()


class _Supervisor(Multiprocess):
    """uvicorn's supervisor, which also drains and kills all processes, and logs restarts.

    At a stop signal all processes report for `drain_seconds` that they are not ready; the next
    signal ends that. One more signal kills them.

    A thread waits for stop signals, because the main thread may be waiting for a process. They are
    blocked in the main thread and so, from their start on, in all processes. These keep SIGINT
    blocked: Ctrl-C in a terminal reaches them, too, but the supervisor stops them.
    """

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], process: "ServiceProcess"
    ) -> None:
        # The resource tracker of multiprocessing runs already, for the `Event`: its start would
        # unblock them.
        signal.pthread_sigmask(signal.SIG_BLOCK, {*STOP_SIGNALS, DRAIN_SIGNAL})
        super().__init__(config, sockets)
        self._any_started = process.any_started
        self._drain_seconds = process.settings.http.drain_seconds
        self._drained = threading.Event()
        self._drained.set()
        self._forced = threading.Event()
        threading.Thread(target=self._wait_for_stop_signals, daemon=True).start()

    def init_processes(self) -> None:
        super().init_processes()
        self._close_child_ends()

    def keep_subprocess_alive(self) -> None:
        before = tuple(self.processes)
        super().keep_subprocess_alive()
        for process in before:
            if process not in self.processes:
                log.warning(
                    "process_restarted",
                    message=f"Process {process.pid} ended; another one starts.",
                    pid=process.pid,
                    exit_code=process.exitcode,
                )
        self._close_child_ends()

    def terminate_all(self) -> None:
        if not self._drained.is_set():
            for process in self.processes:
                if process.exitcode is None and process.pid is not None:
                    os.kill(process.pid, DRAIN_SIGNAL)
            self._drained.wait(self._drain_seconds)
            self._drained.set()
        log.info("graceful_shutdown", message="Stopping all processes.")
        super().terminate_all()

    def join_all(self) -> None:
        if self._forced.is_set():  # perhaps before the start of the last process
            _kill_all()
        super().join_all()

    def _wait_for_stop_signals(self) -> None:
        signal.sigwait(STOP_SIGNALS)
        if self._drain_seconds and self._any_started.is_set():
            self._drained.clear()
        self.should_exit.set()
        signal.sigwait(STOP_SIGNALS)
        if not self._drained.is_set():
            self._drained.set()
            signal.sigwait(STOP_SIGNALS)
        log.warning("forced_shutdown", message="Killing all processes.")
        self._forced.set()
        _kill_all()

    def _close_child_ends(self) -> None:
        """Close this process's copies, so that a health check ends at once when a process ends."""
        for process in self.processes:
            process.child_conn.close()


def _kill_all() -> None:
    """Kill the processes, among them those that uvicorn has not listed yet or lists no longer."""
    for process in multiprocessing.active_children():
        process.kill()


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """Factory of the application in each of several processes; uvicorn pickles and calls it."""

    create_service: Callable[[], Service]
    name: str
    address: http_service.Address
    settings: Settings
    any_started: Event
    report: Connection

    def __call__(self) -> Application:
        """Configure this process, and return its application.

        uvicorn handles signals by now.
        """
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        logger.configure(
            service=self.name,
            level=self.settings.log.level,
            style=self.settings.log.format,
            stream=sys.stdout,
        )
        file_descriptors.raise_limit()
        log.info("process_started", message="Process started.", pid=os.getpid())
        try:
            service = self.create_service()
        except RestaurantError as error:  # an option's file that has changed since the start
            self.fail(error)
        return _LifespanApplication(self, service)

    def fail(self, error: BaseException) -> NoReturn:
        """End this process because of an error.

        If no process has started yet, the supervisor stops with this error; else it starts another
        process in place of this one, because the other ones are serving.
        """
        reason = str(error)
        if not isinstance(error, RestaurantError):
            reason = f"The service failed unexpectedly ({type(error).__name__}); the log has more."
        if self.any_started.is_set() or not isinstance(error, RestaurantError):
            log.error("service_failed", message=reason, exc_info=error)
        if self.any_started.is_set():
            code = EXIT_CODE_OF_FAILURE
        else:
            self.report.send(reason)
            code = STARTUP_FAILURE
        # SystemExit, raised in a task, would be logged as an exception that was never retrieved.
        os._exit(code)


class _LifespanApplication(Application):
    """An application that runs its service for the lifespan of a uvicorn server."""

    def __init__(self, process: ServiceProcess, service: Service) -> None:
        checks = http_service.access_checks(process.settings, process.address)
        starting = starting_page(process.settings.language)
        super().__init__(Shutdown(), process.settings.http, checks, starting)
        self._process = process
        self._service = service
        self._started = asyncio.Event()
        self._closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await super().__call__(scope, receive, send)
            return
        with (
            self._draining_on_signal(),
            _stopping_without_parent(),
            contextlib.suppress(asyncio.CancelledError),
        ):
            await self._run_lifespan(receive, send)

    @contextlib.contextmanager
    def _draining_on_signal(self) -> Iterator[None]:
        """Drain, while the block lasts, when the supervisor says so; it blocks this signal."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(DRAIN_SIGNAL, self.shutdown.drain)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {DRAIN_SIGNAL})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {DRAIN_SIGNAL})
            loop.remove_signal_handler(DRAIN_SIGNAL)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        running = asyncio.create_task(self._run_service())
        # A process that listens gets its share of the connections, and would answer 503.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_START):
                await self._started.wait()
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        self.shutdown.requested.set()
        self._closing.set()
        if not self._started.is_set():
            await cancel(running)
        await asyncio.wait({running})
        await send({"type": "lifespan.shutdown.complete"})

    async def _run_service(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                deadlines = group.create_task(self.connections.enforce_deadlines())
                async with self._service(self.shutdown) as site:
                    self.site = site
                    self._started.set()
                    self._process.any_started.set()
                    try:
                        await self._closing.wait()
                    except asyncio.CancelledError:
                        await self._stop_because_of_failure()
                        raise
                deadlines.cancel()
        except Exception as error:  # noqa: BLE001 - reported or logged
            self._process.fail(primary_error(error))

    async def _stop_because_of_failure(self) -> None:
        """Answer the requests in progress, and accept no more, before the service closes."""
        self.shutdown.stop_because_of_failure()
        signal.raise_signal(signal.SIGTERM)  # uvicorn stops, and then closes the lifespan
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(server.FAILURE_TIMEOUT):
                await self._closing.wait()


@contextlib.contextmanager
def _stopping_without_parent() -> Iterator[None]:
    """Stop this process, while the block lasts, when the supervisor has been killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - the supervisor started this process
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_reader(parent.sentinel)
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(parent.sentinel, stop)
    try:
        yield
    finally:
        loop.remove_reader(parent.sentinel)
