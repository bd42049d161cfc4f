"""A restaurant is restored from a backup of its database, with a blank RabbitMQ."""

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from restaurant_system.database.postgres_programs import programs_directory
from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.orders import make_order_body
from tests.support.postgres_server import Postgres
from tests.support.rabbitmq_server import RabbitMQ

QUICK_RECONCILIATION = {
    "RESTAURANT_RECONCILIATION__INTERVAL": "1",
    "RESTAURANT_RECONCILIATION__AFTER": "1",
}
LOG = "SELECT count(*)::integer AS rows FROM order_status_log"
WAITING = 4


@pytest.fixture
def blank_amqp_url(rabbitmq_server: RabbitMQ) -> Iterator[str]:
    """Return the URL of a second empty virtual host, and delete it after the test."""
    name = rabbitmq_server.create_vhost()
    yield rabbitmq_server.url(name)
    rabbitmq_server.delete_vhost(name)


@pytest.fixture
def restored_dsn(postgres_server: Postgres) -> Iterator[str]:
    """Return the URL of an empty database, and drop it after the test."""
    name = asyncio.run(postgres_server.create_database("template0 ENCODING 'UTF8'"))
    yield postgres_server.dsn(name)
    asyncio.run(postgres_server.drop_database(name))


def back_up(dsn: str, file: Path) -> None:
    """Dump a database, as docs/operations.md says."""
    run("pg_dump", "--format=custom", f"--file={file}", dsn)


def restore(file: Path, dsn: str) -> None:
    """Restore a dump into an empty database, as docs/operations.md says."""
    run(
        "pg_restore",
        "--no-owner",
        "--exit-on-error",
        "--single-transaction",
        f"--dbname={dsn}",
        str(file),
    )


def run(program: str, *arguments: str) -> None:
    """Run a client program of PostgreSQL."""
    subprocess.run([programs_directory() / program, *arguments], check=True)  # noqa: S603 - PostgreSQL's


def place_with_key(deployment: Deployment) -> tuple[str, bool]:
    """Place an order with an idempotency key; return its number, and whether it existed already."""
    response = deployment.post_order(
        make_order_body(), **{"Idempotency-Key": "order-1-from-the-till"}
    )
    assert response.status_code == 201, response.text
    return response.json()["order_number"], "Idempotency-Replayed" in response.headers


def test_restored_orders_are_cooked_exactly_once_with_a_blank_rabbitmq(
    dsn: str, amqp_url: str, restored_dsn: str, blank_amqp_url: str, tmp_path: Path
) -> None:
    """Queues are rebuilt from the database; keys are kept, and numbers continue."""
    with deployments.running(dsn, amqp_url) as before:
        before.start_order_service()
        anna = before.start_worker("anna")
        before.wait_until_ready()
        cooked, _ = place_with_key(before)
        before.wait_for_status(cooked, "ready")
        assert anna.stop() == 0
        bert = before.start_worker("bert", "--heartbeat-interval", "0.5", scale=0.3)  # 3 s
        before.wait_until_ready()
        begun = before.place_order()
        before.wait_for_status(begun, "cooking")
        bert.signal(signal.SIGSTOP)  # so that the order is cooking however long the backup takes
        waiting = [before.place_order() for _ in range(WAITING)]

        back_up(dsn, tmp_path / "backup")

        lost = before.place_order()
        for process in before.started:
            process.kill()

    restore(tmp_path / "backup", restored_dsn)
    with deployments.running(restored_dsn, blank_amqp_url, **QUICK_RECONCILIATION) as after:
        assert after.start("doctor").wait() == 0
        assert after.get_order(begun)["status"] == "cooking"
        assert {after.get_order(number)["status"] for number in waiting} == {"received"}
        after.start_order_service()
        after.start_worker("carla")
        after.wait_until_ready()

        for number in (begun, *waiting):
            after.wait_for_status(number, "ready")

        assert after.history(begun)[1:] == [("cooking", "bert"), ("ready", "carla")]
        for number in waiting:
            assert after.history(number)[1:] == [("cooking", "carla"), ("ready", "carla")]
        assert after.history(cooked)[1:] == [("cooking", "anna"), ("ready", "anna")]
        assert after.query(LOG)[0]["rows"] == 3 * (2 + WAITING)
        (carla,) = after.query("SELECT orders_processed FROM workers WHERE name = 'carla'")
        assert carla["orders_processed"] == 1 + WAITING
        assert place_with_key(after) == (cooked, True)
        assert after.place_order() == lost  # placed after the backup: its number is given again
