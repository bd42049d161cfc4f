import json
from pathlib import Path
from typing import Any

import pytest

from restaurant_system.config import ServerSettings, load
from restaurant_system.errors import ConfigurationError
from tests.support.certificates import CertificateAuthority


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    """Return an authority that issues certificates."""
    return CertificateAuthority(tmp_path)


def configuration_error(**sections: Any) -> str:  # noqa: ANN401 - any settings
    """Return the message of the error that a configuration causes."""
    file = Path("settings.yaml")
    file.write_text(json.dumps(sections), encoding="utf-8")
    with pytest.raises(ConfigurationError) as refusal:
        load(file)
    return str(refusal.value)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslkey"])
def test_unreadable_pem_file_for_postgres_is_refused_with_its_path(name: str) -> None:
    """A file that is missing or not PEM is refused, also if the URL names it."""
    url = f"postgresql://u:s3cret@h/d?{name}=absent.pem"
    Path("empty.pem").touch()

    assert "database." + name + ": " in configuration_error(database={name: "absent.pem"})
    assert "database." + name + ": " in configuration_error(database={name: "empty.pem"})
    assert "database.replica." + name + ": " in configuration_error(
        database={"replica": {name: "absent.pem"}}
    )
    assert "database.url: " in configuration_error(database={"url": url})
    assert "s3cret" not in configuration_error(database={"url": url})


@pytest.mark.parametrize("name", ["cafile", "certfile", "keyfile"])
def test_unreadable_pem_file_for_rabbitmq_is_refused_with_its_path(name: str) -> None:
    Path("empty.pem").touch()

    assert "rabbitmq.tls." + name + ": " in configuration_error(
        rabbitmq={"tls": {name: "absent.pem"}}
    )
    assert "rabbitmq.tls." + name + ": " in configuration_error(
        rabbitmq={"tls": {name: "empty.pem"}}
    )


def test_key_of_another_certificate_is_refused(authority: CertificateAuthority) -> None:
    certificate = str(authority.client("anna").certificate)
    key = str(authority.client("bob").key)

    message = configuration_error(
        database={"sslcert": certificate, "sslkey": key},
        rabbitmq={"tls": {"enabled": True, "certfile": certificate, "keyfile": key}},
    )

    reason = "our certificate and our key do not belong together"
    assert message.startswith("database: ")
    assert "; rabbitmq.tls: " in message
    assert message.count(reason) == 2


@pytest.mark.parametrize("tls", [{"enabled": True}, {"cafile": "authority.pem"}])
def test_tls_settings_with_an_unencrypted_url_are_refused(
    authority: CertificateAuthority, tls: dict[str, object]
) -> None:
    assert authority.certificate.name == "authority.pem"

    assert "amqps://" in configuration_error(
        rabbitmq={"url": "amqp://guest:guest@localhost/", "tls": tls}
    )


def test_certificates_without_tls_enabled_are_refused(authority: CertificateAuthority) -> None:
    assert "tls.enabled" in configuration_error(
        rabbitmq={"tls": {"cafile": str(authority.certificate)}}
    )


def test_options_of_a_url_take_precedence_over_tls_settings(
    authority: CertificateAuthority,
) -> None:
    settings = {"sslmode": "require", "sslrootcert": str(authority.certificate)}
    plain = ServerSettings.model_validate({"url": "postgresql:///d", **settings})
    full = ServerSettings.model_validate({"url": "postgresql:///d?sslmode=verify-full", **settings})

    assert plain.dsn().startswith("postgresql:///d?sslmode=require&sslrootcert=")
    assert full.dsn().startswith("postgresql:///d?sslmode=verify-full&sslrootcert=")
    assert full.dsn().count("sslmode") == 1


def test_tilde_in_the_path_of_a_pem_file_is_expanded(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(authority.certificate.parent))

    settings = ServerSettings.model_validate({"sslrootcert": "~/authority.pem"})

    assert settings.sslrootcert == authority.certificate
