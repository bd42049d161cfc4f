"""A PostgreSQL server that allows fewer connections than a service may open."""

import asyncio
import contextlib
import time
from collections.abc import Iterator

import asyncpg
import httpx
import pytest

from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.postgres_server import Postgres
from tests.support.processes import free_port
from tests.support.waiting import wait_until

ALLOWED = 8
STATIONS = 10
WATCHED = 8  # s; longer than it takes until a station that is cut off counts as offline


@pytest.fixture
def crowded_dsn(postgres_server: Postgres, template_database: str) -> str:
    """Create a database whose user may open a few connections only."""

    async def create() -> str:
        dsn = postgres_server.dsn(await postgres_server.create_database(template_database))
        connection = await asyncpg.connect(dsn)
        name = "few_" + await connection.fetchval("SELECT current_database()")
        await connection.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT {ALLOWED}")
        for what in ("TABLES", "SEQUENCES"):
            await connection.execute(f"GRANT ALL ON ALL {what} IN SCHEMA public TO {name}")
        await connection.execute(f"GRANT ALL ON SCHEMA public TO {name}")
        await connection.close()
        return dsn.replace("postgres@", f"{name}@")

    return asyncio.run(create())


@pytest.fixture
def deployment(crowded_dsn: str) -> Iterator[Deployment]:
    """Start services on a database that allows few connections."""
    with deployments.running(crowded_dsn) as deployment:
        yield deployment


async def count_online(server: Postgres, dsn: str) -> int:
    """Count the workers whose status is online."""
    connection = await asyncpg.connect(server.dsn(dsn.rpartition("/")[2]))
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM workers WHERE status = 'online'"
        )
    finally:
        await connection.close()
    return count


def test_stations_without_a_connection_are_offline_and_health_is_degraded(
    deployment: Deployment, postgres_server: Postgres, crowded_dsn: str
) -> None:
    """The needed number of connections is logged once; stations retry with growing delays."""
    port = free_port()
    display = deployment.start(
        "kitchen-display",
        "--port",
        str(port),
        RESTAURANT_KITCHEN_DISPLAY__HOST="127.0.0.1",
        RESTAURANT_KITCHEN_DISPLAY__HEARTBEAT_INTERVAL="1",
    )
    display.wait_for("db_connections_insufficient", needed=31, allowed=ALLOWED)
    display.wait_for("service_started")

    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        contextlib.ExitStack() as screens,
    ):
        for number in range(STATIONS):
            address = f"/kitchen/stations/s{number}"
            client.post(address, json={}).raise_for_status()
            screens.enter_context(client.stream("GET", f"{address}/live"))
        time.sleep(WATCHED)
        wait_until(
            lambda: client.get("/health").json()["status"] == "degraded",
            seconds=5,
            doing="for health to be degraded",
        )
        online = asyncio.run(count_online(postgres_server, crowded_dsn))

    assert online < ALLOWED  # the pool may have taken all connections, then no station is online
    failures = [line for line in display.logs if line["action"] == "db_connection_failed"]
    assert len(failures) < 12 * STATIONS  # in these processes delays grow to 1 s only
    assert all("rabbitmq" not in line["action"] for line in display.logs)
