"""TLS connections to PostgreSQL."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from restaurant_system.config import ServerSettings
from restaurant_system.database.connection import ADVICE, Database
from restaurant_system.errors import (
    ConfigurationError,
    DatabaseTlsFailed,
    DatabaseUnavailable,
    StartupError,
)
from tests.support.certificates import CertificateAuthority
from tests.support.postgres_server import Postgres
from tests.support.tls_postgres import CERTIFIED, TlsPostgres

ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
CORRECT = f"{ADVICE}."


@pytest.fixture
def other_authority(tmp_path: Path) -> CertificateAuthority:
    """Return an authority that issued no certificate of a server."""
    return CertificateAuthority(tmp_path)


def make_settings(server: Postgres, **changes: object) -> ServerSettings:
    """Return settings of a server, given by parts."""
    parts = {"port": server.port, "user": "postgres", "database": "postgres", "connect_timeout": 30}
    return ServerSettings.model_validate({**parts, **changes})


def by_url(settings: ServerSettings) -> ServerSettings:
    """Return the same settings, given by URL."""
    return ServerSettings.model_validate({"url": settings.dsn(), "connect_timeout": 30})


def with_client_certificate(
    settings: ServerSettings, authority: CertificateAuthority, name: str
) -> ServerSettings:
    """Return the same settings with a client certificate of a user."""
    identity = authority.client(name)
    return settings.model_copy(update={"sslcert": identity.certificate, "sslkey": identity.key})


async def create(user: str, server: Postgres) -> None:
    """Create a PostgreSQL user with a password."""
    connection = await asyncpg.connect(server.dsn("postgres"))
    await connection.execute(f"CREATE ROLE {user} LOGIN")
    await connection.close()


async def is_encrypted(settings: ServerSettings) -> bool:
    """Connect as at the start of a service; return whether the connection is encrypted."""
    database = Database(settings.dsn(), settings, application_name="test")
    await database.connect_within(30)
    try:
        async with database.connection() as connection:
            encrypted: bool = await connection.fetchval(ENCRYPTED)
            return encrypted
    finally:
        await database.close()


async def refusal(settings: ServerSettings) -> str:
    """Return the error at the start of a service, which must come before the startup timeout."""
    database = Database(settings.dsn(), settings, application_name="test")
    with pytest.raises(StartupError) as error:
        await asyncio.wait_for(database.connect_within(600), 60)
    return str(error.value)


@pytest.mark.parametrize("sslmode", ["allow", "prefer", "require", "verify-ca", "verify-full"])
async def test_connection_to_a_trusted_server_is_encrypted(
    tls_postgres: TlsPostgres, sslmode: str
) -> None:
    """The TLS settings are given by parts or by URL."""
    certificate = tls_postgres.authority.certificate
    settings = make_settings(tls_postgres, sslmode=sslmode, sslrootcert=certificate)

    assert await is_encrypted(settings)
    assert await is_encrypted(by_url(settings))


async def test_tls_settings_apply_to_a_url(tls_postgres: TlsPostgres) -> None:
    url = f"postgresql://postgres@127.0.0.1:{tls_postgres.port}/postgres"
    certificate = tls_postgres.authority.certificate
    settings = ServerSettings.model_validate(
        {"url": url, "sslmode": "verify-full", "sslrootcert": certificate}
    )

    assert "another host name" in await refusal(settings)
    assert await is_encrypted(settings.model_copy(update={"sslmode": "verify-ca"}))


async def test_disable_and_prefer_allow_unencrypted_connections(
    tls_postgres: TlsPostgres, postgres_server: Postgres
) -> None:
    """`disable` and `prefer` may connect without TLS."""
    assert "no encryption" in await refusal(make_settings(tls_postgres, sslmode="disable"))
    assert not await is_encrypted(make_settings(postgres_server, sslmode="prefer"))


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
async def test_untrusted_server_certificate_is_refused_at_once(
    tls_postgres: TlsPostgres, other_authority: CertificateAuthority, sslmode: str
) -> None:
    """The start fails at once, because waiting does not change a certificate."""
    settings = make_settings(tls_postgres, sslmode=sslmode, sslrootcert=other_authority.certificate)

    message = await refusal(settings)

    assert message.startswith(
        "The connection to PostgreSQL is not safe: the server's certificate is not"
    )
    assert message.endswith(CORRECT)
    assert await refusal(by_url(settings)) == message


async def test_certificate_for_another_host_is_refused_under_verify_full(
    tls_postgres: TlsPostgres,
) -> None:
    settings = make_settings(
        tls_postgres,
        host="127.0.0.1",
        sslmode="verify-full",
        sslrootcert=tls_postgres.authority.certificate,
    )

    assert "the server's certificate is for another host name" in await refusal(settings)
    assert await is_encrypted(settings.model_copy(update={"sslmode": "verify-ca"}))


@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
async def test_server_without_tls_is_refused_where_tls_is_required(
    postgres_server: Postgres, other_authority: CertificateAuthority, sslmode: str
) -> None:
    settings = make_settings(
        postgres_server, sslmode=sslmode, sslrootcert=other_authority.certificate
    )

    message = "The connection to PostgreSQL is not safe: the server does not speak TLS."
    assert await refusal(settings) == f"{message} {CORRECT}"


async def test_user_that_needs_a_client_certificate_connects_only_with_a_valid_one(
    tls_postgres: TlsPostgres, other_authority: CertificateAuthority
) -> None:
    await create(CERTIFIED, tls_postgres)
    authority = tls_postgres.authority
    settings = make_settings(
        tls_postgres,
        user=CERTIFIED,
        sslmode="verify-full",
        sslrootcert=authority.certificate,
    )
    genuine = with_client_certificate(settings, authority, CERTIFIED)

    assert await is_encrypted(genuine)
    assert await is_encrypted(by_url(genuine))
    assert "requires a valid client certificate" in await refusal(settings)
    assert "authentication failed" in await refusal(
        with_client_certificate(settings, authority, "anna")
    )
    assert "does not trust our certificate" in await refusal(
        with_client_certificate(settings, other_authority, CERTIFIED)
    )


async def test_verify_full_without_trusted_authorities_is_a_configuration_error(
    tls_postgres: TlsPostgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = make_settings(tls_postgres, sslmode="verify-full")
    database = Database(settings.dsn(), settings, application_name="test")

    with pytest.raises(ConfigurationError, match=r"^database: root certificate file"):
        await database.connect_within(600)


async def test_untrusted_certificate_at_run_time_counts_as_unavailable(
    tls_postgres: TlsPostgres, other_authority: CertificateAuthority
) -> None:
    """A running service treats an untrusted certificate as an outage, and retries."""
    settings = make_settings(
        tls_postgres, sslmode="verify-full", sslrootcert=other_authority.certificate
    )
    database = Database(settings.dsn(), settings, application_name="test")

    with pytest.raises(DatabaseUnavailable) as error:
        await database.connect()

    assert isinstance(error.value, DatabaseTlsFailed)
