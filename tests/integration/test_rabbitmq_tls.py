"""TLS connections to RabbitMQ."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from tests.conftest import QUICK_RETRIES
from tests.support.certificates import CertificateAuthority, Identity
from tests.support.management_api import ManagementApi
from tests.support.messages import TAKEOUT, make_order_message, receive_and_ack
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.waiting import eventually


@pytest.fixture
def other_authority(tmp_path: Path) -> CertificateAuthority:
    """Return an authority that issued no certificate of a server."""
    return CertificateAuthority(tmp_path)


@pytest.fixture
def vhost(rabbitmq_server: RabbitMQ) -> str:
    """Create an empty virtual host; return its name."""
    return rabbitmq_server.create_vhost()


def make_settings(server: RabbitMQ, vhost: str = "/", **changes: Any) -> RabbitMQSettings:  # noqa: ANN401 - any field
    """Return settings of a TLS connection, given by parts."""
    tls = {"enabled": True, "cafile": server.authority.certificate, **changes}
    parts = {"port": server.tls_port, "vhost": vhost, "connect_timeout": 30, "tls": tls}
    return RabbitMQSettings.model_validate(parts)


def by_url(settings: RabbitMQSettings) -> RabbitMQSettings:
    """Return the same settings, given by an amqps URL."""
    tls = settings.tls.model_dump(exclude={"enabled"})
    return RabbitMQSettings.model_validate(
        {"url": settings.dsns()[0], "connect_timeout": 30, "tls": tls}
    )


def with_host(host: str, settings: RabbitMQSettings) -> RabbitMQSettings:
    """Return the same settings with another host name."""
    return settings.model_copy(update={"host": host})


def client_certificate(identity: Identity) -> dict[str, Any]:
    """Return the settings of a client certificate."""
    return {"certfile": identity.certificate, "keyfile": identity.key}


@contextlib.asynccontextmanager
async def connected(settings: RabbitMQSettings) -> AsyncIterator[RabbitMQBroker]:
    """Connect a broker while the block runs."""
    broker = RabbitMQBroker(settings, QUICK_RETRIES.retry_delays)
    try:
        await broker.connect()
        yield broker
    finally:
        await broker.close()


async def refusal(settings: RabbitMQSettings) -> str:
    """Return the error of a connection that fails."""
    with pytest.raises(BrokerUnavailable) as error:
        async with connected(settings):
            pass
    return str(error.value)


async def connections(management_api: ManagementApi, vhost: str) -> list[dict[str, Any]]:
    """Return the connections to a virtual host, as soon as the management API lists any."""
    listed: list[dict[str, Any]] = []

    async def is_listed() -> bool:
        listed[:] = [
            each for each in management_api.connections(vhost) if each.get("ssl") is not None
        ]
        return bool(listed)

    await eventually(is_listed, doing="for RabbitMQ to list a connection")
    return listed


async def test_messages_are_published_and_consumed_over_tls(
    rabbitmq_server: RabbitMQ, vhost: str
) -> None:
    """The TLS settings are given by parts or by URL."""
    for settings in (
        make_settings(rabbitmq_server, vhost),
        by_url(make_settings(rabbitmq_server, vhost)),
    ):
        sent = make_order_message()
        async with connected(settings) as broker, broker.consume([TAKEOUT], prefetch=1) as cook:
            await broker.publish([sent])
            assert await receive_and_ack(cook, 1) == [sent]


async def test_client_certificate_is_sent_to_the_server(
    rabbitmq_server: RabbitMQ, management_api: ManagementApi, vhost: str
) -> None:
    identity = rabbitmq_server.authority.client("anna")

    async with connected(make_settings(rabbitmq_server, vhost, **client_certificate(identity))):
        (connection,) = await connections(management_api, vhost)

    assert connection["ssl"] is True
    assert "CN=anna" in connection["peer_cert_subject"]


async def test_client_certificate_that_the_server_does_not_trust_is_explained(
    rabbitmq_server: RabbitMQ, other_authority: CertificateAuthority
) -> None:
    settings = make_settings(rabbitmq_server, **client_certificate(other_authority.client("anna")))

    assert "not trust" in await refusal(settings)


async def test_untrusted_server_certificate_is_refused(
    rabbitmq_server: RabbitMQ, other_authority: CertificateAuthority
) -> None:
    settings = make_settings(rabbitmq_server, cafile=other_authority.certificate)

    for each in (settings, by_url(settings)):
        message = await refusal(each)
        assert message.startswith(
            "The connection to RabbitMQ is not safe: the server's certificate is not"
        )
        assert message.endswith("; correct its TLS settings.")


async def test_certificate_for_another_host_is_refused(rabbitmq_server: RabbitMQ) -> None:
    settings = with_host("127.0.0.1", make_settings(rabbitmq_server))

    assert "the server's certificate is for another host name" in await refusal(settings)


async def test_any_certificate_is_accepted_without_verification(
    rabbitmq_server: RabbitMQ, other_authority: CertificateAuthority
) -> None:
    settings = make_settings(rabbitmq_server, cafile=other_authority.certificate, verify=False)

    async with connected(with_host("127.0.0.1", settings)) as broker:
        await broker.ping()


async def test_tls_connection_to_a_port_without_tls_is_explained(rabbitmq_server: RabbitMQ) -> None:
    settings = make_settings(rabbitmq_server).model_copy(update={"port": rabbitmq_server.port})

    assert "the server does not speak TLS on this port" in await refusal(settings)


async def test_unencrypted_connection_to_a_tls_port_is_explained(rabbitmq_server: RabbitMQ) -> None:
    settings = RabbitMQSettings(port=rabbitmq_server.tls_port, connect_timeout=30)

    message = (
        "RabbitMQ closed the connection at once; if its port expects TLS, enable rabbitmq.tls."
    )
    assert await refusal(settings) == message
