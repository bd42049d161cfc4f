"""The services on encrypted lines: an order over them, and what a person reads when one fails."""

import asyncio
from pathlib import Path

import pytest

from tests.support import deployments
from tests.support.certificates import CertificateAuthority
from tests.support.deployments import complaint
from tests.support.processes import Processes
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.tls_postgres import TlsPostgres
from tests.support.waiting import wait_until

REPLICA = "RESTAURANT_DATABASE__REPLICA__"
DISTRUST = "is not safe: the server's certificate is not trusted ("


@pytest.fixture
def encrypted_dsn(tls_postgres: TlsPostgres) -> str:
    """Name a database in which nothing is yet, to be reached over an encrypted line only."""
    return tls_postgres.dsn(asyncio.run(tls_postgres.create_database()))


@pytest.fixture
def stranger(tmp_path: Path) -> CertificateAuthority:
    """Find somebody who issues certificates too, and whom no server knows."""
    return CertificateAuthority(tmp_path)


def encrypted(server: RabbitMQ, vhost: str, authority: CertificateAuthority) -> dict[str, str]:
    """Describe an encrypted line to RabbitMQ as an operator does, in variables."""
    return {
        "RESTAURANT_RABBITMQ__URL": f"amqps://guest:guest@localhost:{server.tls_port}/{vhost}",
        "RESTAURANT_RABBITMQ__TLS__CAFILE": str(authority.certificate),
    }


def test_an_order_over_encrypted_lines(encrypted_dsn: str, rabbitmq_server: RabbitMQ) -> None:
    """It is placed, cooked, told and tracked, on servers that take nothing in the clear."""
    vhost = rabbitmq_server.create_vhost()
    line = encrypted(rabbitmq_server, vhost, rabbitmq_server.authority)
    replica = {REPLICA + "URL": encrypted_dsn}
    with deployments.running(
        encrypted_dsn, rabbitmq_server.url(vhost), **line, **replica
    ) as restaurant:
        restaurant.take_orders()
        restaurant.track()
        cook = restaurant.cook("anna")
        display = restaurant.listen("display")
        restaurant.ready()

        number = restaurant.order()

        restaurant.wait_for(number, "ready")
        wait_until(lambda: "to 'ready'" in display.stdout, seconds=30, doing="for the display")
        tracked = restaurant.tracking.get(f"/orders/{number}/status").json()
        assert tracked["current_status"] == "ready"
        assert cook.logged("rabbitmq_connected")


@pytest.mark.parametrize("section", ["RESTAURANT_DATABASE__", REPLICA])
def test_a_database_that_is_not_trusted_is_refused(
    encrypted_dsn: str, stranger: CertificateAuthority, commands: Processes, section: str
) -> None:
    """The command ends at once, with one sentence that says what to correct."""
    servers = {
        "RESTAURANT_DATABASE__URL": encrypted_dsn,
        section + "URL": encrypted_dsn.partition("?")[0],
        section + "SSLMODE": "verify-full",
        section + "SSLROOTCERT": str(stranger.certificate),
    }
    process = commands.start("tracking-service", **servers, RESTAURANT_STARTUP_TIMEOUT="600")

    assert process.wait() == 1
    assert DISTRUST in complaint(process)
    assert complaint(process).count("\n") == 1


def test_a_broker_that_is_not_trusted_is_waited_for(
    dsn: str, rabbitmq_server: RabbitMQ, stranger: CertificateAuthority
) -> None:
    """Orders are taken without it, and each log line says what is wrong."""
    line = encrypted(rabbitmq_server, rabbitmq_server.create_vhost(), stranger)
    with deployments.running(dsn, **line) as restaurant:
        service = restaurant.take_orders()
        restaurant.ready()

        restaurant.order()

        told = [
            line["message"]
            for line in service.logs
            if line["action"] == "rabbitmq_connection_failed"
        ]
        assert told
        assert all(DISTRUST in message for message in told)


def test_a_certificate_that_is_missing(commands: Processes) -> None:
    """A file that cannot be read is a fault of the configuration, named by its path."""
    process = commands.start(
        "order-service", RESTAURANT_RABBITMQ__TLS='{"enabled": true, "cafile": "/absent.pem"}'
    )

    assert process.wait() == 2
    assert "rabbitmq.tls.cafile: " in complaint(process)
