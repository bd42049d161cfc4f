"""Settings about encrypted lines: files that must be there, and lines that must not be plain."""

import json
from pathlib import Path
from typing import Any

import pytest

from restaurant_system.config import ServerSettings, load
from restaurant_system.errors import ConfigurationError
from tests.support.certificates import CertificateAuthority


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    """Find somebody who issues certificates."""
    return CertificateAuthority(tmp_path)


def fault(**sections: Any) -> str:  # noqa: ANN401 - whatever a person may write
    """Return what is said about a configuration that is refused."""
    file = Path("settings.yaml")
    file.write_text(json.dumps(sections), encoding="utf-8")
    with pytest.raises(ConfigurationError) as refusal:
        load(file)
    return str(refusal.value)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslkey"])
def test_a_file_for_postgres_must_be_readable(name: str) -> None:
    """A file that is missing or no PEM file is named by its path, wherever it is stated."""
    url = f"postgresql://u:s3cret@h/d?{name}=absent.pem"
    Path("empty.pem").touch()

    assert "database." + name + ": " in fault(database={name: "absent.pem"})
    assert "database." + name + ": " in fault(database={name: "empty.pem"})
    assert "database.replica." + name + ": " in fault(database={"replica": {name: "absent.pem"}})
    assert "database.url: " in fault(database={"url": url})
    assert "s3cret" not in fault(database={"url": url})


@pytest.mark.parametrize("name", ["cafile", "certfile", "keyfile"])
def test_a_file_for_rabbitmq_must_be_readable(name: str) -> None:
    """A file that is missing or no PEM file is named by its path."""
    Path("empty.pem").touch()

    assert "rabbitmq.tls." + name + ": " in fault(rabbitmq={"tls": {name: "absent.pem"}})
    assert "rabbitmq.tls." + name + ": " in fault(rabbitmq={"tls": {name: "empty.pem"}})


def test_a_certificate_needs_its_own_key(authority: CertificateAuthority) -> None:
    """A key that belongs to another certificate is noticed at the start."""
    certificate = str(authority.client("anna").certificate)
    key = str(authority.client("bob").key)

    said = fault(
        database={"sslcert": certificate, "sslkey": key},
        rabbitmq={"tls": {"enabled": True, "certfile": certificate, "keyfile": key}},
    )

    reason = "our certificate and our key do not belong together"
    assert said.startswith("database: ")
    assert "; rabbitmq.tls: " in said
    assert said.count(reason) == 2


@pytest.mark.parametrize("tls", [{"enabled": True}, {"cafile": "authority.pem"}])
def test_what_is_meant_to_be_encrypted_is_not_sent_in_the_clear(
    authority: CertificateAuthority, tls: dict[str, object]
) -> None:
    """A url that begins with amqp contradicts TLS settings, and does not silently win."""
    assert authority.certificate.name == "authority.pem"

    assert "amqps://" in fault(rabbitmq={"url": "amqp://guest:guest@localhost/", "tls": tls})


def test_certificates_alone_do_not_encrypt(authority: CertificateAuthority) -> None:
    """Who names certificates and forgets to enable TLS is told so."""
    assert "tls.enabled" in fault(rabbitmq={"tls": {"cafile": str(authority.certificate)}})


def test_what_a_url_says_goes_before_what_stands_beside_it(authority: CertificateAuthority) -> None:
    """TLS settings complete a url, and contradict it in nothing."""
    stated = {"sslmode": "require", "sslrootcert": str(authority.certificate)}
    plain = ServerSettings.model_validate({"url": "postgresql:///d", **stated})
    full = ServerSettings.model_validate({"url": "postgresql:///d?sslmode=verify-full", **stated})

    assert plain.dsn().startswith("postgresql:///d?sslmode=require&sslrootcert=")
    assert full.dsn().startswith("postgresql:///d?sslmode=verify-full&sslrootcert=")
    assert full.dsn().count("sslmode") == 1


def test_a_path_from_the_home_directory(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's path may start with ~."""
    monkeypatch.setenv("HOME", str(authority.certificate.parent))

    settings = ServerSettings.model_validate({"sslrootcert": "~/authority.pem"})

    assert settings.sslrootcert == authority.certificate
