"""The three shapes: nothing of our own, our PostgreSQL, our PostgreSQL and RabbitMQ."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import restaurant as restaurants
from tests.support.processes import Processes, processes
from tests.support.restaurant import QUICK, Restaurant
from tests.support.servers import Postgres, RabbitMQ, wait_until

SHAPES = ["postgres", "rabbitmq"]


@pytest.fixture(params=SHAPES)
def amqp_url_if_any(request: pytest.FixtureRequest) -> str | None:
    """Choose the broker: the one in PostgreSQL, then an empty virtual host of RabbitMQ."""
    if request.param == "postgres":
        return None
    url: str = request.getfixturevalue("amqp_url")
    return url


@pytest.fixture
def frail_rabbitmq(rabbitmq_server: RabbitMQ) -> Iterator[RabbitMQ]:
    """Lend the RabbitMQ to a test that kills it; it runs again before anybody else needs it."""
    yield rabbitmq_server
    if not rabbitmq_server.running:
        rabbitmq_server.start()


@pytest.fixture
def empty_dsn(postgres_server: Postgres) -> str:
    """Name a database in which nothing is yet."""
    return postgres_server.dsn(asyncio.run(postgres_server.create_database()))


@pytest.fixture
def latin_1_dsn(postgres_server: Postgres) -> str:
    """Name an empty database that is not in UTF-8."""
    return postgres_server.dsn(
        asyncio.run(postgres_server.create_database("template0 ENCODING 'LATIN1' LOCALE 'C'"))
    )


@pytest.fixture
def restaurant(dsn: str, amqp_url_if_any: str | None) -> Iterator[Restaurant]:
    """Open a restaurant on servers of ours: each test that asks for one runs with both brokers."""
    with restaurants.opened(dsn, amqp_url_if_any) as restaurant:
        yield restaurant


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Name an empty folder for the embedded PostgreSQL, which is gone afterwards."""
    with embedded_data() as folder:
        yield folder


@pytest.fixture
def commands() -> Iterator[Processes]:
    """Start commands with nothing of ours configured."""
    with processes(QUICK) as started:
        yield started


@contextlib.contextmanager
def embedded_data() -> Iterator[Path]:
    """Have a folder for an embedded PostgreSQL for a while; what still runs there is stopped."""
    folder = Path(tempfile.mkdtemp(prefix="restaurant-data-"))
    try:
        yield folder
    finally:
        for pid_file in folder.rglob("postmaster.pid"):
            _stop_postgres(pid_file)
        shutil.rmtree(folder, ignore_errors=True)


def _stop_postgres(pid_file: Path) -> None:
    """Stop a server that outlived the process that started it, as after a power cut."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(pid_file.read_text(encoding="utf-8").splitlines()[0]), signal.SIGQUIT)
        wait_until(lambda: not pid_file.exists(), seconds=30, doing="for PostgreSQL to stop")
