"""`/health` reports that PostgreSQL refuses writes; orders are accepted again afterwards."""

import asyncio
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import httpx
import pytest

from restaurant_system.database import data_directory
from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.orders import make_order_body
from tests.support.postgres_server import Postgres, running_postgres
from tests.support.responses import assert_problem
from tests.support.waiting import wait_until

RECOVERED = 10  # s
NOTICED = 6  # s
READ_ONLY = ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"]
WRITABLE = ["ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"]
SIZE = 64 * 1024**2  # bytes


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL that no other module uses."""
    with running_postgres() as server:
        yield server


@contextlib.contextmanager
def taking_orders(server: Postgres, database: str) -> Iterator[Deployment]:
    """Run an order service and a tracking service on a database."""
    with deployments.running(server.dsn(database)) as deployment:
        deployment.start_order_service()
        deployment.start_tracking_service()
        deployment.wait_until_ready()
        yield deployment


def execute(server: Postgres, *statements: str, database: str = "postgres") -> None:
    """Run statements on a connection that can write."""

    async def run() -> None:
        connection = await asyncpg.connect(
            server.dsn(database), server_settings={"default_transaction_read_only": "off"}
        )
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def post_together(deployment: Deployment, count: int) -> list[httpx.Response]:
    """Post orders at the same time, so that the pool opens all its connections."""
    with ThreadPoolExecutor(count) as clients:
        return list(clients.map(deployment.post_order, [make_order_body()] * count))


def wait_for_orders(deployment: Deployment) -> None:
    """Wait until an order is accepted and `/health` reports `ok`."""
    wait_until(
        lambda: deployment.post_order(make_order_body()).status_code == 201,
        seconds=RECOVERED,
        doing="for a 201",
    )
    wait_until(
        lambda: deployment.orders.get("/health").json()["status"] == "ok",
        seconds=NOTICED,
        doing="for health to be ok",
    )


def wait_for_unavailable(deployment: Deployment) -> httpx.Response:
    """Wait until the order service's `/health` is unavailable; return its reason."""
    wait_until(
        lambda: deployment.orders.get("/health").status_code == 503,
        seconds=NOTICED,
        doing="for health to be unavailable",
    )
    return deployment.orders.get("/health")


def test_connections_that_became_read_only_are_replaced(own_postgres: Postgres) -> None:
    """After a failover old connections are read-only; new ones accept orders again."""
    database = asyncio.run(own_postgres.create_database())
    with taking_orders(own_postgres, database) as deployment:
        assert {answer.status_code for answer in post_together(deployment, 20)} == {201}
        try:
            execute(
                own_postgres,
                *READ_ONLY,
                "ALTER ROLE postgres SET default_transaction_read_only = off",
            )

            wait_for_orders(deployment)

            assert {answer.status_code for answer in post_together(deployment, 20)} == {201}
        finally:
            execute(own_postgres, "ALTER ROLE postgres RESET ALL", *WRITABLE)


def test_read_only_server_makes_health_unavailable_until_it_takes_writes(
    own_postgres: Postgres,
) -> None:
    """`/health` detects a read-only server without an order; look-ups succeed throughout."""
    database = asyncio.run(own_postgres.create_database())
    with taking_orders(own_postgres, database) as deployment:
        number = deployment.place_order()
        execute(own_postgres, *READ_ONLY)
        try:
            wait_for_unavailable(deployment)
            assert_problem(deployment.post_order(make_order_body()), 503)
            assert deployment.tracking.get(f"/orders/{number}/status").status_code == 200
            assert deployment.tracking.get("/health").status_code == 200
            (intake, _) = deployment.started
            intake.wait_for("db_connection_failed")
            assert "PostgreSQL is read-only: " in intake.stdout
            assert "does not answer" not in intake.stdout
        finally:
            execute(own_postgres, *WRITABLE)

        wait_for_orders(deployment)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a small file system for the data of PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="restaurant-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:  # noqa: S603 - fixed words
        folder.rmdir()
        pytest.skip("only root may mount a file system")
    try:
        folder.chmod(0o755)
        data_directory.make_private_directory(folder / "data")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607
        folder.rmdir()


def test_full_disk_makes_health_unavailable_until_space_is_freed(
    own_postgres: Postgres, small_disk: Path
) -> None:
    """`/health` has the reason, and recovers without an order being sent."""
    execute(
        own_postgres,
        f"CREATE TABLESPACE small LOCATION '{small_disk / 'data'}'",
        "CREATE DATABASE cramped TABLESPACE small",
    )
    with taking_orders(own_postgres, "cramped") as deployment:
        deployment.place_order()
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65_536))
        wait_until(
            lambda: deployment.post_order(make_order_body()).status_code == 503,
            seconds=30,
            doing="for a refusal",
        )

        wait_for_unavailable(deployment)
        time.sleep(2)  # it is not withdrawn while the disk is full
        answer = deployment.orders.get("/health").json()
        assert answer["status"] == "unavailable"
        assert answer["dependencies"]["database"] == {
            "status": "down",
            "reason": "The disk of PostgreSQL is full",
        }

        filler.unlink()
        wait_until(
            lambda: deployment.orders.get("/health").json()["status"] == "ok",
            seconds=NOTICED,
            doing="for health to be ok",
        )
        assert deployment.post_order(make_order_body()).status_code == 201
    execute(own_postgres, "DROP DATABASE cramped WITH (FORCE)", "DROP TABLESPACE small")
