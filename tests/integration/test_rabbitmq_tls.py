"""Encrypted lines to RabbitMQ: what is taken, and what a log line says of what is not."""

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
from tests.support.messages import TAKEOUT, make_order_message, take_and_ack
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.waiting import eventually


@pytest.fixture
def stranger(tmp_path: Path) -> CertificateAuthority:
    """Find somebody who issues certificates too, and whom no server knows."""
    return CertificateAuthority(tmp_path)


@pytest.fixture
def vhost(rabbitmq_server: RabbitMQ) -> str:
    """Name an empty virtual host of the test's own."""
    return rabbitmq_server.create_vhost()


def make_settings(server: RabbitMQ, vhost: str = "/", **changes: Any) -> RabbitMQSettings:  # noqa: ANN401 - any field
    """Describe an encrypted line to a server, by its parts."""
    tls = {"enabled": True, "cafile": server.authority.certificate, **changes}
    parts = {"port": server.tls_port, "vhost": vhost, "connect_timeout": 30, "tls": tls}
    return RabbitMQSettings.model_validate(parts)


def by_url(line: RabbitMQSettings) -> RabbitMQSettings:
    """Describe the same line by a url that begins with amqps, and whom to trust."""
    tls = line.tls.model_dump(exclude={"enabled"})
    return RabbitMQSettings.model_validate({"url": line.dsn(), "connect_timeout": 30, "tls": tls})


def to(host: str, line: RabbitMQSettings) -> RabbitMQSettings:
    """Describe the same line by another name of the server."""
    return line.model_copy(update={"host": host})


def shown(identity: Identity) -> dict[str, Any]:
    """Describe what to show."""
    return {"certfile": identity.certificate, "keyfile": identity.key}


@contextlib.asynccontextmanager
async def opened(line: RabbitMQSettings) -> AsyncIterator[RabbitMQBroker]:
    """Open a line for a while."""
    broker = RabbitMQBroker(line, QUICK_RETRIES)
    try:
        await broker.connect()
        yield broker
    finally:
        await broker.close()


async def refusal(line: RabbitMQSettings) -> str:
    """Return what is said of a line that cannot be had."""
    with pytest.raises(BrokerUnavailable) as error:
        async with opened(line):
            pass
    return str(error.value)


async def connections(management_api: ManagementApi, vhost: str) -> list[dict[str, Any]]:
    """Return what the server knows of the lines to a virtual host, as soon as it knows of any."""
    known: list[dict[str, Any]] = []

    async def is_known() -> bool:
        known[:] = [
            each for each in management_api.connections(vhost) if each.get("ssl") is not None
        ]
        return bool(known)

    await eventually(is_known, doing="for RabbitMQ to know of a line")
    return known


async def test_the_right_server(rabbitmq_server: RabbitMQ, vhost: str) -> None:
    """Messages travel over an encrypted line to a server that proves who it is."""
    for line in (
        make_settings(rabbitmq_server, vhost),
        by_url(make_settings(rabbitmq_server, vhost)),
    ):
        sent = make_order_message()
        async with opened(line) as broker, broker.consume([TAKEOUT], prefetch=1) as cook:
            await broker.publish([sent])
            assert await take_and_ack(cook, 1) == [sent]


async def test_a_certificate_of_our_own(
    rabbitmq_server: RabbitMQ, management_api: ManagementApi, vhost: str
) -> None:
    """The server sees the certificate that we are told to show, and that the line is encrypted."""
    identity = rabbitmq_server.authority.client("anna")

    async with opened(make_settings(rabbitmq_server, vhost, **shown(identity))):
        (line,) = await connections(management_api, vhost)

    assert line["ssl"] is True
    assert "CN=anna" in line["peer_cert_subject"]


async def test_a_certificate_that_the_server_does_not_trust(
    rabbitmq_server: RabbitMQ, stranger: CertificateAuthority
) -> None:
    """Who shows a stranger's certificate is not let in, and told why."""
    line = make_settings(rabbitmq_server, **shown(stranger.client("anna")))

    assert "not trust our certificate" in await refusal(line)


async def test_another_authority(rabbitmq_server: RabbitMQ, stranger: CertificateAuthority) -> None:
    """A server whose certificate is not trusted is not talked to."""
    line = make_settings(rabbitmq_server, cafile=stranger.certificate)

    for each in (line, by_url(line)):
        said = await refusal(each)
        assert said.startswith("The line to RabbitMQ is not safe: the server's certificate is not")
        assert said.endswith("; correct its TLS settings.")


async def test_another_host_name(rabbitmq_server: RabbitMQ) -> None:
    """The certificate must be for the host by which the server is reached."""
    line = to("127.0.0.1", make_settings(rabbitmq_server))

    assert "the server's certificate is for another host name" in await refusal(line)


async def test_without_verification(
    rabbitmq_server: RabbitMQ, stranger: CertificateAuthority
) -> None:
    """Who does not want to verify gets an encrypted line to whoever answers."""
    line = make_settings(rabbitmq_server, cafile=stranger.certificate, verify=False)

    async with opened(to("127.0.0.1", line)) as broker:
        await broker.ping()


async def test_an_encrypted_line_to_a_plain_port(rabbitmq_server: RabbitMQ) -> None:
    """The log says that there is no TLS, rather than a riddle."""
    line = make_settings(rabbitmq_server).model_copy(update={"port": rabbitmq_server.port})

    assert "the server does not speak TLS on this port" in await refusal(line)


async def test_a_plain_line_to_an_encrypted_port(rabbitmq_server: RabbitMQ) -> None:
    """The server says nothing; the log says what that may mean."""
    line = RabbitMQSettings(port=rabbitmq_server.tls_port, connect_timeout=30)

    said = "RabbitMQ hangs up at once; if its port is for TLS, enable rabbitmq.tls."
    assert await refusal(line) == said
