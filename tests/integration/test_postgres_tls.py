"""Encrypted lines to PostgreSQL: what is taken, and what is refused, in a sentence and at once."""

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
def stranger(tmp_path: Path) -> CertificateAuthority:
    """Find somebody who issues certificates too, and whom no server knows."""
    return CertificateAuthority(tmp_path)


def make_settings(server: Postgres, **changes: object) -> ServerSettings:
    """Describe a line to a server, by its parts."""
    parts = {"port": server.port, "user": "postgres", "database": "postgres", "connect_timeout": 30}
    return ServerSettings.model_validate({**parts, **changes})


def by_url(line: ServerSettings) -> ServerSettings:
    """Describe the same line by a url alone."""
    return ServerSettings.model_validate({"url": line.dsn(), "connect_timeout": 30})


def identified(line: ServerSettings, authority: CertificateAuthority, name: str) -> ServerSettings:
    """Describe the same line for somebody with a certificate."""
    identity = authority.client(name)
    return line.model_copy(update={"sslcert": identity.certificate, "sslkey": identity.key})


async def create(user: str, server: Postgres) -> None:
    """Create a user."""
    connection = await asyncpg.connect(server.dsn("postgres"))
    await connection.execute(f"CREATE ROLE {user} LOGIN")
    await connection.close()


async def is_encrypted(line: ServerSettings) -> bool:
    """Open a line as a service does at its start, and ask the server about it."""
    database = Database(line.dsn(), line, application_name="test")
    await database.connect_within(30)
    try:
        async with database.connection() as connection:
            encrypted: bool = await connection.fetchval(ENCRYPTED)
            return encrypted
    finally:
        await database.close()


async def refusal(line: ServerSettings) -> str:
    """Return what a service says at its start; it must not wait, however patient it is."""
    database = Database(line.dsn(), line, application_name="test")
    with pytest.raises(StartupError) as error:
        await asyncio.wait_for(database.connect_within(600), 60)
    return str(error.value)


@pytest.mark.parametrize("sslmode", ["allow", "prefer", "require", "verify-ca", "verify-full"])
async def test_the_right_server(tls_postgres: TlsPostgres, sslmode: str) -> None:
    """A server that proves who it is gets encrypted lines, described by parts or by url."""
    certificate = tls_postgres.authority.certificate
    line = make_settings(tls_postgres, sslmode=sslmode, sslrootcert=certificate)

    assert await is_encrypted(line)
    assert await is_encrypted(by_url(line))


async def test_tls_settings_beside_a_url(tls_postgres: TlsPostgres) -> None:
    """A url and TLS settings go together: one may be a secret, and the others not."""
    url = f"postgresql://postgres@127.0.0.1:{tls_postgres.port}/postgres"
    certificate = tls_postgres.authority.certificate
    line = ServerSettings.model_validate(
        {"url": url, "sslmode": "verify-full", "sslrootcert": certificate}
    )

    assert "another host name" in await refusal(line)
    assert await is_encrypted(line.model_copy(update={"sslmode": "verify-ca"}))


async def test_a_line_that_is_not_encrypted(
    tls_postgres: TlsPostgres, postgres_server: Postgres
) -> None:
    """`disable` encrypts nothing, which a server may refuse; `prefer` takes what it gets."""
    assert "no encryption" in await refusal(make_settings(tls_postgres, sslmode="disable"))
    assert not await is_encrypted(make_settings(postgres_server, sslmode="prefer"))


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
async def test_another_authority(
    tls_postgres: TlsPostgres, stranger: CertificateAuthority, sslmode: str
) -> None:
    """A server whose certificate is not trusted is refused; waiting would not mend that."""
    line = make_settings(tls_postgres, sslmode=sslmode, sslrootcert=stranger.certificate)

    said = await refusal(line)

    assert said.startswith(
        "The connection to PostgreSQL is not safe: the server's certificate is not"
    )
    assert said.endswith(CORRECT)
    assert await refusal(by_url(line)) == said


async def test_another_host_name(tls_postgres: TlsPostgres) -> None:
    """Under `verify-full` the certificate must be for the host by which the server is reached."""
    line = make_settings(
        tls_postgres,
        host="127.0.0.1",
        sslmode="verify-full",
        sslrootcert=tls_postgres.authority.certificate,
    )

    assert "the server's certificate is for another host name" in await refusal(line)
    assert await is_encrypted(line.model_copy(update={"sslmode": "verify-ca"}))


@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
async def test_a_server_without_tls(
    postgres_server: Postgres, stranger: CertificateAuthority, sslmode: str
) -> None:
    """Where a line must be encrypted, a server that cannot do so is refused."""
    line = make_settings(postgres_server, sslmode=sslmode, sslrootcert=stranger.certificate)

    said = "The connection to PostgreSQL is not safe: the server does not speak TLS."
    assert await refusal(line) == f"{said} {CORRECT}"


async def test_a_certificate_of_our_own(
    tls_postgres: TlsPostgres, stranger: CertificateAuthority
) -> None:
    """A user who has to show a certificate is let in with the right one only."""
    await create(CERTIFIED, tls_postgres)
    authority = tls_postgres.authority
    line = make_settings(
        tls_postgres,
        user=CERTIFIED,
        sslmode="verify-full",
        sslrootcert=authority.certificate,
    )
    genuine = identified(line, authority, CERTIFIED)

    assert await is_encrypted(genuine)
    assert await is_encrypted(by_url(genuine))
    assert "requires a valid client certificate" in await refusal(line)
    assert "authentication failed" in await refusal(identified(line, authority, "anna"))
    assert "does not trust our certificate" in await refusal(identified(line, stranger, CERTIFIED))


async def test_nobody_to_trust(
    tls_postgres: TlsPostgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To verify without saying whom to trust is a fault of the configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    line = make_settings(tls_postgres, sslmode="verify-full")
    database = Database(line.dsn(), line, application_name="test")

    with pytest.raises(ConfigurationError, match=r"^database: root certificate file"):
        await database.connect_within(600)


async def test_a_server_that_changes_its_certificate_is_waited_for(
    tls_postgres: TlsPostgres, stranger: CertificateAuthority
) -> None:
    """While a service runs, a server that is not to be trusted is away like any other."""
    line = make_settings(tls_postgres, sslmode="verify-full", sslrootcert=stranger.certificate)
    database = Database(line.dsn(), line, application_name="test")

    with pytest.raises(DatabaseUnavailable) as error:
        await database.connect()

    assert isinstance(error.value, DatabaseTlsFailed)
