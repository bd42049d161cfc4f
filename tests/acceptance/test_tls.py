"""Services on TLS connections to PostgreSQL and RabbitMQ."""

import asyncio
from pathlib import Path

import pytest

from tests.support import deployments
from tests.support.certificates import CertificateAuthority
from tests.support.deployments import error_message
from tests.support.processes import Processes
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.tls_postgres import TlsPostgres
from tests.support.waiting import wait_until

REPLICA = "RESTAURANT_DATABASE__REPLICA__"
DISTRUST = "is not safe: the server's certificate is not trusted ("


@pytest.fixture
def encrypted_dsn(tls_postgres: TlsPostgres) -> str:
    """Return the DSN of an empty database on a server that requires TLS."""
    return tls_postgres.dsn(asyncio.run(tls_postgres.create_database()))


@pytest.fixture
def other_authority(tmp_path: Path) -> CertificateAuthority:
    """Return an authority that issued no certificate of a server."""
    return CertificateAuthority(tmp_path)


def rabbitmq_variables(
    server: RabbitMQ, vhost: str, authority: CertificateAuthority
) -> dict[str, str]:
    """Return the environment variables of a TLS connection to RabbitMQ."""
    return {
        "RESTAURANT_RABBITMQ__URL": f"amqps://guest:guest@localhost:{server.tls_port}/{vhost}",
        "RESTAURANT_RABBITMQ__TLS__CAFILE": str(authority.certificate),
    }


def test_order_is_placed_cooked_and_tracked_over_tls(
    encrypted_dsn: str, rabbitmq_server: RabbitMQ
) -> None:
    """The servers accept only encrypted connections."""
    vhost = rabbitmq_server.create_vhost()
    variables = rabbitmq_variables(rabbitmq_server, vhost, rabbitmq_server.authority)
    replica = {REPLICA + "URL": encrypted_dsn}
    with deployments.running(
        encrypted_dsn, rabbitmq_server.url(vhost), **variables, **replica
    ) as deployment:
        deployment.start_order_service()
        deployment.start_tracking_service()
        cook = deployment.start_worker("anna")
        display = deployment.start_subscriber("display")
        deployment.wait_until_ready()

        number = deployment.place_order()

        deployment.wait_for_status(number, "ready")
        wait_until(lambda: "to 'ready'" in display.stdout, seconds=30, doing="for the display")
        tracked = deployment.tracking.get(f"/orders/{number}/status").json()
        assert tracked["current_status"] == "ready"
        assert cook.logged("rabbitmq_connected")


def test_untrusted_database_certificate_stops_the_service(
    encrypted_dsn: str, other_authority: CertificateAuthority, commands: Processes
) -> None:
    """The error says in one sentence what to correct."""
    servers = {
        "RESTAURANT_DATABASE__URL": encrypted_dsn.partition("?")[0],
        "RESTAURANT_DATABASE__SSLMODE": "verify-full",
        "RESTAURANT_DATABASE__SSLROOTCERT": str(other_authority.certificate),
    }
    process = commands.start("tracking-service", **servers, RESTAURANT_STARTUP_TIMEOUT="600")

    assert process.wait() == 1
    assert DISTRUST in error_message(process)
    assert error_message(process).count("\n") == 1


def test_untrusted_broker_certificate_is_logged_while_orders_are_accepted(
    dsn: str, rabbitmq_server: RabbitMQ, other_authority: CertificateAuthority
) -> None:
    variables = rabbitmq_variables(rabbitmq_server, rabbitmq_server.create_vhost(), other_authority)
    with deployments.running(dsn, **variables) as deployment:
        service = deployment.start_order_service()
        deployment.wait_until_ready()

        deployment.place_order()

        messages = [
            line["message"]
            for line in service.logs
            if line["action"] == "rabbitmq_connection_failed"
        ]
        assert messages
        assert all(DISTRUST in message for message in messages)


def test_missing_certificate_file_exits_with_2(commands: Processes) -> None:
    process = commands.start(
        "order-service", RESTAURANT_RABBITMQ__TLS='{"enabled": true, "cafile": "/absent.pem"}'
    )

    assert process.wait() == 2
    assert "rabbitmq.tls.cafile: " in error_message(process)
