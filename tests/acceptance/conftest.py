"""Fixtures of the acceptance tests: deployments of real processes on either broker."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import deployments
from tests.support.deployments import QUICK_SETTINGS, Deployment
from tests.support.postgres_server import Postgres, folder_in_memory
from tests.support.processes import Processes, processes
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.waiting import wait_until

SHAPES = ["postgres", "rabbitmq"]


@pytest.fixture(params=SHAPES)
def optional_amqp_url(request: pytest.FixtureRequest) -> str | None:
    """Return `None` for the broker in PostgreSQL, then the URL of an empty virtual host."""
    if request.param == "postgres":
        return None
    url: str = request.getfixturevalue("amqp_url")
    return url


@pytest.fixture
def restartable_rabbitmq(rabbitmq_server: RabbitMQ) -> Iterator[RabbitMQ]:
    """Return RabbitMQ to a test that kills it, and restart it afterwards."""
    yield rabbitmq_server
    if not rabbitmq_server.running:
        rabbitmq_server.start()


@pytest.fixture
def empty_dsn(postgres_server: Postgres) -> str:
    """Return the URL of a database without a schema."""
    return postgres_server.dsn(asyncio.run(postgres_server.create_database()))


@pytest.fixture
def latin_1_dsn(postgres_server: Postgres) -> str:
    """Return the URL of an empty database whose encoding is not UTF-8."""
    return postgres_server.dsn(
        asyncio.run(postgres_server.create_database("template0 ENCODING 'LATIN1' LOCALE 'C'"))
    )


@pytest.fixture
def deployment(dsn: str, optional_amqp_url: str | None) -> Iterator[Deployment]:
    """Return a deployment; a test that uses this fixture runs with both brokers."""
    with deployments.running(dsn, optional_amqp_url) as deployment:
        yield deployment


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Return an empty folder for the embedded PostgreSQL, and delete it after the test."""
    with embedded_data() as folder:
        yield folder


@pytest.fixture
def commands() -> Iterator[Processes]:
    """Start commands without a configured server."""
    with processes(QUICK_SETTINGS) as started:
        yield started


@contextlib.contextmanager
def embedded_data() -> Iterator[Path]:
    """Make a folder for an embedded PostgreSQL; stop what still runs there at the end."""
    folder = Path(tempfile.mkdtemp(prefix="restaurant-data-", dir=folder_in_memory()))
    try:
        yield folder
    finally:
        for pid_file in folder.rglob("postmaster.pid"):
            _stop_postgres(pid_file)
        shutil.rmtree(folder, ignore_errors=True)


def _stop_postgres(pid_file: Path) -> None:
    """Stop a server whose parent process was killed."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(pid_file.read_text(encoding="utf-8").splitlines()[0]), signal.SIGQUIT)
        wait_until(lambda: not pid_file.exists(), seconds=30, doing="for PostgreSQL to stop")
